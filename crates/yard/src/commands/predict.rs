//! `yard predict`: answers without a server, from the same code path. Rows are JSON objects, one a
//! line; for a language model each has a `prompt`, which is completed greedily.

use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::Path;

use base::{ColumnType, Value};
use infer::description::{InputDescription, Target};
use infer::{Engine, Model, Prediction, Predictor, Sampling};
use serde_json::{Map, Value as Json, json};

use super::registry::open;
use super::rollout::parse;
use crate::output::{Error, Output, boxed};
use crate::pipeline::Usage;

/// The longest line that is read.
const LINE_BYTES_MAX: usize = 8 << 20;

pub fn predict(output: Output, project: &Path, name: &str, rows: &str) -> Result<(), Error> {
    let store = open(project)?;
    let version = store.version(&parse(name)?).map_err(boxed)?;
    let artifact = store.artifact(version.artifact).map_err(boxed)?;
    let model = Model::load(&artifact.folder).map_err(boxed)?;
    for (index, line) in lines(rows)?.enumerate() {
        let wrong = |what: String| {
            boxed(Usage::new(
                format!("failed to read line {} of {rows}: {what}", index + 1),
                "Write one JSON object a line, with the model's inputs as keys.",
            ))
        };
        let line = line.map_err(|error| wrong(error.to_string()))?;
        if line.len() > LINE_BYTES_MAX {
            return Err(wrong(format!("it is longer than {LINE_BYTES_MAX} bytes")));
        }
        if line.trim().is_empty() {
            continue;
        }
        let row: Map<String, Json> = serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        let answer = match model.engine() {
            Engine::Predict(predictor) => columns(predictor, &row, &wrong)?,
            Engine::Language(generator) => {
                let prompt =
                    row.get("prompt").and_then(Json::as_str).ok_or_else(|| wrong("it has no \"prompt\"".to_owned()))?;
                let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
                let done = generator.complete(prompt, &sampling, &mut |_| ControlFlow::Continue(())).map_err(boxed)?;
                json!({ "text": done.text })
            }
        };
        output.document("predict", &format!("{answer}\n"), &answer);
    }
    Ok(())
}

fn lines(rows: &str) -> Result<Box<dyn Iterator<Item = std::io::Result<String>>>, Error> {
    if rows == "-" {
        return Ok(Box::new(std::io::stdin().lock().lines()));
    }
    let file = std::fs::File::open(rows).map_err(|error| boxed(store::StoreError::io("open", rows.as_ref())(error)))?;
    Ok(Box::new(BufReader::new(file).lines()))
}

fn columns(predictor: &Predictor, row: &Map<String, Json>, wrong: &dyn Fn(String) -> Error) -> Result<Json, Error> {
    let columns = &predictor.description().columns;
    if let Some(unknown) = row.keys().find(|key| {
        !columns.inputs.iter().any(|input| input.name == **key)
            && !columns.outputs.iter().any(|output| output.name == **key)
    }) {
        return Err(wrong(format!("the model has no column {unknown:?}")));
    }
    let values = columns
        .inputs
        .iter()
        .map(|input| cell(input, row.get(&input.name)).map_err(wrong))
        .collect::<Result<Vec<_>, _>>()?;
    let predictions = predictor.predict(&values).map_err(boxed)?;
    let mut answer = Map::new();
    for (output, prediction) in columns.outputs.iter().zip(&predictions) {
        let (value, probability) = match (&output.target, prediction) {
            (Target::Category { labels }, Prediction::Category { label, probabilities }) => {
                (json!(labels.get(*label)), probabilities.get(*label).copied())
            }
            (Target::Binary { labels }, Prediction::Binary { probability }) => {
                (json!(labels[usize::from(*probability >= 0.5)]), Some(*probability))
            }
            (_, Prediction::Number { value }) => (json!(value), None),
            _ => (Json::Null, None),
        };
        answer.insert(output.name.clone(), value);
        if let Some(probability) = probability {
            answer.insert(format!("{}.probability", output.name), json!(probability));
        }
    }
    Ok(Json::Object(answer))
}

/// One cell of a row; what is absent is missing.
fn cell(input: &InputDescription, json: Option<&Json>) -> Result<Value, String> {
    let value = match (json, input.column_type) {
        (None | Some(Json::Null), _) => Value::Missing,
        (Some(Json::Bool(truth)), ColumnType::Binary) => Value::Binary(*truth),
        (Some(Json::Number(number)), ColumnType::Number) => number.as_f64().map_or(Value::Missing, Value::Number),
        (Some(Json::String(text)), ColumnType::Text | ColumnType::Category) => Value::Text(text.clone()),
        (Some(Json::Number(number)), ColumnType::Category) => Value::Text(number.to_string()),
        (Some(other), wanted) => return Err(format!("{:?} should be a {}, but is {other}", input.name, wanted.name())),
    };
    Ok(value)
}
