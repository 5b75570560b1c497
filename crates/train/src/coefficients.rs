//! A linear model of numbers in the units of its columns: `y = intercept + Σ slope · x`.

use infer::description::{Encoding, PredictDescription, Target};
use nn::Tensors;
use serde_json::{Map, Value as Json, json};

/// Intercept and slopes of each output, where the model is linear in numbers. Training sees
/// standardised values; here the scaling is undone.
pub(crate) fn coefficients(description: &PredictDescription, parameters: &Tensors) -> Option<Json> {
    if !description.hidden.is_empty() {
        return None;
    }
    let width = description.columns.outputs.len();
    let table = parameters.values("features.weight");
    let mut found = Map::new();
    for (column, output) in description.columns.outputs.iter().enumerate() {
        let Target::Number { mean: y_mean, deviation: y_deviation } = output.target else { return None };
        let bias = if description.intercept { f64::from(parameters.values("layer.0.bias")[column]) } else { 0.0 };
        let mut intercept = y_mean + y_deviation * bias;
        let mut slopes = Map::new();
        for input in &description.columns.inputs {
            let Encoding::Number { mean, deviation } = input.encoding else { return None };
            let slope = y_deviation * f64::from(table[input.offset * width + column]) / deviation;
            intercept -= slope * mean;
            slopes.insert(input.name.clone(), json!(slope));
        }
        let mut line = Map::new();
        if description.intercept {
            line.insert("intercept".to_owned(), json!(intercept));
        }
        line.insert("slopes".to_owned(), Json::Object(slopes));
        found.insert(output.name.clone(), Json::Object(line));
    }
    Some(Json::Object(found))
}
