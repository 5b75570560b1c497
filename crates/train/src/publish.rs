//! The model folder: what training found, measured by the engine that will serve it.
//!
//! The weights are written first and loaded back; every number in `metrics.json` comes from the loaded
//! model, so that what is measured is what is served.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use base::{Measure, Value};
use dataset::{LanguageInfo, Row, Split, read_split, read_tokens};
use infer::description::{BASELINE_FILE, METRICS_FILE, TOKENIZER_FILE, Task};
use infer::language::Generator;
use infer::metrics::{evaluate, evaluate_language};
use infer::model::{Engine, Model};
use infer::predict::{Prediction, Predictor};
use infer::preprocess::Preprocessor;
use infer::sampling::Sampling;
use infer::sketch::Sketch;
use infer::weights::Tensor;
use nn::Tensors;
use rayon::prelude::*;
use serde::Serialize;
use serde_json::json;

use crate::HISTORY_FILE;
use crate::checkpoint::State;
use crate::coefficients::coefficients;
use crate::error::TrainError;
use crate::predict::Data;
use crate::trainer::Session;

/// Rows (or documents) that the baseline sketch looks at.
const BASELINE_ROWS: usize = 20_000;
const BASELINE_DOCUMENTS: usize = 2_000;
/// Completions in `samples.json`, and their length in tokens.
const SAMPLES: usize = 3;
const SAMPLE_TOKENS: usize = 64;

/// Writes the folder of a `predict` model.
pub(crate) fn predict(session: &Session<'_>, out: &Path, state: &State, data: Data<'_>) -> Result<(), TrainError> {
    let preprocessor = Preprocessor::load(&session.dataset.folder)?;
    let model = write_and_load(session, out, &state.parameters, preprocessor.idf_tensors())?;
    let (Engine::Predict(engine), Task::Predict(description)) = (model.engine(), &session.plan.description.task) else {
        unreachable!("the plan is of a predict model")
    };
    let task = session.context.begin("evaluate", None, "rows");
    let rows = data.rows;
    let (judged, why) = judged_rows(session, engine)?;
    let rows_judged = judged.as_ref().unwrap_or(&rows);
    let predictions = answers(session, engine, rows_judged)?;
    let truths: Vec<Vec<Value>> = rows_judged.iter().map(|row| row.outputs.clone()).collect();
    let mut evaluation = evaluate(&description.columns, &predictions, &truths);
    say_split(&mut evaluation.metrics, why);
    write_json(&out.join(METRICS_FILE), &evaluation.metrics)?;
    write_json(&out.join("confusion.json"), &evaluation.confusion)?;
    if let Some(found) = coefficients(description, &state.parameters) {
        write_json(&out.join("coefficients.json"), &found)?;
    }
    write_json(&out.join(HISTORY_FILE), &state.progress.history)?;
    let stride = rows.len().div_ceil(BASELINE_ROWS).max(1);
    let some: Vec<Row> = rows.into_iter().step_by(stride).collect();
    let mut sketch = Sketch::new(&description.columns);
    for (row, predictions) in some.iter().zip(answers(session, engine, &some)?) {
        sketch.observe(&row.inputs, &predictions);
    }
    write_json(&out.join(BASELINE_FILE), &sketch)?;
    task.end(&format!("{} rows", base::units::count(truths.len() as u64)));
    Ok(())
}

/// The rows that the model is judged on (`None`: the training rows), and why, if not the test split.
fn judged_rows(
    session: &Session<'_>,
    engine: &Predictor,
) -> Result<(Option<Vec<Row>>, Option<&'static str>), TrainError> {
    let columns = &engine.description().columns;
    for (split, why) in [(Split::Test, None), (Split::Valid, Some(ON_VALID))] {
        let rows = read_split(&session.dataset.folder, split, columns)?;
        if !rows.is_empty() {
            return Ok((Some(rows), why));
        }
    }
    Ok((None, Some(ON_TRAIN)))
}

const ON_VALID: &str = "on the validation split, because there is no test split";
const ON_TRAIN: &str =
    "on the training split, because there is no other: how well the model fits, not how well it predicts";

/// Predictions of all rows, in their order.
fn answers(session: &Session<'_>, engine: &Predictor, rows: &[Row]) -> Result<Vec<Vec<Prediction>>, TrainError> {
    let all: Result<Vec<_>, _> =
        session.pool.install(|| rows.par_iter().map(|row| engine.predict(&row.inputs)).collect());
    Ok(all?)
}

/// Says on which split metrics were taken, where it is not the test split.
fn say_split(metrics: &mut BTreeMap<String, Measure>, why: Option<&str>) {
    if let Some(why) = why {
        for measure in metrics.values_mut() {
            measure.method = format!("{}, {why}", measure.method);
        }
    }
}

