use base::Digest;
use serde_json::json;
use store::StoredSketch;

use super::*;

fn open() -> (tempfile::TempDir, Store, Version) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let version = Version {
        name: "poems".to_owned(),
        number: 2,
        artifact: Digest::of(b"model"),
        created_ms: 0,
        metrics: json!({}),
    };
    (folder, store, version)
}

fn baseline() -> Sketch {
    let mut sketch = Sketch::language();
    for index in 0..400_usize {
        sketch.observe_text(&"词 ".repeat(index % 40), &"word ".repeat(index % 30));
    }
    sketch
}

fn observe(store: &Store, number: u32, baseline: &Sketch, range: std::ops::Range<usize>, length: usize, at_ms: i64) {
    let mut sketch = Sketch::like(baseline);
    for index in range.clone() {
        sketch.observe_text(&"词 ".repeat(index % length), &"word ".repeat(index % 30));
    }
    let body = serde_json::to_value(&sketch).unwrap();
    let requests = range.len() as u64;
    let stored =
        StoredSketch { name: "poems".into(), version: number, started_ms: at_ms, ended_ms: at_ms + 5, requests, body };
    store.add_sketch(&stored).unwrap();
}

fn report(store: &Store, version: &Version, since_ms: i64) -> MonitorReport {
    compare(store, version, &baseline(), &MonitorConfig::default(), since_ms).unwrap()
}

#[test]
fn too_few_requests_are_said_to_be_too_few() {
    let (_folder, store, version) = open();
    assert_eq!(report(&store, &version, 0).outcome, Outcome::TooFew { have: 0, need: 100 });
    assert_eq!(report(&store, &version, 0).from_ms, None);
    observe(&store, 2, &baseline(), 0..99, 40, 1000);
    observe(&store, 1, &baseline(), 0..500, 40, 1000);
    assert_eq!(report(&store, &version, 0).outcome, Outcome::TooFew { have: 99, need: 100 });
}

#[test]
fn sketches_are_added_up_since_the_moment() {
    let (_folder, store, version) = open();
    observe(&store, 2, &baseline(), 0..200, 120, 1000);
    observe(&store, 2, &baseline(), 0..200, 40, 2000);
    observe(&store, 2, &baseline(), 200..400, 40, 3000);
    let all = report(&store, &version, 0);
    assert_eq!((all.requests, all.from_ms, all.to_ms, all.baseline_rows), (600, Some(1000), Some(3005), 400));
    let Outcome::Compared { verdict, tests, columns } = &all.outcome else { panic!("{all:?}") };
    assert_eq!((*verdict, columns.len()), (Verdict::Drift, 2));
    assert!(*tests >= 2);
    assert_eq!(columns[0].verdict, Verdict::Drift);
    assert_eq!(columns[1].verdict, Verdict::Stable);
    let later = report(&store, &version, 1500);
    let Outcome::Compared { verdict, .. } = &later.outcome else { panic!("{later:?}") };
    assert_eq!((later.requests, *verdict), (400, Verdict::Stable), "{later:?}");
    // What a machine reads.
    let json = serde_json::to_value(&later).unwrap();
    assert_eq!(json["outcome"]["compared"]["verdict"], "stable");
}

#[test]
fn sketches_of_another_baseline_or_of_nothing_are_errors() {
    let (_folder, store, version) = open();
    let mut other = Sketch::language();
    other.observe_text("x", "y");
    observe(&store, 2, &other, 0..200, 40, 1000);
    let error = compare(&store, &version, &baseline(), &MonitorConfig::default(), 0).unwrap_err();
    assert!(matches!(error, MonitorError::Infer(_)), "{error}");
    let body = json!({ "rows": "many" });
    let rubbish =
        StoredSketch { name: "poems".into(), version: 2, started_ms: 9000, ended_ms: 9001, requests: 1, body };
    store.add_sketch(&rubbish).unwrap();
    let error = compare(&store, &version, &baseline(), &MonitorConfig::default(), 5000).unwrap_err();
    assert!(matches!(error, MonitorError::Sketch { .. }), "{error}");
}
