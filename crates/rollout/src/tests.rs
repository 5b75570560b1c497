use base::project::GateConfig;
use base::{Failure, Fault};
use serde_json::Value as Json;
use store::StageKey;

use super::*;

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Wrapped(#[from] StoreError);

impl Failure for Wrapped {
    fn fault(&self) -> Fault {
        Fault::Internal
    }
}

fn gates(gate: &[(&str, Option<f64>, Option<f64>)]) -> RolloutConfig {
    let gate = gate
        .iter()
        .map(|(metric, min, max)| GateConfig { metric: (*metric).to_owned(), min: *min, max: *max })
        .collect();
    RolloutConfig { gate, regression_max: 0.02 }
}

fn measures(values: &[(&str, f64)]) -> Json {
    values.iter().map(|(name, value)| ((*name).to_owned(), json!(Measure::measured(*value, "", "test")))).collect()
}

/// A model made from a dataset, registered as the next version of `bank`.
fn register(store: &Store, data: &str, metrics: &[(&str, f64)]) -> Version {
    let key = |stage, makes, inputs| StageKey {
        stage,
        code_version: 1,
        config: json!([data, format!("{metrics:?}")]),
        inputs,
        seed: 0,
        makes,
    };
    let write = |contents: String| {
        move |work: &store::Work<'_>| -> Result<(), Wrapped> {
            std::fs::write(work.out().join("file"), contents).unwrap();
            Ok(())
        }
    };
    let source = vec![("source:x".to_owned(), Digest::of(data.as_bytes()))];
    let dataset = store.stage(&key("data", "dataset", source), write(data.to_owned())).unwrap();
    let inputs = vec![("dataset".to_owned(), dataset.artifact.digest)];
    let model = store.stage(&key("train", "model", inputs), write(format!("{data}{metrics:?}"))).unwrap();
    store.register("bank", model.artifact.digest, &measures(metrics), "me").unwrap()
}

fn open() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

fn name(text: &str) -> VersionName {
    text.parse().unwrap()
}

#[test]
fn a_version_that_passes_becomes_champion_and_can_be_rolled_back() {
    let (_folder, store) = open();
    register(&store, "a", &[("accuracy", 0.90)]);
    register(&store, "a", &[("accuracy", 0.91)]);
    let config = gates(&[("accuracy", Some(0.85), None)]);
    let first = promote(&store, &config, &name("bank@1"), "me").unwrap();
    assert_eq!((first.version, first.previous, first.moved), (1, None, true));
    let second = promote(&store, &config, &name("bank@2"), "me").unwrap();
    assert_eq!((second.version, second.previous, second.moved), (2, Some(1), true));
    assert_eq!(second.checks[0].champion, Some(0.90));
    assert!(second.notes.is_empty());
    let entry = &store.audit_log(1).unwrap()[0];
    assert_eq!((entry.action.as_str(), entry.subject.as_str()), ("promote", "bank@2"));
    assert_eq!(entry.detail["detail"]["gates"][0]["value"], 0.91);
    assert!(!promote(&store, &config, &name("bank@2"), "me").unwrap().moved);

    let back = rollback(&store, "bank", "me").unwrap();
    assert_eq!((back.version, back.from), (1, 2));
    assert_eq!(store.version(&name("bank")).unwrap().number, 1);
    assert_eq!(store.audit_log(1).unwrap()[0].action, "rollback");
}

#[test]
fn a_refusal_moves_nothing_and_is_in_the_audit_log() {
    let (_folder, store) = open();
    register(&store, "a", &[("accuracy", 0.80)]);
    let config = gates(&[("accuracy", Some(0.85), None)]);
    let error = promote(&store, &config, &name("bank@1"), "me").unwrap_err();
    assert_eq!(error.fault(), Fault::Gate);
    assert_eq!(error.to_string(), "failed to promote bank@1: accuracy is 0.8, below the gate's min of 0.85");
    assert!(store.alias("bank", CHAMPION).unwrap().is_none());
    let entry = &store.audit_log(1).unwrap()[0];
    assert_eq!((entry.action.as_str(), entry.actor.as_str()), ("promote_refused", "me"));
    assert!(entry.detail["gates"][0]["reasons"][0].as_str().unwrap().contains("below"));
}

#[test]
fn a_missing_metric_is_refused_with_those_that_there_are() {
    let (_folder, store) = open();
    register(&store, "a", &[("macro_f1", 0.9), ("accuracy", 0.9)]);
    let error = promote(&store, &gates(&[("auc", Some(0.5), None)]), &name("bank@1"), "me").unwrap_err();
    assert!(error.to_string().contains("it has no metric \"auc\" (it has accuracy, macro_f1)"), "{error}");
}

