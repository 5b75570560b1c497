//! The whole pipeline on a small project: caching, determinism, kills, versions, serving, monitoring.
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

use std::process::Command;
use std::time::{Duration, Instant};

use common::{Project, ran};
use serde_json::{Value as Json, json};

const YARD_TOML: &str = r#"
name = "small"
family = "predict"
seed = 3
[data]
source = ["rows.csv"]
[[input]]
column = "text"
type = "text"
buckets = 256
[[input]]
column = "amount"
type = "number"
[[input]]
column = "country"
type = "category"
[[input]]
column = "member"
type = "binary"
[[output]]
column = "label"
type = "category"
[train]
epochs = 6
[compress]
quality_drop_max = 0.2
[package]
[monitor]
requests_min = 20
"#;

/// Rows whose label follows from the text, with every fifth word drawn by a fixed sequence.
fn rows(count: usize) -> String {
    let words = ["card lost", "where is my money", "open an account", "close it please"];
    let mut state = 1_u64;
    let mut text = String::from("text,amount,country,member,label\n");
    for _ in 0..count {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let kind = (state >> 33) as usize % 4;
        let amount = (state >> 40) % 1000;
        let country = ["de", "fr", "cn"][(state >> 50) as usize % 3];
        let member = ["yes", "no"][(state >> 55) as usize % 2];
        text.push_str(&format!("{} {},{amount},{country},{member},label{kind}\n", words[kind], state % 97));
    }
    text
}

fn project() -> Project {
    Project::new("rows.csv", rows(400).as_bytes(), YARD_TOML)
}

fn stage<'a>(result: &'a Json, name: &str) -> &'a Json {
    let stages = result["stages"].as_array().unwrap();
    stages.iter().find(|stage| stage["stage"] == name).unwrap_or_else(|| panic!("no {name} in {result:#}"))
}

/// The digest of the trained weights.
fn weights(project: &Project, result: &Json) -> String {
    let artifact = stage(result, "train")["artifact"].as_str().unwrap();
    let manifest = std::fs::read(project.file(".yard/objects").join(artifact).join("manifest.json")).unwrap();
    let manifest: Json = serde_json::from_slice(&manifest).unwrap();
    let files = manifest["files"].as_array().unwrap();
    files.iter().find(|file| file["path"] == "weights.safetensors").unwrap()["sha256"].as_str().unwrap().to_owned()
}

#[test]
fn every_stage_runs_once() {
    let project = project();
    let first = project.yard(&["run", "--json"]).ok().result();
    for name in ["data", "train", "compress", "package", "verify"] {
        assert_eq!(stage(&first, name)["cached"], false, "{name}");
    }
    assert_eq!(first["version"], "small@1");
    assert!(first["metrics"]["accuracy"]["value"].as_f64().unwrap() > 0.8, "{first:#}");
    let second = project.yard(&["run", "--json"]).ok().result();
    for made in second["stages"].as_array().unwrap() {
        assert_eq!(made["cached"], true, "{made}");
    }
    assert!(project.yard(&["run"]).ok().out.contains("nothing to do"));
    assert_eq!(second["version"], "small@1");

    let third = project.yard(&["run", "--json", "--set", "train.learning_rate=0.02"]).ok().result();
    assert_eq!(stage(&third, "data")["cached"], true);
    assert_eq!(stage(&third, "train")["cached"], false);
    assert_eq!(stage(&third, "compress")["cached"], false);
    assert_eq!(third["version"], "small@2");
    // A new version does not become champion by itself.
    let models = project.yard(&["models", "--json"]).ok().result();
    assert_eq!(models["aliases"][0]["version"], 1);

    project.write("rows.csv", rows(410).as_bytes());
    let fourth = project.yard(&["run", "--json"]).ok().result();
    assert_eq!(stage(&fourth, "data")["cached"], false);
}

#[test]
fn the_same_seed_gives_the_same_weights_on_any_number_of_threads() {
    let one = project();
    let other = project();
    let a = one.yard(&["train", "--json", "--threads", "1"]).ok().result();
    let b = other.yard(&["train", "--json", "--threads", "2"]).ok().result();
    assert_eq!(weights(&one, &a), weights(&other, &b));
    let c = other.yard(&["train", "--json", "--set", "seed=4"]).ok().result();
    assert_ne!(weights(&other, &b), weights(&other, &c));
}

