//! How fast the default finder is on one core, and what it finds.
//!
//! `cargo run --release -p modelyard-personal --example personal_speed -- FILE [MEGABYTES_MAX]`
//!
//! A `.jsonl` file gives one text a line in `text`; any other file is cut at line ends into texts of about 4 KB.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Instant;

use personal::{FinderConfig, Finding, Kind};
use serde_json::{Value, json};

/// Texts are cut from plain files at the first line end after so many bytes.
const TEXT_BYTES: usize = 4 << 10;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = arguments.first().expect("give a file");
    let bytes_max = arguments.get(1).map_or(usize::MAX, |megabytes| megabytes.parse::<usize>().unwrap() * 1_000_000);
    let samples = arguments.get(2).is_some_and(|word| word == "samples");
    let texts = read(path, bytes_max);
    let bytes: usize = texts.iter().map(String::len).sum();
    let finder = FinderConfig::default().plan().unwrap();
    let mut seconds: Vec<f64> = Vec::new();
    let mut found: Vec<(usize, Finding)> = Vec::new();
    for _ in 0..3 {
        found.clear();
        let start = Instant::now();
        for (index, text) in texts.iter().enumerate() {
            found.extend(finder.find(text).into_iter().map(|finding| (index, finding)));
        }
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, finding) in &found {
        let count = kinds.entry(finding.kind.name()).or_default();
        *count += 1;
        if samples && *count <= 12 {
            let text = &texts[*index];
            let from = (0..=finding.start.saturating_sub(40)).rev().find(|at| text.is_char_boundary(*at)).unwrap();
            let before = &text[from..finding.start];
            println!(
                "{} {:.2} {} {before:?} >> {:?}",
                finding.kind,
                finding.score,
                finding.rule,
                &text[finding.start..finding.end]
            );
        }
    }
    if arguments.get(2).is_some_and(|word| word == "kinds") {
        // Each kind alone: what it adds to an empty pass.
        for kind in Kind::ALL {
            let finder = FinderConfig { kinds: Some(vec![*kind]), ..FinderConfig::default() }.plan().unwrap();
            let start = Instant::now();
            let count: usize = texts.iter().map(|text| finder.find(text).len()).sum();
            let rate = bytes as f64 / 1e6 / start.elapsed().as_secs_f64();
            println!("{kind:<28} {rate:>8.0} MB/s {count:>8}");
        }
    }
    let line = json!({
        "bench": "personal",
        "bytes": bytes,
        "texts": texts.len(),
        "seconds": seconds[1],
        "megabytes_per_second": bytes as f64 / 1e6 / seconds[1],
        "findings": found.len(),
        "kinds": kinds,
    });
    println!("{line}");
}

fn read(path: &str, bytes_max: usize) -> Vec<String> {
    let raw = std::fs::read(path).unwrap();
    let whole = String::from_utf8_lossy(&raw[..raw.len().min(bytes_max)]);
    if path.ends_with(".jsonl") {
        let text = |line: &str| -> Option<String> {
            let row: Value = serde_json::from_str(line).ok()?;
            Some(row["text"].as_str()?.to_owned())
        };
        return whole.lines().filter_map(text).collect();
    }
    let mut texts = Vec::new();
    let mut rest = whole.as_ref();
    while !rest.is_empty() {
        let from = (TEXT_BYTES.min(rest.len())..=rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap();
        let end = rest[from..].find('\n').map_or(rest.len(), |at| from + at + 1);
        texts.push(rest[..end].to_owned());
        rest = &rest[end..];
    }
    texts
}