#[test]
fn a_regression_is_seen_in_the_direction_of_the_gate() {
    let better_high = gates(&[("m", Some(0.0), None)]);
    let better_low = gates(&[("m", None, Some(9.0))]);
    let band = gates(&[("m", Some(0.0), Some(9.0))]);
    let read = |value: f64| serde_json::from_value::<BTreeMap<String, Measure>>(measures(&[("m", value)])).unwrap();
    let passes = |config: &RolloutConfig, value: f64, champion: f64| {
        check_gates(config, &read(value), Some(&read(champion)))[0].passed()
    };
    assert!(passes(&better_high, 0.875, 0.890));
    assert!(!passes(&better_high, 0.875, 0.900));
    assert!(passes(&better_high, 0.900, 0.100));
    assert!(passes(&better_low, 0.900, 0.890));
    assert!(!passes(&better_low, 0.900, 0.875));
    assert!(passes(&better_low, 0.100, 0.900));
    assert!(passes(&band, 0.1, 8.0) && passes(&band, 8.0, 0.1));
    assert!(!check_gates(&band, &read(10.0), None)[0].passed());
    assert!(!check_gates(&better_high, &read(-0.1), None)[0].passed());
}

#[test]
fn a_value_that_is_not_a_number_passes_no_gate() {
    let nothing: BTreeMap<_, _> = [("m".to_owned(), Measure::measured(f64::NAN, "", "test"))].into();
    assert!(!check_gates(&gates(&[("m", Some(0.0), None)]), &nothing, None)[0].passed());
    assert!(!check_gates(&gates(&[("m", None, Some(0.0))]), &nothing, None)[0].passed());
}

#[test]
fn a_comparison_across_datasets_is_noted() {
    let (_folder, store) = open();
    register(&store, "a", &[("accuracy", 0.90)]);
    register(&store, "b", &[("accuracy", 0.90)]);
    let config = gates(&[("accuracy", Some(0.85), None)]);
    promote(&store, &config, &name("bank@1"), "me").unwrap();
    let notes = promote(&store, &config, &name("bank@2"), "me").unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("different datasets")), "{notes:?}");
    let notes = promote(&store, &gates(&[]), &name("bank@1"), "me").unwrap().notes;
    assert!(notes[0].contains("no gate"), "{notes:?}");
}

#[test]
fn a_damaged_model_is_neither_promoted_nor_rolled_back_to() {
    let (_folder, store) = open();
    let first = register(&store, "a", &[("accuracy", 0.90)]);
    register(&store, "a", &[("accuracy", 0.91)]);
    promote(&store, &gates(&[]), &name("bank@1"), "me").unwrap();
    promote(&store, &gates(&[]), &name("bank@2"), "me").unwrap();
    std::fs::write(store.artifact(first.artifact).unwrap().path("file"), "other").unwrap();
    assert!(matches!(rollback(&store, "bank", "me"), Err(RolloutError::Store(StoreError::Damaged { .. }))));
    assert!(promote(&store, &gates(&[]), &name("bank@1"), "me").is_err());
    assert_eq!(store.version(&name("bank")).unwrap().number, 2);
}

#[test]
fn there_must_be_something_to_roll_back_to() {
    let (_folder, store) = open();
    let error = rollback(&store, "bank", "me").unwrap_err();
    assert!(matches!(error, RolloutError::Store(StoreError::NotFound { .. })));
    register(&store, "a", &[]);
    assert!(rollback(&store, "bank", "me").unwrap_err().hint().unwrap().contains("bank@1"));
    promote(&store, &gates(&[]), &name("bank@1"), "me").unwrap();
    assert!(matches!(rollback(&store, "bank", "me"), Err(RolloutError::Store(StoreError::NoPrevious { .. }))));
    assert_eq!(rollback(&store, "bank", "me").unwrap_err().fault(), Fault::User);
}

#[test]
fn strange_metrics_are_an_error() {
    let (_folder, store) = open();
    let version = register(&store, "a", &[]);
    let strange = store.register("bank", Digest::of(b"none"), &json!({"accuracy": "high"}), "me");
    // A version needs an artifact, so the strange metrics are put into a version that exists.
    assert!(strange.is_err());
    let version = Version { metrics: json!({"accuracy": "high"}), ..version };
    assert!(matches!(metrics(&version), Err(RolloutError::Metrics { .. })));
}
