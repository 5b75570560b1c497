//! Whole compressions of small models: what is written, what is measured, what is refused.
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

use base::project::Compression;
use base::{ColumnType, Context, Failure, Fault, Measure, Value};
use compress::{CompressError, Plan};
use dataset::{LanguageInfo, PerSplit, Row, Split};
use infer::description::{
    Columns, Encoding, FORMAT, InputDescription, LanguageDescription, OutputDescription, PredictDescription, Target,
    Task, TextCleaning, TransformerShape, Weights,
};
use infer::tokenizer::TextTokenizer;
use infer::weights::Tensor;
use infer::{Engine, Model, ModelDescription};
use serde_json::{Value as Json, json};
use store::{Artifact, StageKey, Store};

const PLAN: Plan = Plan { method: Compression::Int8, quality_drop_max: 0.02 };
const CLEAN: TextCleaning = TextCleaning { unicode: true, whitespace: true };

/// Numbers between -1 and 1 that look random and are the same each time.
fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_769).max(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f64::from(state) / f64::from(u32::MAX) * 2.0 - 1.0
    };
    (0..count).map(|_| next() as f32).collect()
}

fn tensors(description: &ModelDescription) -> BTreeMap<String, Tensor> {
    let make = |(index, (name, shape)): (usize, (String, Vec<usize>))| {
        let count = shape.iter().product();
        let values = if name.contains("norm") { vec![1.0; count] } else { noise(count, index as u32 + 1) };
        (name, Tensor::f32(shape, values))
    };
    description.tensors().into_iter().enumerate().map(make).collect()
}

fn artifact(store: &Store, makes: &'static str, write: impl FnOnce(&std::path::Path)) -> Artifact {
    let key = StageKey { stage: "test", code_version: 1, config: json!({}), inputs: vec![], seed: 0, makes };
    let made = store.stage::<CompressError>(&key, |work| {
        write(work.out());
        Ok(())
    });
    made.unwrap().artifact
}

fn columns() -> Columns {
    let labels: Vec<String> = (0..6).map(|index| format!("kind {index}")).collect();
    let input = |name: &str, column_type, encoding, offset| InputDescription {
        name: name.to_owned(),
        column_type,
        encoding,
        offset,
    };
    let output = |name: &str, target| OutputDescription { name: name.to_owned(), target, weight: 1.0, squared: false };
    Columns {
        clean: CLEAN,
        inputs: vec![
            input("x", ColumnType::Number, Encoding::Number { mean: 0.0, deviation: 1.0 }, 0),
            input("c", ColumnType::Category, Encoding::Category { labels: labels.clone() }, 2),
        ],
        outputs: vec![
            output("label", Target::Category { labels }),
            output("y", Target::Number { mean: 2.0, deviation: 3.0 }),
        ],
    }
}

fn predict_model() -> ModelDescription {
    let task = Task::Predict(PredictDescription { columns: columns(), hidden: vec![16], intercept: true });
    ModelDescription {
        format: FORMAT,
        made_by: "test".to_owned(),
        name: "small".to_owned(),
        weights: Weights::F32,
        task,
    }
}

/// Rows whose truth is what the model says, so that its metrics are perfect before compression.
fn rows(model: &Model, count: u64) -> Vec<Row> {
    let Engine::Predict(predictor) = model.engine() else { panic!("not a predict model") };
    (0..count)
        .map(|id| {
            let inputs = vec![Value::Number((id as f64) / 37.0 - 3.0), Value::Text(format!("kind {}", id % 6))];
            let outputs = predictor.predict(&inputs).unwrap();
            let outputs = outputs
                .iter()
                .map(|one| match one {
                    infer::Prediction::Category { label, .. } => Value::Text(format!("kind {label}")),
                    infer::Prediction::Number { value } => Value::Number(f64::from(*value)),
                    infer::Prediction::Binary { probability } => Value::Binary(*probability >= 0.5),
                })
                .collect();
            Row { id, inputs, outputs }
        })
        .collect()
}

