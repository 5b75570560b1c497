//! Documents prepared on a cluster: a scheduler and three workers, each a process, one of them killed in the middle; the
//! dataset is that of a single process in every byte. Runs where `YARD_TEST_BALLISTA` names a `yard` that was built with the
//! feature `ballista`: `cargo xtask test --ballista`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::needless_pass_by_value,
    clippy::zombie_processes,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Project, Ran, ran};
use serde_json::{Value as Json, json};

const YARD_TOML: &str = r#"
name = "pages"
family = "language"
seed = 5
[data]
source = ["pages/*.jsonl"]
text_column = "text"
recipe = "general"
drop_where = ["words > 900"]
[data.duplicates]
[data.personal]
policy = "redact"
[data.split]
valid = 0.02
test = 0.02
[model]
vocabulary = 512
"#;

/// How long anything may take here.
const PATIENCE: Duration = Duration::from_secs(300);

/// The program with the feature; nothing, and the reason, where the tests do not run.
fn with_ballista() -> Option<PathBuf> {
    let yard = std::env::var_os("YARD_TEST_BALLISTA").map(PathBuf::from);
    if yard.is_none() {
        eprintln!("skipped: no yard with the feature ballista; run cargo xtask test --ballista");
    }
    yard
}

/// Pages of sentences that are no two alike, but for some that repeat others, hold an address or broken characters.
fn pages(count: u64) -> String {
    const WORDS: [&str; 24] = [
        "the", "harbour", "of", "a", "morning", "and", "ships", "that", "carry", "grain", "with", "their", "crews",
        "to", "northern", "towns", "where", "winter", "have", "be", "lanterns", "burning", "over", "water",
    ];
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let (mut lines, mut earlier) = (String::new(), String::new());
    for page in 0..count {
        let mut text = String::new();
        for _ in 0..12 + next(24) {
            let words: Vec<&str> = (0..8 + next(12)).map(|_| WORDS[next(24) as usize]).collect();
            let _ = writeln!(text, "In {} {}.", 1000 + next(9000), words.join(" "));
        }
        match page % 40 {
            7 => text.push_str("Write to harbour.master@example.com for more."),
            11 => text.push_str("The cafÃ© closes at nine."),
            23 => text.clone_from(&earlier),
            31 => text = format!("{earlier}One more line than before."),
            _ => {}
        }
        let _ = writeln!(lines, "{}", json!({ "text": text }));
        if page % 40 == 3 {
            earlier = text;
        }
    }
    lines
}

fn project() -> Project {
    let project = Project::new("pages/0.jsonl", pages(14_000).as_bytes(), YARD_TOML);
    let broken = format!("{}not json\n{}", pages(900), pages(300));
    project.write("pages/1.jsonl", broken.as_bytes());
    project
}

/// A process of the cluster, which is gone at the end of the test.
struct Process(Child);

impl Process {
    /// Starts it and waits until it says its address.
    fn start(yard: &Path, folder: &Path, words: &[&str]) -> (Self, String) {
        let mut command = Command::new(yard);
        command.arg("--json").args(words).current_dir(folder).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().expect("a line before the end").unwrap();
        std::thread::spawn(move || for _ in lines {});
        let event: Json = serde_json::from_str(&line).unwrap();
        assert_eq!(event["event"], "ready", "{line}");
        (Self(child), event["address"].as_str().unwrap().to_owned())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Asks it to end, as a platform does.
    fn stop(mut self) -> i32 {
        Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it did not end");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every file of a dataset.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        assert!(path.is_file(), "{}", path.display());
        found.insert(path.file_name().unwrap().into(), std::fs::read(path).unwrap());
    }
    found
}

/// The artifact that a run of `yard data --json` made, and its files.
fn dataset(project: &Project, run: &Ran) -> (String, BTreeMap<PathBuf, Vec<u8>>) {
    let digest = run.result()["stages"][0]["artifact"].as_str().unwrap().to_owned();
    let folder = find(&project.file(".yard"), &digest).expect("the artifact's folder");
    (digest, files(&folder))
}

fn find(folder: &Path, digest: &str) -> Option<PathBuf> {
    std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if !path.is_dir() {
            return None;
        }
        if name.len() > 8 && (digest.ends_with(&name) || name == digest) { Some(path) } else { find(&path, digest) }
    })
}

