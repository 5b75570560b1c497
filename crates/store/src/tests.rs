use base::{Digest, Failure, Fault, VersionName};
use serde_json::{Value as Json, json};

use super::*;

#[derive(Debug, thiserror::Error)]
enum TestError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("failed on purpose")]
    OnPurpose,
}

impl Failure for TestError {
    fn fault(&self) -> Fault {
        Fault::Internal
    }
}

fn key(rate: f64) -> StageKey {
    StageKey {
        stage: "train",
        code_version: 1,
        config: json!({ "rate": rate }),
        inputs: vec![("dataset".to_owned(), Digest::of(b"data"))],
        seed: 7,
        makes: "model",
    }
}

fn make(store: &Store, rate: f64, contents: &str) -> Result<Made, TestError> {
    store.stage(&key(rate), |work| {
        work.metric("loss", 0, 0.5)?;
        std::fs::create_dir(work.out().join("deep")).unwrap();
        std::fs::write(work.out().join("deep/weights"), contents).unwrap();
        Ok(())
    })
}

fn open() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

#[test]
fn the_same_key_is_never_computed_twice() {
    let (_folder, store) = open();
    let _lock = store.lock().unwrap();
    let first = make(&store, 0.1, "a").unwrap();
    assert!(!first.cached);
    assert!(make(&store, 0.1, "never written").unwrap().cached);
    assert!(!make(&store, 0.2, "b").unwrap().cached);
    assert_eq!(std::fs::read_to_string(first.artifact.path("deep/weights")).unwrap(), "a");
    assert_eq!(store.metrics(first.run).unwrap().len(), 1);
    assert_eq!(store.lineage(first.artifact.digest).unwrap()[0].inputs[0].0, "dataset");
}

#[test]
fn a_failed_stage_leaves_no_artifact_and_its_scratch() {
    let (_folder, store) = open();
    let _lock = store.lock().unwrap();
    let failed = store.stage(&key(0.1), |work| {
        std::fs::write(work.scratch().join("checkpoint"), "half").unwrap();
        std::fs::write(work.out().join("half"), "half").unwrap();
        Err::<(), _>(TestError::OnPurpose)
    });
    assert!(failed.is_err());
    assert_eq!(store.runs(1).unwrap()[0].status, RunStatus::Failed);
    store
        .stage(&key(0.1), |work| {
            assert_eq!(std::fs::read_to_string(work.scratch().join("checkpoint")).unwrap(), "half");
            assert!(!work.out().join("half").exists());
            Ok::<_, TestError>(())
        })
        .unwrap();
}

#[test]
fn a_second_process_cannot_run_stages() {
    let (folder, store) = open();
    let lock = store.lock().unwrap();
    let other = Store::open(folder.path()).unwrap();
    assert!(matches!(other.lock(), Err(StoreError::Busy { .. })));
    drop(lock);
    assert!(other.lock().is_ok());
}

#[test]
fn a_run_whose_process_died_is_marked_interrupted() {
    let (_folder, store) = open();
    store.begin_run(&key(0.1)).unwrap();
    let _lock = store.lock().unwrap();
    assert_eq!(store.runs(1).unwrap()[0].status, RunStatus::Interrupted);
}

#[test]
fn one_changed_byte_is_noticed_and_repaired() {
    let (_folder, store) = open();
    let _lock = store.lock().unwrap();
    let made = make(&store, 0.1, "contents").unwrap();
    std::fs::write(made.artifact.path("deep/weights"), "Contents").unwrap();
    let Err(TestError::Store(error)) = make(&store, 0.1, "contents") else { panic!("not noticed") };
    assert!(matches!(&error, StoreError::Damaged { file, .. } if file == "deep/weights"));
    assert!(error.hint().unwrap().contains("--repair"));
    assert_eq!(store.repair().unwrap(), [made.artifact.digest]);
    assert!(!make(&store, 0.1, "contents").unwrap().cached);
    assert_eq!(store.repair().unwrap(), []);
}

#[test]
fn a_missing_or_cut_file_is_noticed() {
    let (_folder, store) = open();
    let _lock = store.lock().unwrap();
    let made = make(&store, 0.1, "contents").unwrap();
    std::fs::write(made.artifact.path("deep/weights"), "cont").unwrap();
    assert!(store.artifact(made.artifact.digest).unwrap_err().to_string().contains("4 bytes instead of 8"));
    std::fs::remove_file(made.artifact.path("deep/weights")).unwrap();
    assert!(matches!(store.artifact(made.artifact.digest), Err(StoreError::Damaged { .. })));
}

#[test]
fn aliases_move_with_an_audit_entry() {
    let (_folder, store) = open();
    let _lock = store.lock().unwrap();
    for (rate, text) in [(0.1, "a"), (0.2, "b")] {
        let made = make(&store, rate, text).unwrap();
        store.register("bank", made.artifact.digest, &json!({"accuracy": rate}), "me").unwrap();
        store.register("bank", made.artifact.digest, &Json::Null, "me").unwrap();
    }
    assert_eq!(store.versions("bank").unwrap().len(), 2);
    store.move_alias("bank", "champion", 1, "me", "promote", &Json::Null).unwrap();
    let alias = store.move_alias("bank", "champion", 2, "me", "promote", &Json::Null).unwrap();
    assert_eq!((alias.version, alias.previous), (2, Some(1)));
    let name: VersionName = "bank".parse().unwrap();
    assert_eq!(store.version(&name).unwrap().number, 2);
    assert_eq!(store.audit_log(1).unwrap()[0].detail["from"], 1);
    let error = store.version(&"bank@9".parse().unwrap()).unwrap_err();
    assert_eq!(error.hint().unwrap(), "Known: bank@1, bank@2.");
    assert!(store.move_alias("bank", "champion", 9, "me", "promote", &Json::Null).is_err());
}

#[test]
fn a_newer_database_is_refused() {
    let (folder, store) = open();
    let set = sqlx::raw_sql("PRAGMA user_version = 99").execute(store.database.pool());
    store.database.wait(set).unwrap();
    drop(store);
    assert!(matches!(Store::open(folder.path()), Err(StoreError::Newer { found: 99, .. })));
}

#[test]
fn a_damaged_database_gives_an_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(FOLDER_NAME)).unwrap();
    std::fs::write(folder.path().join(FOLDER_NAME).join("yard.db"), "rubbish".repeat(4000)).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::Database { .. })));
}
