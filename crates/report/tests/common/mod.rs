//! A store with made-up runs of every stage, as the real ones leave it.
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

use base::{ColumnType, Digest, Failure, Fault, Measure, Value};
use dataset::{Balance, ColumnQuality, NumberQuality, PerSplit, Quality, Row, Split};
use infer::description::{
    Columns, Encoding, FORMAT, InputDescription, OutputDescription, Target, TextCleaning, Weights,
};
use infer::weights::Tensor;
use infer::{ModelDescription, PredictDescription, Task};
use serde_json::{Value as Json, json};
use store::{Artifact, StageKey, Store, StoreError, Work};

#[derive(Debug, thiserror::Error)]
pub enum TestError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("failed to keep the quality: accuracy fell from 0.91 to 0.70")]
    Refused,
}

impl Failure for TestError {
    fn fault(&self) -> Fault {
        if matches!(self, Self::Refused) { Fault::Gate } else { Fault::Internal }
    }
}

pub fn stage(
    store: &Store,
    stage: &'static str,
    config: Json,
    inputs: &[(&str, Digest)],
    makes: &'static str,
    work: impl FnOnce(&Work<'_>) -> Result<(), TestError>,
) -> Result<Artifact, TestError> {
    let inputs = inputs.iter().map(|(role, digest)| ((*role).to_owned(), *digest)).collect();
    let key = StageKey { stage, code_version: 1, config, inputs, seed: 42, makes };
    store.stage::<TestError>(&key, work).map(|made| made.artifact)
}

pub fn write(work: &Work<'_>, file: &str, json: &Json) {
    std::fs::write(work.out().join(file), json.to_string()).unwrap();
}

fn lines(work: &Work<'_>, file: &str, entries: &[Json]) {
    let text: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
    std::fs::write(work.out().join(file), text).unwrap();
}

pub fn data(store: &Store) -> Artifact {
    let sources = [("source:data/train.csv", Digest::of(b"train")), ("source:data/test.csv", Digest::of(b"test"))];
    let made = stage(
        store,
        "data",
        json!({ "split": { "method": "auto", "valid": 0.1 } }),
        &sources,
        "dataset",
        |work| {
            let duplicate = |row: u64| json!({ "row": row, "source": "data/train.csv", "line": row + 2, "action": "dropped", "reason": "duplicate", "column": null, "before": null, "after": null, "of": 3 });
            let mut entries: Vec<Json> = (10..30).map(duplicate).collect();
            entries.push(json!({ "row": 31, "source": "data/train.csv", "line": 33, "action": "changed", "reason": "whitespace", "column": "text", "before": "  what   is <b>this</b> ", "after": "what is <b>this</b>", "of": null }));
            entries.rotate_right(1);
            lines(work, "ledger.jsonl", &entries);
            quality().save(work.out()).unwrap();
            Ok(())
        },
    );
    made.unwrap()
}

fn quality() -> Quality {
    let lengths: Vec<f64> = (0..900_u32).map(|row| 20.0 + f64::from(row % 97) + f64::from(row * row % 311)).collect();
    let column = |name: &str, role: &str, column_type, length| ColumnQuality {
        name: name.to_owned(),
        role: role.to_owned(),
        column_type,
        inferred: "given in the project file".to_owned(),
        missing: 0,
        distinct: 13_003,
        number: None,
        length,
    };
    let labels = labels(77);
    let counts = |of: u64| (0..77).map(|index| of + (index * 13) % 60).collect();
    Quality {
        rows_read: 13_083,
        rows_kept: 13_063,
        splits: PerSplit { train: 8_989, valid: 994, test: 3_080 },
        dropped: BTreeMap::from([("duplicate".to_owned(), 20)]),
        changed: BTreeMap::from([("whitespace".to_owned(), 1)]),
        columns: vec![
            column("text", "input", ColumnType::Text, NumberQuality::of(&lengths, 30)),
            column("category", "output", ColumnType::Category, None),
        ],
        balance: BTreeMap::from([(
            "category".to_owned(),
            Balance { labels, train: counts(80), valid: counts(9), test: vec![40; 77] },
        )]),
        documents: None,
        warnings: vec!["the rarest label has 80 training rows".to_owned()],
    }
}

/// A model of one number by one number, y = 1.2 x, with its rows.
pub fn line(store: &Store) -> Artifact {
    let columns = Columns {
        clean: TextCleaning { unicode: true, whitespace: true },
        inputs: vec![InputDescription {
            name: "x".to_owned(),
            column_type: ColumnType::Number,
            encoding: Encoding::Number { mean: 0.0, deviation: 1.0 },
            offset: 0,
        }],
        outputs: vec![OutputDescription {
            name: "y".to_owned(),
            target: Target::Number { mean: 0.0, deviation: 1.0 },
            weight: 1.0,
            squared: true,
        }],
    };
    let data = stage(store, "data", json!({ "family": "line" }), &[], "dataset", |work| {
        write(work, "preprocess.json", &json!(columns));
        let row =
            |(id, y): (u64, f64)| Row { id, inputs: vec![Value::Number(id as f64)], outputs: vec![Value::Number(y)] };
        let rows: Vec<Row> = (1..).zip([2.0, 4.0, 5.0, 4.0, 5.0]).map(row).collect();
        dataset::write_split(work.out(), Split::Train, &columns, &rows).unwrap();
        dataset::write_split(work.out(), Split::Valid, &columns, &[]).unwrap();
        dataset::write_split(work.out(), Split::Test, &columns, &[]).unwrap();
        Ok(())
    });
    let inputs = [("dataset", data.unwrap().digest)];
    let train = stage(store, "train", json!({ "hidden": [] }), &inputs, "model", |work| {
        let description = ModelDescription {
            format: FORMAT,
            made_by: "yard 0.1.0".to_owned(),
            name: "line".to_owned(),
            weights: Weights::F32,
            task: Task::Predict(PredictDescription { columns: columns.clone(), hidden: vec![], intercept: false }),
        };
        let table = Tensor::f32(vec![2, 1], vec![1.2, 0.0]);
        let tensors = BTreeMap::from([("features.weight".to_owned(), table)]);
        infer::model::write(work.out(), &description, &tensors).unwrap();
        write(work, "coefficients.json", &json!({ "y": { "intercept": 0.5, "slopes": { "x": -1.2 } } }));
        Ok(())
    });
    train.unwrap()
}

pub fn labels(count: usize) -> Vec<String> {
    let words =
        ["card_arrival", "<script>alert(1)</script>", "余额没有更新", "pending_cash_withdrawal", "why_verify_identity"];
    (0..count)
        .map(|index| {
            if index < 5 {
                words[index].to_owned()
            } else {
                format!("{}_{index}", words[index % 5 * usize::from(index % 5 != 1)])
            }
        })
        .collect()
}

fn confusion(count: usize) -> Json {
    let labels = labels(count);
    let cell = |row: usize, column: usize| match (row, column) {
        _ if row == column => 40 - (row * 7) % 11,
        _ if (row * 31 + column * 17).is_multiple_of(23) => (row + column) % 4,
        _ => 0,
    };
    let matrix: Vec<Vec<usize>> = (0..count).map(|row| (0..count).map(|column| cell(row, column)).collect()).collect();
    json!({ "category": { "labels": labels, "matrix": matrix } })
}

fn model_files(work: &Work<'_>, classes: usize) {
    write(
        work,
        "model.json",
        &json!({ "format": 1, "made_by": "yard 0.1.0", "name": "banking", "weights": "f32", "task": {} }),
    );
    write(
        work,
        "metrics.json",
        &json!({
            "accuracy": Measure::measured(0.9136, "", "share of 3,080 test rows"),
            "macro_f1": Measure::measured(0.9129, "", "mean over 77 classes of the test split"),
            "log_loss": Measure::measured(0.3217, "nats", "mean over 3,080 test rows"),
            "examples": Measure::measured(3080.0, "rows", "rows of the test split"),
        }),
    );
    write(work, "samples.json", &json!([{ "prompt": "床前", "completion": "明月光，\n<i>", "truth": "明月光" }]));
    write(work, "confusion.json", &confusion(classes));
    let points: Vec<Json> = (1..=120_u32).map(|step| {
        let decay = f64::from(-i32::try_from(step).unwrap()) / 30.0;
        json!({ "step": step * 70, "epoch": step / 10, "train_loss": 4.3 * decay.exp() + 0.02,
            "valid_loss": if step % 10 == 9 { json!(4.0 * decay.exp() + 0.31 + f64::from(step) / 2000.0) } else { Json::Null },
            "learning_rate": 0.02 * (1.0 + (std::f64::consts::PI * f64::from(step) / 120.0).cos()) / 2.0 })
    }).collect();
    write(work, "history.json", &json!({ "points": points, "best_epoch": 9, "stopped_early": true, "seconds": 61.2 }));
    std::fs::write(work.out().join("weights.safetensors"), vec![7; 400_000]).unwrap();
}

/// The whole line of stages; returns the artifacts of data, train, compress and package.
pub fn everything(store: &Store, classes: usize) -> [Artifact; 4] {
    let data = data(store);
    let train = stage(
        store,
        "train",
        json!({ "optimizer": "adamw", "learning_rate": 0.02, "hidden": [], "epochs": 12 }),
        &[("dataset", data.digest)],
        "model",
        |work| {
            model_files(work, classes);
            Ok(())
        },
    )
    .unwrap();
    let inputs = [("model", train.digest), ("dataset", data.digest)];
    let compress = stage(store, "compress", json!({ "method": "int8" }), &inputs, "model", |work| {
        model_files(work, classes);
        let pair = |before: f64, after: f64, unit: &str, method: &str| json!({ "before": Measure::measured(before, unit, method), "after": Measure::measured(after, unit, method) });
        write(work, "compression.json", &json!({
            "method": "int8",
            "size": pair(40_370_000.0, 10_214_000.0, "bytes", "size of weights.safetensors"),
            "speed": pair(14_210.0, 19_480.0, "predictions/s", "median of 9 interleaved rounds, 1 thread"),
            "quality": { "accuracy": pair(0.9136, 0.9133, "", "test split, 3,080 rows") },
            "agreement": Measure::measured(0.9987, "", "share of 3,080 test rows with the same label"),
            "probability_difference_max": Measure::measured(0.0121, "", "over 3,080 test rows"),
        }));
        Ok(())
    }).unwrap();
    let inputs = [("model", compress.digest), ("binary", Digest::of(b"yard")), ("libraries", Digest::of(b"libc"))];
    let package = stage(store, "package", json!({ "tag": "banking:latest" }), &inputs, "image", |work| {
        write(work, "package.json", &json!({
            "tag": "banking:latest", "architecture": "amd64", "port": 8080, "manifest_digest": format!("sha256:{}", Digest::of(b"m")),
            "libraries": [{ "path": "/lib/x86_64-linux-gnu/libc.so.6" }],
            "measures": { "image_bytes": Measure::measured(31_000_000.0, "bytes", "size of image.tar") },
        }));
        Ok(())
    }).unwrap();
    stage(store, "verify", json!({}), &[("model", compress.digest)], "check", |work| {
        write(work, "verify.json", &json!({ "rows": Measure::measured(3080.0, "rows", "the whole test split through HTTP"), "different": Measure::measured(0.0, "rows", "compared bit for bit") }));
        Ok(())
    }).unwrap();
    [data, train, compress, package]
}