/// Waits until a shard of the run under way is there.
fn first_shard(folder: &Path) {
    fn shard(folder: &Path) -> bool {
        std::fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() { shard(&path) } else { name.starts_with("shard-") && name.ends_with(".arrow") }
        })
    }
    let begun = Instant::now();
    while !shard(folder) {
        assert!(begun.elapsed() < PATIENCE, "no shard came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_cluster_makes_the_same_dataset_though_a_worker_is_killed() {
    let Some(yard) = with_ballista() else { return };
    let project = project();
    let alone = project.yard(&["data", "--json"]).ok();
    let (digest, expected) = dataset(&project, &alone);
    assert!(expected.len() > 5, "{:?}", expected.keys());
    std::fs::remove_dir_all(project.file(".yard")).unwrap();

    let scheduler = ["worker", "scheduler", "--address", "127.0.0.1:0", "--worker-timeout", "8"];
    let (scheduler, address) = Process::start(&yard, project.path(), &scheduler);
    let worker = ["worker", "data", "--threads", "1", "--scheduler", &address];
    let mut workers: Vec<Process> = (0..3).map(|_| Process::start(&yard, project.path(), &worker).0).collect();

    let mut command = Command::new(&yard);
    command.args(["data", "--json", "--scheduler", &address]).current_dir(project.path()).stdin(Stdio::null());
    let driver = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    first_shard(&project.file(".yard"));
    workers[1].kill();
    let together = ran(driver.wait_with_output().unwrap()).ok();

    let (found_digest, found) = dataset(&project, &together);
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, bytes) in &expected {
        assert!(found[name] == *bytes, "{} is another one", name.display());
    }
    assert_eq!(found_digest, digest);
    workers.remove(1);
    for worker in workers {
        assert_eq!(worker.stop(), 0);
    }
    assert_eq!(scheduler.stop(), 0);
}

#[test]
fn a_cluster_says_what_is_wrong_with_it() {
    let Some(yard) = with_ballista() else { return };
    let project = Project::new("pages/0.jsonl", pages(50).as_bytes(), YARD_TOML);
    let with = |words: &[&str]| {
        let mut command = Command::new(&yard);
        command.args(words).current_dir(project.path()).stdin(Stdio::null());
        ran(command.output().unwrap())
    };
    with(&["data", "--scheduler", "127.0.0.1:1"]).fails(2, &["127.0.0.1:1", "yard worker scheduler"]);
    with(&["worker", "data", "--scheduler", "nowhere"]).fails(2, &["\"nowhere\" is no scheduler", "HOST:PORT"]);
    with(&["worker", "scheduler", "--address", "0.0.0.0:0"]).fails(2, &["open to a network", "--trust-network"]);
    project.yard(&["worker", "data"]).fails(2, &["built without clusters", "--features ballista"]);
    project.yard(&["data", "--scheduler", "127.0.0.1:1"]).fails(2, &["built without clusters"]);

    // A worker that sees other settings refuses, and so does the driver.
    let (_scheduler, address) =
        Process::start(&yard, project.path(), &["worker", "scheduler", "--address", "127.0.0.1:0"]);
    let other = Project::new("pages/0.jsonl", pages(60).as_bytes(), YARD_TOML);
    let (_worker, _) =
        Process::start(&yard, other.path(), &["worker", "data", "--threads", "1", "--scheduler", &address]);
    with(&["data", "--scheduler", &address]).fails(2, &[&address, "job.json"]);
}