#[test]
fn a_killed_run_continues_to_the_same_weights() {
    let settings = ["train", "--json", "--set", "train.epochs=400", "--set", "train.checkpoint_seconds=1"];
    let whole = project();
    let begun = Instant::now();
    let expected = weights(&whole, &whole.yard(&settings).ok().result());
    let took = begun.elapsed();
    let killed = project();
    for share in [0.15, 0.5, 0.8] {
        let mut child = killed.command(&settings).stdout(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(took.mul_f64(share).max(Duration::from_millis(30)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let result = killed.yard(&settings).ok().result();
    assert_eq!(weights(&killed, &result), expected);
    let runs = killed.yard(&["runs", "--json"]).ok().result();
    assert!(runs["runs"].as_array().unwrap().iter().any(|run| run["status"] == "interrupted"), "{runs:#}");
}

#[test]
fn ctrl_c_stops_cleanly_and_says_how_to_go_on() {
    let project = project();
    let child = project
        .command(&["train", "--set", "train.epochs=100000"])
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(3));
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    ran(child.wait_with_output().unwrap()).fails(130, &["stopped", "hint: ", "same command"]);
}

fn inputs(text: &str, amount: f64) -> Json {
    json!([
        { "name": "text", "datatype": "BYTES", "shape": [1], "data": [text] },
        { "name": "amount", "datatype": "FP64", "shape": [1], "data": [amount] },
        { "name": "country", "datatype": "BYTES", "shape": [1], "data": ["de"] },
        { "name": "member", "datatype": "BOOL", "shape": [1], "data": [true] },
    ])
}

#[test]
fn a_running_server_switches_versions_and_traffic_is_watched() {
    let project = project();
    project.yard(&["run", "--quiet"]).ok();
    project.yard(&["run", "--quiet", "--set", "train.learning_rate=0.02"]).ok();
    assert!(project.yard(&["monitor", "small"]).ok().out.contains("too few requests"));

    let server = project.serve(&["small"]);
    assert_eq!(server.infer("small", &inputs("card lost 3", 10.0))["model_version"], "1");
    project.yard(&["promote", "small@2"]).ok();
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.infer("small", &inputs("card lost 3", 10.0))["model_version"] != "2" {
        assert!(Instant::now() < deadline, "the server did not switch");
    }
    // Far from the training data: every amount is 5,000, where training saw 0 to 999.
    for _ in 0..60 {
        server.infer("small", &inputs("card lost 3", 5000.0));
    }
    project.yard(&["rollback", "small"]).ok();
    while server.infer("small", &inputs("card lost 3", 10.0))["model_version"] != "1" {
        assert!(Instant::now() < deadline + Duration::from_secs(10), "the server did not switch back");
    }
    let (status, metrics) = server.request("GET", "/metrics", "");
    assert_eq!(status, 200);
    assert!(metrics.contains("# TYPE"), "{metrics}");
    assert_eq!(server.stop(), 0);

    let drift = project.yard(&["monitor", "small@2"]).ok();
    assert!(drift.out.contains("amount") && drift.out.contains("drift"), "{}", drift.out);
    let log = project.yard(&["log", "--json"]).ok().result();
    let actions: Vec<&str> = log["entries"].as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["rollback", "promote", "register", "promote", "register"]);
}

#[test]
fn gates_refuse() {
    let project = project();
    let strict = format!("{YARD_TOML}\n[[rollout.gate]]\nmetric = \"accuracy\"\nmin = 1.1\n");
    project.write("yard.toml", strict.as_bytes());
    project.yard(&["run"]).fails(3, &["accuracy", "1.1"]);
    project.yard(&["promote", "small@1"]).fails(3, &["accuracy", "1.1"]);
    assert_eq!(project.yard(&["models", "--json"]).ok().result()["aliases"], json!([]));
}

#[test]
fn a_search_finds_settings_and_resumes() {
    let project = project();
    let tune = "[tune]\ntrials = 6\n[tune.search]\n\"train.learning_rate\" = { low = 1e-4, high = 0.1, log = true }\n\
        \"train.optimizer\" = { choices = [\"adamw\", \"rmsprop\"] }\n";
    project.write("yard.toml", format!("{YARD_TOML}\n{tune}").as_bytes());
    let result = project.yard(&["run", "--json"]).ok().result();
    assert_eq!(stage(&result, "tune")["cached"], false);
    let artifact = stage(&result, "tune")["artifact"].as_str().unwrap().to_owned();
    let study = std::fs::read(project.file(".yard/objects").join(artifact).join("study.json")).unwrap();
    let study: Json = serde_json::from_slice(&study).unwrap();
    assert_eq!(study["trials"].as_array().unwrap().len(), 6);
    let again = project.yard(&["run", "--json"]).ok().result();
    assert_eq!(stage(&again, "tune")["cached"], true);
    assert_eq!(stage(&again, "train")["cached"], true);
    project.write("yard.toml", YARD_TOML.as_bytes());
    project.yard(&["tune"]).fails(2, &["[tune]", "hint: "]);
}

#[test]
fn plan_runs_nothing_and_marks_estimates() {
    let project = project();
    let plan = project.yard(&["plan"]).ok().out;
    for part in ["parameters", "memory", "estimated", "400"] {
        assert!(plan.contains(part), "{part:?} is not in\n{plan}");
    }
    assert!(!project.file(".yard").exists());
}

#[test]
fn init_writes_a_file_that_runs() {
    let project = Project::empty();
    project.write("rows.csv", rows(200).as_bytes());
    project.yard(&["init", "rows.csv"]).ok();
    let text = std::fs::read_to_string(project.file("yard.toml")).unwrap();
    assert!(text.contains('#') && text.contains("\"label\""), "{text}");
    project.yard(&["init", "rows.csv"]).fails(2, &["--force"]);
    project.yard(&["plan"]).ok();
    project.yard(&["run", "--quiet"]).ok();
}

#[test]
fn drops_are_explained() {
    let project = project();
    let mut text = rows(300);
    text.push_str("card lost 1,5,de,yes,\n,,,,label1\n");
    let second_line = text.lines().nth(1).unwrap().to_owned();
    text.push_str(&format!("{second_line}\n"));
    project.write("rows.csv", text.as_bytes());
    let shown = project.yard(&["data", "--explain-drops"]).ok().out;
    for part in ["missing_output", "empty", "duplicate", "302", "303", "304"] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
}

#[test]
fn answers_without_a_server_are_the_servers_answers() {
    let project = project();
    project.yard(&["run", "--quiet"]).ok();
    project.write("ask.jsonl", b"{\"text\":\"card lost 3\",\"amount\":10.0,\"country\":\"de\",\"member\":true}\n");
    let offline = project.yard(&["predict", "small", "ask.jsonl"]).ok().out;
    let offline: Json = serde_json::from_str(offline.lines().next().unwrap()).unwrap();
    let server = project.serve(&["small@1"]);
    let online = server.infer("small", &inputs("card lost 3", 10.0));
    let outputs = online["outputs"].as_array().unwrap();
    let label = outputs.iter().find(|output| output["name"] == "label").unwrap();
    assert_eq!(offline["label"], label["data"][0]);
}

#[test]
fn a_report_is_one_page_without_network() {
    let project = project();
    project.yard(&["run", "--quiet"]).ok();
    project.yard(&["report", "small@1", "--out", "page.html"]).ok();
    let page = std::fs::read_to_string(project.file("page.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<svg"), "{}", &page[..200]);
    for outside in ["src=\"http", "href=\"http", "url(http", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    for part in ["prefers-color-scheme", "accuracy", "label3", "small@1"] {
        assert!(page.contains(part), "{part:?} is not in the page");
    }
    for run in project.yard(&["runs", "--json"]).ok().result()["runs"].as_array().unwrap() {
        project.yard(&["report", &run["id"].to_string()]).ok();
    }
}

#[test]
fn json_lines_are_json() {
    let project = project();
    let ran = project.yard(&["run", "--json"]).ok();
    assert_eq!(ran.err, "");
    for line in ran.out.lines() {
        let event: Json = serde_json::from_str(line).unwrap();
        assert!(event["event"].is_string(), "{line}");
    }
    let failed = project.yard(&["run", "--json", "--set", "train.epochs=0"]);
    assert_eq!(failed.code, 2);
    let error: Json = serde_json::from_str(failed.out.lines().last().unwrap()).unwrap();
    assert_eq!((error["event"].as_str(), error["exit_code"].as_u64()), (Some("error"), Some(2)));
    assert_eq!(project.yard(&["run", "--quiet"]).ok().err, "");
}