/// Writes the folder of a language model.
pub(crate) fn language(session: &Session<'_>, out: &Path, state: &State) -> Result<(), TrainError> {
    let model = write_and_load(session, out, &state.parameters, BTreeMap::new())?;
    let Engine::Language(engine) = model.engine() else { unreachable!("the plan is of a language model") };
    let info = LanguageInfo::load(&session.dataset.folder)?;
    let task = session.context.begin("evaluate", None, "tokens");
    let splits = [
        (Split::Test, info.bytes.test, info.documents.test, None),
        (Split::Valid, info.bytes.valid, info.documents.valid, Some(ON_VALID)),
        (Split::Train, info.bytes.train, info.documents.train, Some(ON_TRAIN)),
    ];
    for (split, bytes, documents, why) in splits {
        let tokens = tokens_of(session, split)?;
        if tokens.len() < 2 {
            continue;
        }
        let (nats, count) = session.pool.install(|| engine.loss(&tokens));
        let mut metrics = evaluate_language(nats, count, bytes, documents);
        say_split(&mut metrics, why);
        write_json(&out.join(METRICS_FILE), &metrics)?;
        task.end(&format!("{} tokens", base::units::count(count)));
        break;
    }
    write_json(&out.join(HISTORY_FILE), &state.progress.history)?;
    write_samples(session, out, engine)?;
    write_json(&out.join(BASELINE_FILE), &text_baseline(session, engine)?)
}

fn tokens_of(session: &Session<'_>, split: Split) -> Result<Vec<u32>, TrainError> {
    Ok(read_tokens(&session.dataset.folder, split)?.iter().collect())
}

/// Greedy completions of the beginnings of test documents (of nothing, where there are none).
fn write_samples(session: &Session<'_>, out: &Path, engine: &Generator) -> Result<(), TrainError> {
    let mut texts = documents(engine, &tokens_of(session, Split::Test)?, SAMPLES);
    if texts.is_empty() {
        texts.push(String::new());
    }
    let mut samples = Vec::new();
    for text in texts {
        let prompt = beginning(&text);
        let used = engine.tokenizer().encode(prompt)?.len() + 1;
        let room = engine.description().context.saturating_sub(used);
        if room == 0 {
            continue;
        }
        let sampling = Sampling { max_tokens: room.min(SAMPLE_TOKENS), temperature: 0.0, ..Sampling::default() };
        let completion = engine.complete(prompt, &sampling, &mut |_| ControlFlow::Continue(()))?;
        samples.push(json!({ "prompt": prompt, "completion": completion.text, "truth": &text[prompt.len()..] }));
    }
    write_json(&out.join("samples.json"), &samples)
}

/// What training text looks like when its beginning is the prompt and the rest the completion.
fn text_baseline(session: &Session<'_>, engine: &Generator) -> Result<Sketch, TrainError> {
    let mut sketch = Sketch::language();
    for text in documents(engine, &tokens_of(session, Split::Train)?, BASELINE_DOCUMENTS) {
        let prompt = beginning(&text);
        sketch.observe_text(prompt, &text[prompt.len()..]);
    }
    Ok(sketch)
}

/// The first documents of a stream of tokens.
fn documents(engine: &Generator, tokens: &[u32], count: usize) -> Vec<String> {
    let end = engine.tokenizer().end_of_text();
    let whole = tokens.split(|token| *token == end).filter(|document| !document.is_empty());
    whole.take(count).map(|document| engine.tokenizer().decode(document)).collect()
}

/// The first third of a text, at most 32 characters.
fn beginning(text: &str) -> &str {
    let characters = (text.chars().count() / 3).clamp(1, 32);
    text.char_indices().nth(characters).map_or(text, |(end, _)| &text[..end])
}

/// Writes description, weights and tokenizer, and loads the model back.
fn write_and_load(
    session: &Session<'_>,
    out: &Path,
    parameters: &Tensors,
    mut tensors: BTreeMap<String, Tensor>,
) -> Result<Model, TrainError> {
    for one in parameters.all() {
        tensors.insert(one.name.to_owned(), Tensor::f32(one.shape.to_vec(), one.values.to_vec()));
    }
    infer::model::write(out, &session.plan.description, &tensors)?;
    if session.dataset.has(TOKENIZER_FILE) {
        let path = session.dataset.path(TOKENIZER_FILE);
        std::fs::copy(&path, out.join(TOKENIZER_FILE)).map_err(TrainError::io("copy", &path))?;
    }
    Ok(Model::load(out)?)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), TrainError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| TrainError::io("write", path)(error.into()))?;
    bytes.push(b'\n');
    std::fs::write(path, bytes).map_err(TrainError::io("write", path))
}
