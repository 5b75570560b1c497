//! A whole store of version 1: its database, artifacts, lineage, aliases and traffic sketches open for
//! ever, and its models answer as ever.
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

use std::path::{Path, PathBuf};

use common::Project;
use serde_json::{Value as Json, json};

const YARD_TOML: &str = r#"
name = "golden"
family = "predict"
seed = 5
[data]
source = ["rows.csv"]
[[input]]
column = "text"
type = "text"
buckets = 32
[[input]]
column = "amount"
type = "number"
[[output]]
column = "label"
type = "category"
[train]
epochs = 3
[tune]
trials = 3
[tune.search]
"train.learning_rate" = { low = 1e-3, high = 0.1, log = true }
[compress]
quality_drop_max = 0.5
[monitor]
requests_min = 5
"#;

const ASKED: &str = "{\"text\":\"card lost 3\",\"amount\":10.0}\n{\"text\":\"close it please\",\"amount\":null}\n";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store-v1")
}

fn rows() -> String {
    let words = ["card lost", "where is my money", "open an account", "close it please"];
    let mut text = String::from("text,amount,label\n");
    for index in 0..120_usize {
        text.push_str(&format!("{} {},{},label{}\n", words[index % 4], index * 37 % 101, index % 17, index % 4));
    }
    // One row that is dropped, so that the ledger has an entry.
    text.push_str("card lost 1,5,\n");
    text
}

fn project() -> Project {
    let project = Project::new("rows.csv", rows().as_bytes(), YARD_TOML);
    project.write("ask.jsonl", ASKED.as_bytes());
    project
}

#[test]
fn a_store_of_version_1_opens_as_ever() {
    let project = project();
    common::copy(&folder().join("yard"), &project.file(".yard"));
    let models = project.yard(&["models", "--json"]).ok().result();
    assert_eq!(models["aliases"][0]["version"], 1, "{models:#}");
    let runs = project.yard(&["runs", "--json"]).ok().result();
    for stage in ["data", "tune", "train", "compress", "verify"] {
        assert!(runs["runs"].as_array().unwrap().iter().any(|run| run["stage"] == stage), "{stage}: {runs:#}");
    }
    let shown = project.yard(&["show", "golden@1"]).ok().out;
    for stage in ["data", "train", "compress"] {
        assert!(shown.contains(stage), "{shown}");
    }
    assert!(project.yard(&["log"]).ok().out.contains("promote"));
    let answers = project.yard(&["predict", "golden@1", "ask.jsonl"]).ok().out;
    assert_eq!(answers, std::fs::read_to_string(folder().join("answers.jsonl")).unwrap());
    let drift = project.yard(&["monitor", "golden@1"]).ok().out;
    assert!(drift.contains("amount") && !drift.contains("too few"), "{drift}");
    project.yard(&["report", "golden@1", "--out", "page.html"]).ok();
    let page = std::fs::read_to_string(project.file("page.html")).unwrap();
    for part in ["missing output", "label3", "accuracy"] {
        assert!(page.contains(part), "{part:?} is not in the page");
    }
    // Every file of every artifact is what its digest says.
    assert_eq!(project.yard(&["data", "--repair"]).ok().out.matches("damaged").count(), 0);
}

/// Writes the golden store. Only for a new format beside the old one: a released one never changes.
#[test]
#[ignore = "writes the golden store; a released one never changes"]
fn bless() {
    let project = project();
    project.yard(&["run", "--quiet"]).ok();
    let server = project.serve(&["golden"]);
    let inputs = json!([
        { "name": "text", "datatype": "BYTES", "shape": [1], "data": ["card lost 3"] },
        { "name": "amount", "datatype": "FP64", "shape": [1], "data": [5000.0] },
    ]);
    for _ in 0..20 {
        let _: Json = server.infer("golden", &inputs);
    }
    assert_eq!(server.stop(), 0);
    let answers = project.yard(&["predict", "golden@1", "ask.jsonl"]).ok().out;
    assert!(!project.file(".yard/yard.db-wal").exists(), "the database is not one file");
    let to = folder();
    let _ = std::fs::remove_dir_all(&to);
    common::copy(&project.file(".yard"), &to.join("yard"));
    for needless in ["lock", "reports", "work"] {
        let path = to.join("yard").join(needless);
        let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
    }
    std::fs::write(to.join("answers.jsonl"), answers).unwrap();
}
