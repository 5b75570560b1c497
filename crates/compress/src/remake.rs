//! Files in which training wrote down what the model says: the compressed model says it anew, because
//! a copy would claim of it what is true of another.

use std::ops::ControlFlow;
use std::path::Path;

use base::Value;
use infer::description::{Encoding, Target};
use infer::{Engine, Generator, InferError, Model, Prediction, Predictor, Sampling};
use serde_json::{Map, Value as Json, json};
use store::Artifact;

use crate::{COEFFICIENTS_FILE, CompressError, SAMPLES_FILE, write_json};

/// The most tokens of a sample; training writes as many.
const SAMPLE_TOKENS: usize = 64;

/// Writes anew what the model that went in has of such files.
pub(crate) fn remake(after: &Model, before: &Artifact, out: &Path) -> Result<(), CompressError> {
    match after.engine() {
        Engine::Language(model) if before.has(SAMPLES_FILE) => {
            write_json(&out.join(SAMPLES_FILE), &samples(model, &before.path(SAMPLES_FILE))?)
        }
        Engine::Predict(model) if before.has(COEFFICIENTS_FILE) => match coefficients(model)? {
            Some(found) => write_json(&out.join(COEFFICIENTS_FILE), &found),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The same prompts, completed by this model.
fn samples(model: &Generator, path: &Path) -> Result<Json, CompressError> {
    let bytes = std::fs::read(path).map_err(CompressError::io("read", path))?;
    let mut samples: Vec<Map<String, Json>> = serde_json::from_slice(&bytes).map_err(InferError::damaged(path))?;
    for sample in &mut samples {
        let prompt = sample.get("prompt").and_then(Json::as_str).unwrap_or_default().to_owned();
        let used = model.tokenizer().encode(&prompt)?.len() + 1;
        let max_tokens = model.description().context.saturating_sub(used).min(SAMPLE_TOKENS);
        let completion = if max_tokens == 0 {
            String::new()
        } else {
            let sampling = Sampling { max_tokens, temperature: 0.0, ..Sampling::default() };
            model.complete(&prompt, &sampling, &mut |_| ControlFlow::Continue(()))?.text
        };
        sample.insert("completion".to_owned(), json!(completion));
    }
    Ok(json!(samples))
}

/// Intercept and slopes of a model that is linear in numbers, read off its answers: at the training
/// means, and one training deviation beside them.
fn coefficients(model: &Predictor) -> Result<Option<Json>, CompressError> {
    let description = model.description();
    let mut scales = Vec::new();
    for input in &description.columns.inputs {
        let Encoding::Number { mean, deviation } = input.encoding else { return Ok(None) };
        scales.push((mean, deviation));
    }
    let answer = |at: &[f64]| -> Result<Vec<f64>, CompressError> {
        let row: Vec<Value> = at.iter().copied().map(Value::Number).collect();
        let number = |one: Prediction| if let Prediction::Number { value } = one { f64::from(value) } else { f64::NAN };
        Ok(model.predict(&row)?.into_iter().map(number).collect())
    };
    let means: Vec<f64> = scales.iter().map(|(mean, _)| *mean).collect();
    let middle = answer(&means)?;
    let mut beside = Vec::new();
    for (index, (_, deviation)) in scales.iter().enumerate() {
        let mut at = means.clone();
        at[index] += deviation;
        beside.push(answer(&at)?);
    }
    let mut found = Map::new();
    for (index, output) in description.columns.outputs.iter().enumerate() {
        let Target::Number { .. } = output.target else { return Ok(None) };
        let (mut intercept, mut slopes, mut line) = (middle[index], Map::new(), Map::new());
        for ((input, (mean, deviation)), moved) in description.columns.inputs.iter().zip(&scales).zip(&beside) {
            let slope = (moved[index] - middle[index]) / deviation;
            intercept -= slope * mean;
            slopes.insert(input.name.clone(), json!(slope));
        }
        if description.intercept {
            line.insert("intercept".to_owned(), json!(intercept));
        }
        line.insert("slopes".to_owned(), Json::Object(slopes));
        found.insert(output.name.clone(), Json::Object(line));
    }
    Ok(Some(Json::Object(found)))
}