fn predict_pair(store: &Store, test_rows: u64) -> (Artifact, Artifact) {
    let description = predict_model();
    let model = artifact(store, "model", |out| {
        infer::model::write(out, &description, &tensors(&description)).unwrap();
        std::fs::write(out.join("baseline.json"), "{}").unwrap();
        std::fs::write(out.join("metrics.json"), "{}").unwrap();
    });
    let rows = rows(&Model::load(&model.folder).unwrap(), 240);
    let dataset = artifact(store, "dataset", |out| {
        let (test, train) = rows.split_at(test_rows as usize);
        dataset::write_split(out, Split::Test, &columns(), test).unwrap();
        dataset::write_split(out, Split::Train, &columns(), train).unwrap();
        dataset::write_split(out, Split::Valid, &columns(), &[]).unwrap();
    });
    (model, dataset)
}

fn read(artifact: &Artifact, file: &str) -> Json {
    serde_json::from_slice(&std::fs::read(artifact.path(file)).unwrap()).unwrap()
}

fn number(json: &Json, path: &str) -> f64 {
    json.pointer(path).and_then(Json::as_f64).unwrap_or_else(|| panic!("no {path} in {json:#}"))
}

#[test]
fn a_model_of_columns_gets_smaller_and_says_at_what_cost() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (model, dataset) = predict_pair(&store, 120);
    let made = compress::run(&Context::silent(), &store, &PLAN, &model, &dataset).unwrap();
    let report = read(&made.artifact, "compression.json");
    assert!(number(&report, "/size/after/value") < number(&report, "/size/before/value"));
    assert!(number(&report, "/speed/after/value") > 0.0);
    assert!((number(&report, "/quality/label.accuracy/before/value") - 1.0).abs() < 1e-12);
    assert!(number(&report, "/label.agreement/value") > 0.97);
    let apart = number(&report, "/label.probability_difference_max/value");
    assert!(apart > 0.0 && apart < 0.1, "{apart}");
    let metrics: BTreeMap<String, Measure> = serde_json::from_value(read(&made.artifact, "metrics.json")).unwrap();
    assert!((metrics["examples"].value - 120.0).abs() < 1e-12);
    assert!(metrics["y.r2"].value > 0.98);
    assert!(read(&made.artifact, "confusion.json")["label"]["labels"].is_array());
    assert!(made.artifact.has("baseline.json"), "what is not remade is copied");
    let small = Model::load(&made.artifact.folder).unwrap();
    assert_eq!(small.description().weights, Weights::Int8);
    assert!(compress::run(&Context::silent(), &store, &PLAN, &model, &dataset).unwrap().cached);
    let again = compress::run(&Context::silent(), &store, &PLAN, &made.artifact, &dataset);
    assert!(matches!(again, Err(CompressError::AlreadyCompressed)));
}

#[test]
fn without_test_rows_the_training_rows_are_compared_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (model, dataset) = predict_pair(&store, 0);
    let made = compress::run(&Context::silent(), &store, &PLAN, &model, &dataset).unwrap();
    let metrics = read(&made.artifact, "metrics.json");
    assert!(metrics["label.accuracy"]["method"].as_str().unwrap().contains("training split"), "{metrics:#}");
}

#[test]
fn too_large_a_fall_is_refused_and_leaves_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (model, dataset) = predict_pair(&store, 200);
    let plan = Plan { quality_drop_max: 0.0, ..PLAN };
    let error = compress::run(&Context::silent(), &store, &plan, &model, &dataset).unwrap_err();
    assert_eq!(error.fault(), Fault::Gate);
    let CompressError::Refused { metric, before, after, .. } = &error else { panic!("{error}") };
    assert!(before > after, "{metric}");
    assert!(error.to_string().contains(metric.as_str()) && error.hint().is_some());
    let run = store.runs(1).unwrap().remove(0);
    assert_eq!((run.status, run.artifact), (store::RunStatus::Refused, None));
}

#[test]
fn asking_to_stop_stops() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (model, dataset) = predict_pair(&store, 100);
    let context = Context::silent();
    context.stop.ask();
    let error = compress::run(&context, &store, &PLAN, &model, &dataset).unwrap_err();
    assert_eq!(error.fault(), Fault::Stopped);
}

