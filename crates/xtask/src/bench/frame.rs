//! `cargo xtask bench`: start times and memory of the program, beside their targets. Medians of several rounds.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::steps::{self, Outcome};

const ROUNDS: usize = 11;

pub fn run() -> Outcome {
    super::build()?;
    let folder = std::env::temp_dir().join(format!("yard-bench-{}", std::process::id()));
    copy(&steps::root().join("examples/banking"), &folder)?;
    let result = measure(&folder);
    std::fs::remove_dir_all(&folder).map_err(|error| error.to_string())?;
    result
}

fn measure(project: &Path) -> Outcome {
    let text = project.to_string_lossy().into_owned();
    let start = median(ROUNDS, || timed(&["--version"]))?;
    let first = timed(&["run", &text, "--quiet"])?;
    let second = median(5, || timed(&["run", &text, "--quiet"]))?;
    let mut ready = Vec::new();
    let mut idle = 0;
    for _ in 0..5 {
        let (seconds, resident) = serve(project)?;
        ready.push(seconds);
        idle = idle.max(resident);
    }
    ready.sort_by(f64::total_cmp);
    println!("\n| what | measured | target |\n|---|---|---|");
    println!("| `yard --version`, median of {ROUNDS} | {:.1} ms | < 20 ms |", start * 1e3);
    println!("| first `yard run examples/banking` | {first:.1} s | < 300 s |");
    println!("| second `yard run`, median of 5 | {:.0} ms | < 1,000 ms |", second * 1e3);
    println!("| start to ready, packaged model, median of 5 | {:.0} ms | < 300 ms |", ready[2] * 1e3);
    println!("| idle server, resident, highest of 5 | {:.1} MB | < 60 MB |", idle as f64 / 1e6);
    Ok(())
}

fn timed(arguments: &[&str]) -> Result<f64, String> {
    let begun = Instant::now();
    let status = Command::new(steps::yard())
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .status()
        .map_err(|error| error.to_string())?;
    if status.success() { Ok(begun.elapsed().as_secs_f64()) } else { Err(format!("yard {arguments:?} gave {status}")) }
}

fn median(rounds: usize, mut measure: impl FnMut() -> Result<f64, String>) -> Result<f64, String> {
    let mut all = (0..rounds).map(|_| measure()).collect::<Result<Vec<_>, _>>()?;
    all.sort_by(f64::total_cmp);
    Ok(all[rounds / 2])
}

/// Starts a server on the compressed model and gives the seconds until it says that it is ready, and
/// its resident bytes a second later.
fn serve(project: &Path) -> Result<(f64, u64), String> {
    let objects = project.join(".yard/objects");
    let model = std::fs::read_dir(objects)
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.join("compression.json").exists())
        .ok_or("there is no compressed model")?;
    let begun = Instant::now();
    let child = Command::new(steps::yard())
        .args(["serve", "--json", "--address", "127.0.0.1:0", "--model"])
        .arg(model)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut child = Running(child);
    let out = child.0.stdout.take().ok_or("no output")?;
    for line in BufReader::new(out).lines() {
        let line = line.map_err(|error| error.to_string())?;
        if line.contains("\"ready\"") {
            let seconds = begun.elapsed().as_secs_f64();
            std::thread::sleep(Duration::from_secs(1));
            return Ok((seconds, resident_bytes(child.0.id())?));
        }
    }
    Err("the server ended before it was ready".to_owned())
}

/// A server that is stopped when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn resident_bytes(process: u32) -> Result<u64, String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).map_err(|error| error.to_string())?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let kilobytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).ok_or("no number")?;
    Ok(kilobytes * 1024)
}

fn copy(from: &Path, to: &Path) -> Outcome {
    std::fs::create_dir_all(to).map_err(|error| error.to_string())?;
    for entry in std::fs::read_dir(from).map_err(|error| error.to_string())?.flatten() {
        let name = entry.file_name();
        if name == ".yard" {
            continue;
        }
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(name))?;
        } else {
            std::fs::copy(entry.path(), to.join(name)).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}
