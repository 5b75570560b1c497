//! `cargo xtask bench infer FILE.gguf.. [FOLDER..]`: tokens per second of prompts, answers and chats, ours and
//! llama.cpp's, the time from process start to the first token, and what is resident; for the folder of an encoder its
//! vectors per second, ours, PyTorch's and ONNX Runtime's.
//!
//! Rounds of ours and of the peer's follow each other, so that a slow minute of the machine falls on both; medians are
//! printed. Both sides use as many threads as there are processors. The limits are those of this machine: the memory read
//! and the byte products that `kernels`' example `limits` measures in the same run.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value as Json, json};

use super::peers::{Python, output};
use super::quiet;
use crate::steps::{self, Outcome};

const ROUNDS: usize = 5;
/// What is measured: its name in both programs' lines, what it is, and how much faster than llama.cpp it shall be.
const WORK: [(&str, &str, f64); 4] = [
    ("prefill", "prompt of 512", 1.5),
    ("decode", "decode", 1.25),
    ("decode_deep", "decode behind 1,024", 1.4),
    ("chats", "8 chats, 256 in, 128 out", 1.3),
];
/// Resident memory may be above the file and the cache by this.
const RESIDENT_MIB_MAX: f64 = 100.0;

/// What is measured of both sides, round by round.
struct Bench {
    python: Python,
    threads: String,
    rounds: usize,
    busy: usize,
    limits: Json,
    lines: Vec<String>,
}

