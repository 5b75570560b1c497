//! A registry as the source: switches under load, versions that fail, sketches in the store.
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

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base::{Failure, Fault};
use infer::sketch::Sketch;
use serde_json::{Value as Json, json};
use serve::{RegistrySource, Running};
use store::{StageKey, Store, StoreError};

use crate::config;
use crate::http::Http;
use crate::models::{description, write_predict};

const INFER: &str = "/v2/models/bank/infer";

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Wrapped(#[from] StoreError);

impl Failure for Wrapped {
    fn fault(&self) -> Fault {
        Fault::Internal
    }
}

/// Registers a model with weights from the seed as the next version of `bank`.
fn register(store: &Store, seed: u64) -> store::Version {
    let key = StageKey { stage: "train", code_version: 1, config: json!({}), inputs: vec![], seed, makes: "model" };
    let made = store.stage(&key, |work| -> Result<(), Wrapped> {
        write_predict(work.out(), description(4096, 20), seed);
        Ok(())
    });
    store.register("bank", made.unwrap().artifact.digest, &Json::Null, "me").unwrap()
}

fn promote(store: &Store, version: u32) {
    store.move_alias("bank", "champion", version, "me", "promote", &Json::Null).unwrap();
}

fn open(versions: u64) -> (tempfile::TempDir, Arc<Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path()).unwrap());
    for seed in 1..=versions {
        register(&store, seed);
    }
    promote(&store, 1);
    (folder, store)
}

fn serve(store: &Arc<Store>, name: &str) -> Running {
    let source = RegistrySource::new(store.clone(), name.parse().unwrap());
    serve::start(config(), vec![Arc::new(source)]).unwrap()
}

fn body() -> Json {
    json!({ "inputs": [
        { "name": "message", "shape": [2], "datatype": "BYTES", "data": ["my card was not charged", null] },
        { "name": "age", "shape": [2], "datatype": "FP64", "data": [33, 34] },
        { "name": "plan", "shape": [2], "datatype": "BYTES", "data": ["gold", "silver"] },
        { "name": "vip", "shape": [2], "datatype": "BOOL", "data": [true, false] },
    ]})
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(10), "{what} never happened");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn switches_drop_and_mix_no_answer() {
    let (_folder, store) = open(2);
    let server = serve(&store, "bank@champion");
    let address = server.ready().address;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut http = Http::connect(address);
                let mut seen: BTreeMap<String, (Json, u64)> = BTreeMap::new();
                while !stop.load(Ordering::Relaxed) {
                    let answer = http.post(INFER, &body());
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    let answer = answer.json();
                    let version = answer["model_version"].as_str().unwrap().to_owned();
                    let entry = seen.entry(version).or_insert_with(|| (answer["outputs"].clone(), 0));
                    assert_eq!(entry.0, answer["outputs"], "an answer of version {}", answer["model_version"]);
                    entry.1 += 1;
                }
                seen
            })
        })
        .collect();
    let mut watcher = Http::connect(address);
    for version in [2, 1, 2, 1, 2] {
        promote(&store, version);
        let wanted = json!(version.to_string());
        wait_for("the switch", || watcher.get("/health/ready").json()["version"] == wanted);
        std::thread::sleep(Duration::from_millis(50));
    }
    stop.store(true, Ordering::Relaxed);
    let seen: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    for client in &seen {
        assert_eq!(client.keys().map(String::as_str).collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(client["1"].0, seen[0]["1"].0);
        assert_eq!(client["2"].0, seen[0]["2"].0);
        assert_ne!(client["1"].0, client["2"].0);
    }
    let metrics = watcher.get("/metrics").text();
    assert!(metrics.contains("modelyard_model_switches_total 5\n"), "{metrics}");
    assert!(!metrics.contains("status=\"5"), "{metrics}");
}

