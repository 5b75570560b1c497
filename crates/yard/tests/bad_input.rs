//! The user's mistakes and bad luck: each gives one clear error with what to do, exit code 2 for the
//! user's mistake, and loses nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::needless_range_loop,
    clippy::needless_pass_by_value,
    clippy::zombie_processes,
    reason = "tests"
)]

mod common;

use common::{Project, Server, YARD, ran};
use std::process::{Command, Stdio};

const YARD_TOML: &str = r#"
name = "bad"
family = "predict"
[data]
source = ["rows.csv"]
[[input]]
column = "text"
type = "text"
buckets = 64
[[output]]
column = "label"
type = "category"
[train]
epochs = 2
"#;

fn rows(count: usize) -> String {
    let words = ["card lost", "where is my money", "open an account", "close it please"];
    let mut text = String::from("text,label\n");
    for index in 0..count {
        let kind = index % 4;
        text.push_str(&format!("{} number {index},label{kind}\n", words[kind]));
    }
    text
}

fn project(contents: &[u8]) -> Project {
    Project::new("rows.csv", contents, YARD_TOML)
}

fn good() -> Project {
    project(rows(80).as_bytes())
}

#[test]
fn a_missing_file() {
    let project = Project::empty();
    project.write("yard.toml", YARD_TOML.as_bytes());
    project.yard(&["run"]).fails(2, &["rows.csv", "hint: "]);
}

#[test]
fn a_missing_project_file() {
    Project::empty().yard(&["run"]).fails(2, &["yard.toml", "yard init DATA"]);
}

