//! A store with one small model in it, and a reader of images.
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
#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use base::{ColumnType, Context, Digest, Failure, Fault, Measure};
use infer::description::{
    Columns, Encoding, FORMAT, InputDescription, OutputDescription, Target, TextCleaning, Weights,
};
use infer::{ModelDescription, PredictDescription, Task};
use package::{PackageInputs, Plan};
use serde_json::{Value as Json, json};
use store::{Artifact, Made, StageKey, Store, StoreError};

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TestError(#[from] StoreError);

impl Failure for TestError {
    fn fault(&self) -> Fault {
        Fault::Internal
    }
}

pub fn project_plan() -> Plan {
    Plan { name: "sample".to_owned(), tag: "sample:1".to_owned(), port: 9000 }
}

fn description() -> ModelDescription {
    let number = Encoding::Number { mean: 3.0, deviation: 1.5 };
    ModelDescription {
        format: FORMAT,
        made_by: "yard 0.1.0".to_owned(),
        name: "sample".to_owned(),
        weights: Weights::F32,
        task: Task::Predict(PredictDescription {
            columns: Columns {
                clean: TextCleaning { unicode: true, whitespace: true },
                inputs: vec![InputDescription {
                    name: "x|`y`".to_owned(),
                    column_type: ColumnType::Number,
                    encoding: number,
                    offset: 0,
                }],
                outputs: vec![OutputDescription {
                    name: "类别".to_owned(),
                    target: Target::Category { labels: vec!["<script>".to_owned(), "b".to_owned()] },
                    weight: 1.0,
                    squared: false,
                }],
            },
            hidden: Vec::new(),
            intercept: true,
        }),
    }
}

/// The files of a model, with names that tar headers have trouble with.
pub fn model_files() -> BTreeMap<String, Vec<u8>> {
    let json = |value: &Json| value.to_string().into_bytes();
    let mut files = BTreeMap::new();
    files.insert("model.json".to_owned(), json(&json!(description())));
    let metric = Measure::measured(0.75, "", "share of 4 test rows");
    files.insert("metrics.json".to_owned(), json(&json!({ "accuracy": metric })));
    files.insert("weights.safetensors".to_owned(), (0..200_000_u32).flat_map(u32::to_le_bytes).collect());
    files.insert(format!("deep/{}/a file of 诗 (1).bin", "n".repeat(120)), b"odd".to_vec());
    files
}

pub fn add_model(store: &Store, files: &BTreeMap<String, Vec<u8>>) -> Artifact {
    let data = StageKey {
        stage: "data",
        code_version: 1,
        config: json!({}),
        inputs: vec![("source:rows.csv".to_owned(), Digest::of(b"rows"))],
        seed: 7,
        makes: "dataset",
    };
    let data = store.stage::<TestError>(&data, |work| {
        let quality = dataset::Quality { rows_read: 1212, rows_kept: 1200, ..dataset::Quality::default() };
        quality.save(work.out()).unwrap();
        Ok(())
    });
    let train = StageKey {
        stage: "train",
        code_version: 1,
        config: json!({ "optimizer": "adamw", "learning_rate": 0.01, "files": files.len() }),
        inputs: vec![("dataset".to_owned(), data.unwrap().artifact.digest)],
        seed: 7,
        makes: "model",
    };
    let made = store.stage::<TestError>(&train, |work| {
        for (name, bytes) in files {
            let path = work.out().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        Ok(())
    });
    made.unwrap().artifact
}

/// Packages the sample model with a program, in a fresh store below `folder`.
pub fn package_sample(folder: &Path, binary: &Path, plan: &Plan) -> Result<Made, package::PackageError> {
    let store = Store::open(folder)?;
    let model = add_model(&store, &model_files());
    let inputs = PackageInputs { model: &model, version: Some("sample@1"), binary };
    package::run(&Context::silent(), &store, plan, &inputs)
}

/// Every file of a tar by its path, and every folder with an empty body; headers are checked.
pub fn read_tar(bytes: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut archive = tar::Archive::new(bytes);
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0));
        assert!(header.entry_type().is_file() || header.entry_type().is_dir(), "no links");
        let mode = header.mode().unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut body = Vec::new();
        entry.read_to_end(&mut body).unwrap();
        assert!(found.insert(path, (mode, body)).is_none());
    }
    found
}

pub fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}