#[test]
fn a_language_model_is_judged_by_its_perplexity() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let texts: Vec<String> = (0..80).map(|index| format!("床前明月光，疑是地上霜。{index} and some words")).collect();
    let tokenizer = TextTokenizer::train(texts.iter().map(String::as_str), 320).unwrap();
    let shape = TransformerShape::llama(tokenizer.vocabulary_size(), 32, 2, 4, 64, true);
    let task = Task::Language(LanguageDescription { clean: CLEAN, shape, context: 64 });
    let description = ModelDescription {
        format: FORMAT,
        made_by: "test".to_owned(),
        name: "small".to_owned(),
        weights: Weights::F32,
        task,
    };
    let model = artifact(&store, "model", |out| {
        let mut tensors = tensors(&description);
        for tensor in tensors.values_mut() {
            // Small weights, as a trained model has them.
            if let Tensor::F32 { shape, values } = tensor
                && shape.len() == 2
            {
                values.iter_mut().for_each(|value| *value *= 0.1);
            }
        }
        infer::model::write(out, &description, &tensors).unwrap();
        tokenizer.save(&out.join("tokenizer.json")).unwrap();
        std::fs::write(out.join("samples.json"), r#"[{"prompt":"床前","completion":"old","truth":"明月光"}]"#).unwrap();
    });
    let dataset = artifact(&store, "dataset", |out| {
        let mut tokens = Vec::new();
        for text in &texts {
            tokens.extend(tokenizer.encode(text).unwrap().iter().map(|token| u16::try_from(*token).unwrap()));
            tokens.push(u16::try_from(tokenizer.end_of_text()).unwrap());
        }
        for split in Split::ALL {
            dataset::write_tokens(out, split, &tokens).unwrap();
        }
        let [documents, bytes] = [texts.len(), texts.iter().map(String::len).sum()].map(|count| count as u64);
        let same = |count| PerSplit { train: count, valid: count, test: count };
        let (tokens, vocabulary) = (same(tokens.len() as u64), tokenizer.vocabulary_size());
        let info = LanguageInfo { clean: CLEAN, vocabulary, tokens, documents: same(documents), bytes: same(bytes) };
        info.save(out).unwrap();
    });
    let made = compress::run(&Context::silent(), &store, &PLAN, &model, &dataset).unwrap();
    let report = read(&made.artifact, "compression.json");
    let (before, after) =
        (number(&report, "/quality/perplexity/before/value"), number(&report, "/quality/perplexity/after/value"));
    assert!(before > 1.0 && (after / before - 1.0).abs() < 0.02, "{before} {after}");
    assert!((number(&report, "/quality/examples/after/value") - 80.0).abs() < 1e-12);
    assert!(number(&report, "/agreement/value") > 0.8);
    assert!(report["speed"]["after"]["unit"] == "tokens/s");
    let sample = &read(&made.artifact, "samples.json")[0];
    assert!(sample["completion"] != "old" && sample["prompt"] == "床前", "the samples are the new model's: {sample}");
    assert!(made.artifact.has("tokenizer.json") && !made.artifact.has("confusion.json"));
}

#[test]
fn the_coefficients_are_those_of_the_compressed_model() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut columns = columns();
    columns.inputs.truncate(1);
    columns.outputs.remove(0);
    columns.inputs[0].encoding = Encoding::Number { mean: 3.0, deviation: 2.0 };
    let task = Task::Predict(PredictDescription { columns: columns.clone(), hidden: vec![], intercept: true });
    let description = ModelDescription { task, ..predict_model() };
    let model = artifact(&store, "model", |out| {
        let weight = Tensor::f32(vec![2, 1], vec![0.4, 0.0]);
        let bias = Tensor::f32(vec![1], vec![0.25]);
        let tensors = [("features.weight".to_owned(), weight), ("layer.0.bias".to_owned(), bias)];
        infer::model::write(out, &description, &BTreeMap::from(tensors)).unwrap();
        std::fs::write(out.join("coefficients.json"), "{}").unwrap();
    });
    let dataset = artifact(&store, "dataset", |out| {
        let row =
            |id: u64| Row { id, inputs: vec![Value::Number(id as f64)], outputs: vec![Value::Number(id as f64 * 0.6)] };
        let rows: Vec<Row> = (0..5).map(row).collect();
        for split in Split::ALL {
            dataset::write_split(out, split, &columns, &rows).unwrap();
        }
    });
    let made = compress::run(&Context::silent(), &store, &PLAN, &model, &dataset).unwrap();
    let found = read(&made.artifact, "coefficients.json");
    // y = 3 · (0.4 · (x − 3) / 2 + 0.25) + 2 = 0.6 x + 0.95
    assert!((number(&found, "/y/slopes/x") - 0.6).abs() < 1e-5, "{found}");
    assert!((number(&found, "/y/intercept") - 0.95).abs() < 1e-5, "{found}");
}