#[test]
fn binary_rubbish() {
    let rubbish: Vec<u8> = (0..50_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    project(&rubbish).yard(&["run"]).fails(2, &["rows.csv", "hint: "]);
}

#[test]
fn a_ragged_row_at_line_7001() {
    let mut text = rows(8000);
    let at = text.match_indices('\n').nth(6999).unwrap().0 + 1;
    let end = at + text[at..].find('\n').unwrap();
    text.insert_str(end, ",one too many");
    project(text.as_bytes()).yard(&["run"]).fails(2, &["rows.csv", "7001", "hint: "]);
}

#[test]
fn a_constant_label() {
    let text = rows(60).replace(['1', '2', '3'], "0");
    let text = text.lines().map(|line| {
        line.rsplit_once(',').map_or(line.to_owned(), |(text, label)| {
            if label == "label" { line.to_owned() } else { format!("{text},same") }
        })
    });
    let text = text.collect::<Vec<_>>().join("\n");
    project(text.as_bytes()).yard(&["run"]).fails(2, &["label", "same", "hint: "]);
}

#[test]
fn an_empty_file() {
    project(b"").yard(&["run"]).fails(2, &["rows.csv", "empty", "hint: "]);
    project(b"text,label\n").yard(&["run"]).fails(2, &["rows.csv", "hint: "]);
}

#[test]
fn a_wrong_type_in_the_project_file() {
    let project = good();
    project.write("yard.toml", YARD_TOML.replace("epochs = 2", "epochs = \"two\"\nmomentum = 3").as_bytes());
    project
        .yard(&["run"])
        .fails(2, &["2 errors", "yard.toml:14:10", "should be a whole number", "^^^^^", "`train.momentum`"]);
    assert!(!project.file(".yard").exists(), "something ran");
}

#[test]
fn a_column_that_is_not_there() {
    let project = good();
    project.write("yard.toml", YARD_TOML.replace("column = \"text\"", "column = \"txet\"").as_bytes());
    project.yard(&["run"]).fails(2, &["txet", "text", "hint: "]);
}

#[test]
fn a_key_that_cannot_be_set() {
    good().yard(&["run", "--set", "train.lerning_rate=0.1"]).fails(2, &["lerning_rate", "learning_rate"]);
    good().yard(&["run", "--set", "nonsense"]).fails(2, &["nonsense", "hint: "]);
}

#[test]
fn a_corrupted_object() {
    let project = good();
    project.yard(&["run", "--quiet"]).ok();
    let weights = find(&project, "weights.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    project.yard(&["run"]).fails(2, &["damaged", "weights.safetensors", "--repair"]);
    project.yard(&["run", "--repair", "--quiet"]).ok();
    project.yard(&["run", "--quiet"]).ok();
}

#[test]
fn a_model_of_another_version() {
    let project = good();
    project.yard(&["train", "--quiet"]).ok();
    let model = find(&project, "model.json").parent().unwrap().to_owned();
    let copy = project.file("copy");
    common::copy(&model, &copy);
    let text = std::fs::read_to_string(copy.join("model.json")).unwrap();
    std::fs::write(
        copy.join("model.json"),
        text.replace("\"format\": 1", "\"format\": 9").replace("\"format\":1", "\"format\":9"),
    )
    .unwrap();
    project.yard(&["serve", "--model", "copy", "--address", "127.0.0.1:0"]).fails(2, &["format", "9", "hint: "]);
}

#[test]
fn a_port_in_use() {
    let project = good();
    project.yard(&["train", "--quiet"]).ok();
    let model = find(&project, "model.json").parent().unwrap().to_owned();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    project.yard(&["serve", "--model", model.to_str().unwrap(), "--address", &address]).fails(2, &[&address, "hint: "]);
}

#[test]
fn an_unknown_version() {
    let project = good();
    project.yard(&["models"]).fails(2, &["there is none", "yard run"]);
    project.yard(&["run", "--quiet"]).ok();
    project.yard(&["promote", "bad@9"]).fails(2, &["bad@9", "Known: bad@1"]);
    project.yard(&["report", "worse"]).fails(2, &["worse"]);
    project.yard(&["rollback", "bad"]).fails(2, &["no earlier version"]);
}

#[test]
fn two_at_once() {
    let project = good();
    std::fs::create_dir(project.file(".yard")).unwrap();
    let lock = std::fs::File::create(project.file(".yard/lock")).unwrap();
    lock.lock().unwrap();
    project.yard(&["run"]).fails(2, &["another yard is running", "hint: "]);
}

/// A tmpfs of 600 KiB: too small for the run, whatever the machine. Needs root, as CI has it.
#[test]
fn a_full_disk() {
    let project = good();
    let disk = project.file("disk");
    std::fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=600k", "tmpfs"])
        .arg(&disk)
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("skipped: a_full_disk needs the right to mount a tmpfs");
        return;
    }
    std::fs::copy(project.file("rows.csv"), disk.join("rows.csv")).unwrap();
    std::fs::copy(project.file("yard.toml"), disk.join("yard.toml")).unwrap();
    std::fs::write(disk.join("ballast"), vec![0_u8; 200 << 10]).unwrap();
    let full = ran(Command::new(YARD).args(["run", "--set", "input.0.buckets=16384"]).arg(&disk).output().unwrap());
    // Room is made, and the same store continues.
    std::fs::remove_file(disk.join("ballast")).unwrap();
    let _ = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&disk).status();
    let again = ran(Command::new(YARD).args(["run", "--quiet"]).arg(&disk).output().unwrap());
    let _ = Command::new("umount").arg(&disk).status();
    full.fails(2, &["disk", "hint: ", "Make room"]);
    again.ok();
}

/// The one file of this name in the project's objects.
fn find(project: &Project, name: &str) -> std::path::PathBuf {
    let objects = std::fs::read_dir(project.file(".yard/objects")).unwrap();
    objects.map(|entry| entry.unwrap().path().join(name)).find(|path| path.exists()).unwrap()
}

#[test]
fn rubbish_sent_to_the_server() {
    let project = good();
    project.yard(&["run", "--quiet"]).ok();
    let server: Server = project.serve(&["bad"]);
    for (method, path, body, status) in [
        ("POST", "/v2/models/bad/infer", "rubbish", 400),
        ("POST", "/v2/models/bad/infer", "{}", 400),
        ("POST", "/v2/models/other/infer", "{\"inputs\":[]}", 404),
        ("POST", "/v2/models/bad/infer", &"[".repeat(100_000), 400),
        ("GET", "/nowhere", "", 404),
        ("DELETE", "/v2/models/bad/infer", "", 405),
    ] {
        let (found, text) = server.request(method, path, body);
        assert_eq!(found, status, "{method} {path} {}: {text}", &body[..body.len().min(20)]);
    }
    let (status, _) = server.request("GET", "/health/ready", "");
    assert_eq!(status, 200);
}
