//! `cargo xtask bench infer FILE.gguf..`: tokens per second of prompts and answers, ours and llama.cpp's.
//!
//! Rounds of ours and of the peer's follow each other, so that a slow minute of the machine falls on both; medians are
//! printed. Both sides use as many threads as there are processors.

use std::path::Path;

use serde_json::Value as Json;

use super::peers::{Python, output};
use super::quiet;
use crate::steps::{self, Outcome, cargo};

const ROUNDS: usize = 5;
/// What is measured: its name in both programs' lines, what it is, and how much faster than llama.cpp it shall be.
const WORK: [(&str, &str, f64); 3] =
    [("prefill", "prompt of 512", 1.5), ("decode", "decode", 1.25), ("decode_deep", "decode behind 1,024", 1.4)];

pub fn run(words: &[&str]) -> Outcome {
    let (mut files, mut rounds) = (Vec::new(), ROUNDS);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if *word == "--rounds" {
            let number = words.next().and_then(|word| word.parse().ok()).filter(|rounds| *rounds > 0);
            rounds = number.ok_or("--rounds needs a number above 0")?;
        } else {
            files.push(*word);
        }
    }
    if files.is_empty() {
        return Err(format!("bench infer needs a GGUF file\n\n{}", crate::USAGE));
    }
    cargo(&["build", "--release", "--package", "modelyard-infer", "--example", "decode_speed"], &[])?;
    let ours = steps::target().join("release/examples/decode_speed");
    let python = Python::find_with(&["llama-cpp-python==0.3.36"], "import llama_cpp")?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).to_string();
    let (mut lines, mut busy, mut version) = (Vec::new(), 0, String::new());
    for file in files {
        println!("==> {file}");
        let (mut mine, mut peers) = (Vec::new(), Vec::new());
        for round in 1..=rounds {
            busy += usize::from(!quiet::wait());
            let one: Json = output(&ours, &[file, &threads])?;
            busy += usize::from(!quiet::wait());
            let peer = python.run("llama_speed.py", &[file, &threads])?;
            println!("    round {round}: {one}\n             {peer}");
            version = peer["version"].as_str().unwrap_or_default().to_owned();
            mine.push(one);
            peers.push(peer);
        }
        let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy().into_owned();
        for (key, what, target) in WORK {
            let (one, peer) = (median(&mine, key)?, median(&peers, key)?);
            let read = median(&mine, "bytes_per_token")? * one / 1e9;
            let read = if key == "prefill" { String::new() } else { format!("{read:.0} GB/s") };
            let ratio = one / peer;
            lines.push(format!("| {name} | {what} | {one:.1} | {peer:.1} | {ratio:.2} | ≥ {target} | {read} |"));
        }
    }
    println!(
        "\n{threads} threads, llama-cpp-python {version}, medians of {rounds} rounds; {busy} measurements began on a busy machine\n"
    );
    println!("| file | work | ours, tokens/s | llama.cpp, tokens/s | ratio | target | weights read |");
    println!("|---|---|---|---|---|---|---|");
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn median(all: &[Json], key: &str) -> Result<f64, String> {
    let values: Option<Vec<f64>> = all.iter().map(|one| one[key].as_f64()).collect();
    let mut values = values.ok_or_else(|| format!("no {key} in {all:?}"))?;
    values.sort_by(f64::total_cmp);
    Ok(values[values.len() / 2])
}