pub fn run(words: &[&str]) -> Outcome {
    let (paths, rounds) = super::rounds(words, ROUNDS)?;
    if paths.is_empty() {
        return Err(format!("bench infer needs a GGUF file, or the folder of an encoder\n\n{}", crate::USAGE));
    }
    super::build()?;
    let python = Python::find_with(&["llama-cpp-python==0.3.36", "numpy"], "import llama_cpp, numpy")?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    quiet::wait();
    let limits = output(&example("limits"), &[&threads])?;
    let mut bench = Bench { python, threads, rounds, busy: 0, limits, lines: Vec::new() };
    for path in paths {
        println!("==> {path}");
        if Path::new(path).is_dir() { bench.encoder(path)? } else { bench.file(path)? }
    }
    let Bench { threads, rounds, busy, limits, lines, .. } = bench;
    println!("\n{threads} threads, medians of {rounds} rounds; {busy} measurements began on a busy machine");
    println!(
        "limits: {} GB/s of memory, {} Top/s of byte products, {} TFLOP/s of bf16 products\n",
        limits["read_gb_per_second"], limits["int8_tera_per_second"], limits["bf16_tera_per_second"]
    );
    println!("| model | work | ours | peer | ratio | target | of the limit |");
    println!("|---|---|---|---|---|---|---|");
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn example(name: &str) -> std::path::PathBuf {
    steps::target().join("release/examples").join(name)
}

impl Bench {
    fn quiet(&mut self) {
        self.busy += usize::from(!quiet::wait());
    }

    /// A language model beside llama.cpp.
    fn file(&mut self, file: &str) -> Outcome {
        let (mut mine, mut peers) = (Vec::new(), Vec::new());
        let threads = self.threads.clone();
        for round in 1..=self.rounds {
            self.quiet();
            let mut one: Json = output(&example("decode_speed"), &[file, &threads])?;
            self.quiet();
            let mut peer = self.python.run("llama_speed.py", &[file, &threads])?;
            self.quiet();
            merge(&mut one, output(&example("chats_speed"), &[file, &threads])?);
            self.quiet();
            merge(&mut peer, self.python.run("llama_chats.py", &[file, &threads])?);
            // A file without words has no first one.
            self.quiet();
            if let Ok(seconds) = timed(Command::new(example("chats_speed")).args([file, &threads, "first"])) {
                one["first"] = json!(seconds);
                self.quiet();
                peer["first"] = json!(timed(&mut self.python.command("llama_chats.py", &[file, &threads, "first"]))?);
            }
            println!("    round {round}: {one}\n             {peer}");
            mine.push(one);
            peers.push(peer);
        }
        let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = median(&mine, "bytes_per_token")?;
        for (key, what, target) in WORK {
            let target = if key == "decode" && name.to_ascii_lowercase().contains("q8_0") { 1.2 } else { target };
            let (one, peer) = (median(&mine, key)?, median(&peers, key)?);
            let share = match key {
                // Two operations a weight and token; what attention adds is not counted.
                "prefill" => 2.0 * median(&mine, "weights")? * one / 1e12 / self.limit("int8_tera_per_second"),
                "chats" => f64::NAN,
                _ => bytes * one / 1e9 / self.limit("read_gb_per_second"),
            };
            let share = if share.is_nan() { String::new() } else { format!("{:.0} %", 100.0 * share) };
            let ratio = one / peer;
            self.lines.push(format!(
                "| {name} | {what}, tokens/s | {one:.1} | {peer:.1} | {ratio:.2} | ≥ {target} | {share} |"
            ));
        }
        if let (Ok(one), Ok(peer)) = (median(&mine, "first"), median(&peers, "first")) {
            let ratio = one / peer;
            self.lines.push(format!(
                "| {name} | process start to first token, s | {one:.2} | {peer:.2} | {ratio:.2} | ≤ 0.5 | |"
            ));
        }
        let (resident, file, cache) =
            (median(&mine, "resident_mib")?, median(&mine, "file_mib")?, median(&mine, "cache_mib")?);
        let above = resident - file - cache;
        self.lines.push(format!(
            "| {name} | resident, MiB | {resident:.0} | file {file:.0} + cache {cache:.0} | {above:+.0} | ≤ {RESIDENT_MIB_MAX:+.0} | |"
        ));
        Ok(())
    }

    /// An encoder beside PyTorch and ONNX Runtime.
    fn encoder(&mut self, folder: &str) -> Outcome {
        let packages = ["torch==2.15.0", "numpy", "transformers", "onnx", "onnxscript", "onnxruntime"];
        let probe = "import numpy, onnx, onnxruntime, onnxscript, torch, transformers";
        let python = Python::find_with(&packages, probe)?;
        let (mut mine, mut peers) = (Vec::new(), Vec::new());
        let threads = self.threads.clone();
        for round in 1..=self.rounds {
            self.quiet();
            let one: Json = output(&example("embed_speed"), &[folder, &threads])?;
            self.quiet();
            let peer = python.run("embed_speed.py", &[folder, &threads])?;
            println!("    round {round}: {one}\n             {peer}");
            mine.push(one);
            peers.push(peer);
        }
        let one = median(&mine, "sequences_per_second")?;
        let all = ["bf16_compile", "bf16", "onnxruntime", "f32"].map(|key| Ok((median(&peers, key)?, key)));
        let all = all.into_iter().collect::<Result<Vec<_>, String>>()?;
        let (peer, which) = all.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_default();
        let name = Path::new(folder).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let ratio = one / peer;
        self.lines.push(format!(
            "| {name} | 32 × 128 tokens, sequences/s | {one:.1} | {peer:.1} ({which}) | {ratio:.2} | ≥ 1.5 | |"
        ));
        Ok(())
    }

    fn limit(&self, key: &str) -> f64 {
        self.limits[key].as_f64().unwrap_or(f64::NAN)
    }
}

fn merge(one: &mut Json, other: Json) {
    if let (Some(one), Json::Object(other)) = (one.as_object_mut(), other) {
        one.extend(other);
    }
}

/// Seconds from a process's start to its end.
fn timed(command: &mut Command) -> Result<f64, String> {
    let begun = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let status = status.map_err(|error| format!("{command:?} did not start: {error}"))?;
    if status.success() { Ok(begun.elapsed().as_secs_f64()) } else { Err(format!("{command:?} gave {status}")) }
}

fn median(all: &[Json], key: &str) -> Result<f64, String> {
    let values: Option<Vec<f64>> = all.iter().map(|one| one[key].as_f64()).collect();
    let mut values = values.ok_or_else(|| format!("no {key} in {all:?}"))?;
    values.sort_by(f64::total_cmp);
    Ok(values[values.len() / 2])
}