#[test]
fn the_old_version_stays_until_the_new_one_has_answered() {
    let (_folder, store) = open(2);
    let server = serve(&store, "bank");
    let mut http = Http::connect(server.ready().address);
    assert_eq!(http.post(INFER, &body()).status, 200);
    promote(&store, 2);
    wait_for("the switch", || http.get("/health/ready").json()["version"] == "2");
    assert_eq!(http.get("/health/ready").json()["previous"], "1");
    assert_eq!(http.post("/v2/models/bank/versions/1/infer", &body()).status, 404);
    assert_eq!(http.post(INFER, &body()).json()["model_version"], "2");
    assert_eq!(http.get("/health/ready").json()["previous"], Json::Null);
}

#[test]
fn a_version_that_cannot_be_loaded_changes_nothing() {
    let (_folder, store) = open(3);
    let server = serve(&store, "bank@champion");
    let mut http = Http::connect(server.ready().address);
    let broken = store.version(&"bank@2".parse().unwrap()).unwrap();
    let folder = store.artifact(broken.artifact).unwrap().folder;
    std::fs::write(folder.join("weights.safetensors"), "rubbish").unwrap();
    promote(&store, 2);
    wait_for("the trouble", || !http.get("/health/ready").json()["trouble"].is_null());
    let ready = http.get("/health/ready");
    assert_eq!((ready.status, &ready.json()["version"]), (200, &json!("1")));
    assert!(ready.json()["trouble"].as_str().unwrap().contains("weights.safetensors is damaged"), "{}", ready.text());
    assert_eq!(http.post(INFER, &body()).json()["model_version"], "1");
    assert!(http.get("/metrics").text().contains("modelyard_model_load_failures_total 1\n"));
    // It is not tried again and again, and another version is taken at once.
    std::thread::sleep(Duration::from_millis(500));
    assert!(http.get("/metrics").text().contains("modelyard_model_load_failures_total 1\n"));
    promote(&store, 3);
    wait_for("the switch", || http.get("/health/ready").json()["version"] == "3");
    assert!(http.get("/health/ready").json()["trouble"].is_null());
}

#[test]
fn a_number_pins_the_version() {
    let (_folder, store) = open(2);
    let server = serve(&store, "bank@1");
    promote(&store, 2);
    std::thread::sleep(Duration::from_millis(500));
    let mut http = Http::connect(server.ready().address);
    assert_eq!(http.post(INFER, &body()).json()["model_version"], "1");
    let error =
        serve::start(config(), vec![Arc::new(RegistrySource::new(store, "bank@9".parse().unwrap()))]).unwrap_err();
    assert_eq!(error.hint().unwrap(), "Known: bank@1, bank@2.");
}

#[test]
fn every_answered_row_is_in_the_sketches_of_its_version() {
    let (_folder, store) = open(2);
    let server = serve(&store, "bank@champion");
    let mut http = Http::connect(server.ready().address);
    for _ in 0..30 {
        assert_eq!(http.post(INFER, &body()).status, 200);
    }
    http.post(INFER, &json!({}));
    promote(&store, 2);
    wait_for("the switch", || http.get("/health/ready").json()["version"] == "2");
    for _ in 0..7 {
        assert_eq!(http.post(INFER, &body()).json()["model_version"], "2");
    }
    // Sketches of the first span are stored while the server runs.
    wait_for("a stored sketch", || !store.sketches("bank", 1, 0).unwrap().is_empty());
    server.stop().unwrap();
    for (version, rows) in [(1, 60), (2, 14)] {
        let sketches = store.sketches("bank", version, 0).unwrap();
        assert_eq!(sketches.iter().map(|sketch| sketch.requests).sum::<u64>(), rows);
        let mut sum: Option<Sketch> = None;
        for stored in &sketches {
            assert!(stored.started_ms <= stored.ended_ms);
            let sketch: Sketch = serde_json::from_value(stored.body.clone()).unwrap();
            match &mut sum {
                None => sum = Some(sketch),
                Some(sum) => sum.merge(&sketch).unwrap(),
            }
        }
        let sum = sum.unwrap();
        assert_eq!((sum.rows, sum.inputs[0].missing), (rows, rows / 2));
    }
}
