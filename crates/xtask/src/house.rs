//! The house rules that ARCHITECTURE.md states: who may depend on whom, and how files look.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::steps::{self, Outcome};

/// Crates that are one stage each: they never depend on each other.
const STAGES: [&str; 10] =
    ["data", "train", "tune", "compress", "package", "serve", "monitor", "rollout", "report", "yard"];
/// What a stage may depend on.
const SHARED: [&str; 15] = [
    "base",
    "store",
    "kernels",
    "nn",
    "infer",
    "dataset",
    "repair",
    "words",
    "signals",
    "dedup",
    "personal",
    "tokenizer",
    "sources",
    "tables",
    "labels",
];
/// What each shared crate may depend on.
const SHARED_EDGES: [(&str, &[&str]); 15] = [
    ("base", &[]),
    ("store", &["base"]),
    ("kernels", &[]),
    ("infer", &["base", "kernels", "tokenizer"]),
    ("repair", &[]),
    ("words", &[]),
    ("signals", &["words"]),
    ("dedup", &["base", "words"]),
    ("personal", &[]),
    ("tokenizer", &["base"]),
    ("sources", &["base"]),
    ("tables", &["base"]),
    ("labels", &["base"]),
    ("dataset", &["base", "infer"]),
    ("nn", &["base", "kernels", "infer"]),
];
/// Outside crates that only some may know, each with the crates that may.
const OUTSIDE: [(&str, &[&str]); 11] = [
    ("clap", &["yard"]),
    ("burn", &["nn"]),
    ("datafusion", &["data"]),
    ("ballista-core", &["data"]),
    ("ballista-executor", &["data"]),
    ("ballista-scheduler", &["data"]),
    ("axum", &["serve"]),
    ("tonic", &["serve"]),
    ("rustls", &["serve"]),
    ("sqlx", &["store", "sources"]),
    ("indicatif", &["yard"]),
];
/// The most lines a source file may have.
const LINES_MAX: usize = 700;

pub fn check() -> Outcome {
    let mut wrong = Vec::new();
    edges(&mut wrong)?;
    sources(&mut wrong);
    if wrong.is_empty() { Ok(()) } else { Err(format!("\n  {}", wrong.join("\n  "))) }
}

/// The dependencies of every workspace crate, without those for tests.
fn dependencies() -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let bytes = steps::cargo_output(&["metadata", "--format-version", "1", "--no-deps", "--locked"])?;
    let metadata: Json = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let short = |name: &str| name.strip_prefix("modelyard-").unwrap_or(name).to_owned();
    let mut all = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let dependencies = package["dependencies"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|dependency| dependency["kind"] != "dev")
            .filter_map(|dependency| dependency["name"].as_str())
            .map(short)
            .collect();
        all.insert(short(package["name"].as_str().unwrap_or("")), dependencies);
    }
    Ok(all)
}

fn edges(wrong: &mut Vec<String>) -> Outcome {
    let all = dependencies()?;
    let ours: BTreeSet<&String> = all.keys().collect();
    for (name, dependencies) in &all {
        let allowed: Vec<&str> = if name == "yard" {
            STAGES.iter().chain(&SHARED).copied().collect()
        } else if let Some((_, edges)) = SHARED_EDGES.iter().find(|(shared, _)| shared == name) {
            edges.to_vec()
        } else if name == "xtask" {
            vec!["base"]
        } else if STAGES.contains(&name.as_str()) {
            SHARED.to_vec()
        } else {
            wrong.push(format!("crates/{name}: not in the table of crates in crates/xtask/src/house.rs"));
            continue;
        };
        for dependency in dependencies.iter().filter(|dependency| ours.contains(dependency)) {
            if !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("crates/{name} may not depend on {dependency}"));
            }
        }
        for (outside, knows) in OUTSIDE {
            if dependencies.contains(outside) && !knows.contains(&name.as_str()) {
                wrong.push(format!("crates/{name} may not know {outside}; only {} may", knows.join(", ")));
            }
        }
    }
    Ok(())
}

fn sources(wrong: &mut Vec<String>) {
    let root = steps::root();
    for path in steps::files(&root.join("crates"), &[".rs"]) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let shown = path.strip_prefix(&root).unwrap_or(&path).display();
        let test = path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
        if !test && !text.starts_with("//!") {
            wrong.push(format!("{shown}: opens without a `//!` line that says what the file is for"));
        }
        if text.lines().count() > LINES_MAX {
            wrong.push(format!("{shown}: more than {LINES_MAX} lines"));
        }
        let unsafe_allowed = shown.to_string().starts_with("crates/kernels/") || path.ends_with("infer/src/mapped.rs");
        for (index, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            if !unsafe_allowed
                && !path.ends_with("house.rs")
                && (code.contains("unsafe {") || code.contains("unsafe fn"))
            {
                wrong.push(format!("{shown}:{}: `unsafe` outside kernels and the memory map", index + 1));
            }
            let ignored = code.trim_start().starts_with("#[ignore") && !code.contains("= \"");
            if ignored {
                wrong.push(format!("{shown}:{}: `#[ignore]` without a reason", index + 1));
            }
        }
    }
}
