//! Documents a second and peak memory of near-deduplication.
//!
//!     cargo run --release -p modelyard-dedup --example dedup_speed -- [DOCUMENTS] [BUDGET_MIB] [THREADS]
//!     cargo run --release -p modelyard-dedup --example dedup_speed -- write DOCUMENTS FILE
//!
//! Documents are made of sentences of real texts (`MODELYARD_CORPUS`, a JSONL file with `text`, or
//! ../shared/data), three to six each, in an order that a seed decides; every fifth is an earlier one with a
//! few words changed, so it is known what should be found. `write` writes them for the peer, dedup_speed.py.
//! Making them is not timed. Prints one line of JSON.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dedup::near::{MinHasher, NearConfig, Writer, cluster};
use rayon::prelude::*;

const POOL_BYTES: usize = 8 << 20;
const BATCH: u64 = 8192;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| arguments.get(at).map_or(default, |text| text.parse().unwrap());
    let pool = sentences();
    if arguments.first().is_some_and(|first| first == "write") {
        return write(&pool, number(1, 20_000), Path::new(&arguments[2]));
    }
    let (documents, budget_mib, threads) = (number(0, 1_000_000), number(1, 1024), number(2, 1) as usize);
    let config = NearConfig { budget_bytes: budget_mib << 20, threads, ..NearConfig::default() };
    let folder = tempfile::tempdir_in(std::env::var_os("MODELYARD_SCRATCH").unwrap_or(".".into())).unwrap();
    let before_mib = peak_memory_mib();
    let file = folder.path().join("signatures");
    let (signing, bytes) = sign(&pool, documents, &file, &config);
    let start = Instant::now();
    let clusters = cluster(&[file], folder.path(), &config).unwrap();
    let clustering = start.elapsed();
    let known = (0..documents).filter(|id| original(*id).is_some()).count();
    let mut dropped = vec![0_u64; (documents as usize).div_ceil(64)];
    for entry in clusters.dropped().unwrap() {
        let (id, representative) = entry.unwrap();
        // Which of the two stays is decided by the order of hashes.
        for id in [id, representative] {
            dropped[id as usize / 64] |= 1 << (id % 64);
        }
    }
    let found =
        (0..documents).filter(|id| original(*id).is_some() && dropped[*id as usize / 64] >> (id % 64) & 1 == 1).count();
    let seconds = (signing + clustering).as_secs_f64();
    println!(
        "{}",
        serde_json::json!({
            "what": "minhash", "documents": documents, "megabytes": bytes as f64 / 1e6, "threads": threads,
            "budget_mib": budget_mib, "signing_s": signing.as_secs_f64(), "clustering_s": clustering.as_secs_f64(),
            "documents_per_second": documents as f64 / seconds, "dropped": clusters.dropped,
            "clusters": clusters.clusters, "known_duplicates": known, "known_found": found,
            "peak_memory_mib": peak_memory_mib(), "peak_memory_before_mib": before_mib,
        })
    );
}

/// Makes, signs and writes all documents; answers the time without the making, and the bytes of text.
fn sign(pool: &[String], documents: u64, file: &Path, config: &NearConfig) -> (Duration, u64) {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(config.threads).build().unwrap();
    let mut writer = Writer::create(file, config).unwrap();
    let hasher = MinHasher::new(config).unwrap();
    let (mut time, mut bytes) = (Duration::ZERO, 0);
    for first in (0..documents).step_by(BATCH as usize) {
        let ids: Vec<u64> = (first..documents.min(first + BATCH)).collect();
        let texts: Vec<String> = threads.install(|| ids.par_iter().map(|id| document(pool, *id)).collect());
        bytes += texts.iter().map(|text| text.len() as u64).sum::<u64>();
        let start = Instant::now();
        let signatures: Vec<Option<Vec<u64>>> = threads.install(|| {
            texts
                .par_iter()
                .with_min_len(256)
                .map_with(hasher.clone(), |hasher, text| {
                    hasher.signature_of_text(text, words::Language::English).map(<[u64]>::to_vec)
                })
                .collect()
        });
        for (id, signature) in ids.iter().zip(&signatures) {
            if let Some(signature) = signature {
                writer.push(*id, signature).unwrap();
            }
        }
        time += start.elapsed();
    }
    let start = Instant::now();
    writer.finish().unwrap();
    (time + start.elapsed(), bytes)
}

fn write(pool: &[String], documents: u64, path: &Path) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    for id in 0..documents {
        writeln!(file, "{}", serde_json::json!({ "id": id, "text": document(pool, id) })).unwrap();
    }
}

/// SplitMix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The document that this one is nearly the same as.
fn original(id: u64) -> Option<u64> {
    let original = id.checked_sub(1 + mix(id) / 5 % 5000)?;
    (mix(id).is_multiple_of(5) && !mix(original).is_multiple_of(5)).then_some(original)
}

fn document(pool: &[String], id: u64) -> String {
    let Some(source) = original(id) else {
        let count = 3 + mix(id ^ 1 << 60) % 4;
        let sentence = |index| pool[(mix(id * 8 + index) % pool.len() as u64) as usize].as_str();
        return (0..count).map(sentence).collect::<Vec<_>>().join(" ");
    };
    let text = document(pool, source);
    let mut words: Vec<&str> = text.split(' ').collect();
    for change in 0..1 + mix(id ^ 1 << 61) % 2 {
        let at = (mix(id + change * 77) % words.len() as u64) as usize;
        words[at] = "changed";
    }
    words.join(" ")
}

/// Sentences of 6 to 40 words in ASCII or not, as they stand in the corpus.
fn sentences() -> Vec<String> {
    let mut pool = Vec::new();
    let mut bytes = 0;
    for file in files() {
        for line in BufReader::new(File::open(file).unwrap()).lines() {
            let Ok(line) = line else { break };
            let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            let text = value["text"].as_str().or(value["question"].as_str()).unwrap_or(&line);
            for sentence in text.split_inclusive(['.', '!', '?', '\n']).map(str::trim) {
                if (6..=40).contains(&sentence.split(' ').count()) && bytes < POOL_BYTES {
                    bytes += sentence.len();
                    pool.push(sentence.to_owned());
                }
            }
            if bytes >= POOL_BYTES {
                return pool;
            }
        }
    }
    assert!(!pool.is_empty(), "no real texts: set MODELYARD_CORPUS");
    pool
}

fn files() -> Vec<PathBuf> {
    if let Some(corpus) = std::env::var_os("MODELYARD_CORPUS") {
        return vec![corpus.into()];
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let corpus = root.join("../corpus/corpus.jsonl");
    if corpus.exists() {
        return vec![corpus];
    }
    let data = root.join("../shared/data");
    ["gsm8k/train.jsonl", "tinyshakespeare/input.txt", "enwik8/enwik8"]
        .iter()
        .map(|name| data.join(name))
        .filter(|path| path.exists())
        .collect()
}

fn peak_memory_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}
