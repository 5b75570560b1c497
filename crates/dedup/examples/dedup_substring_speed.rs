//! Megabytes a second and peak memory of exact-substring deduplication and of line deduplication.
//!
//!     cargo run --release -p modelyard-dedup --example dedup_substring_speed -- [MEGABYTES] [BUDGET_MIB]
//!
//! The texts are those of `MODELYARD_CORPUS` (JSONL with `text`), by default ../corpus/corpus.jsonl. Prints one
//! line of JSON.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Instant;

use dedup::exact::{ExactConfig, SpanWriter, find_spans};
use dedup::substring::{SubstringConfig, Symbol, TextWriter, find};

fn main() {
    let arguments: Vec<u64> = std::env::args().skip(1).map(|text| text.parse().unwrap()).collect();
    let megabytes = arguments.first().copied().unwrap_or(50);
    let budget_bytes = arguments.get(1).copied().unwrap_or(1024) << 20;
    let corpus = std::env::var_os("MODELYARD_CORPUS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../corpus/corpus.jsonl"), Into::into);
    let folder = tempfile::tempdir_in(".").unwrap();
    let (texts, lines) = (folder.path().join("texts"), folder.path().join("lines"));
    let mut text_writer = TextWriter::create(&texts, Symbol::Byte).unwrap();
    let mut line_writer = SpanWriter::create(&lines).unwrap();
    let (mut bytes, mut documents, mut writing_texts, mut writing_lines) = (0, 0_u64, 0.0, 0.0);
    for line in BufReader::new(File::open(corpus).unwrap()).lines() {
        let value: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let text = value["text"].as_str().unwrap();
        let start = Instant::now();
        text_writer.push_text(documents, text).unwrap();
        writing_texts += start.elapsed().as_secs_f64();
        let start = Instant::now();
        line_writer.push_lines(documents, text).unwrap();
        writing_lines += start.elapsed().as_secs_f64();
        documents += 1;
        bytes += text.len();
        if bytes as u64 >= megabytes * 1_000_000 {
            break;
        }
    }
    text_writer.finish().unwrap();
    line_writer.finish().unwrap();
    let config = SubstringConfig { budget_bytes, ..SubstringConfig::default() };
    let start = Instant::now();
    let cuts = find(&[texts], &folder.path().join("cuts"), &config).unwrap();
    let substring_s = writing_texts + start.elapsed().as_secs_f64();
    let cut = |cuts: dedup::exact::Cuts| -> usize {
        cuts.map(|entry| entry.unwrap().1.iter().map(ExactSizeIterator::len).sum::<usize>()).sum()
    };
    let start = Instant::now();
    let line_cuts = find_spans(&[lines], &folder.path().join("line-cuts"), &ExactConfig { budget_bytes }).unwrap();
    let lines_s = writing_lines + start.elapsed().as_secs_f64();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap().split_whitespace().nth(1).unwrap();
    println!(
        "{}",
        serde_json::json!({
            "what": "substring", "megabytes": bytes as f64 / 1e6, "documents": documents, "threads": 1,
            "substring_mb_per_second": bytes as f64 / 1e6 / substring_s, "substring_bytes_cut": cut(cuts),
            "lines_mb_per_second": bytes as f64 / 1e6 / lines_s, "lines_bytes_cut": cut(line_cuts),
            "peak_memory_mib": peak.parse::<f64>().unwrap() / 1024.0,
        })
    );
}
