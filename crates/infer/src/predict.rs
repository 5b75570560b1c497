//! The engine of `predict` models: features into hidden sums, layers, outputs.
//!
//! One row at a time, in one order of operations: a row's answer is a function of that row alone, the
//! same bits in every batch, on every thread and in every server.

use base::Value;
use serde::{Deserialize, Serialize};

use crate::description::{Encoding, OutputDescription, PredictDescription, Target};
use crate::error::InferError;
use crate::preprocess::{Features, Preprocessor};
use crate::transformer::Transformer;
use crate::weights::{Matrix, Shelf};

/// What a model says about one output of one row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// One of the output's labels.
    Category {
        /// The index of the most probable label.
        label: usize,
        /// The probability of each label.
        probabilities: Vec<f32>,
    },
    /// True or false.
    Binary {
        /// The probability of true.
        probability: f32,
    },
    /// A number.
    Number {
        /// The number.
        value: f32,
    },
}

/// A `predict` model ready to answer.
#[derive(Debug)]
pub struct Predictor {
    description: PredictDescription,
    preprocessor: Preprocessor,
    table: Option<Matrix>,
    encoders: Vec<Encoder>,
    /// Beside each layer's bias the weights that lead to it; the first layer has none of its own.
    layers: Vec<Layer>,
}

/// A transformer input.
#[derive(Debug)]
struct Encoder {
    transformer: Transformer,
    projection: Matrix,
}

#[derive(Debug)]
struct Layer {
    weight: Option<Matrix>,
    bias: Option<Vec<f32>>,
    width: usize,
}

impl Predictor {
    /// Takes the model's tensors off the shelf.
    pub(crate) fn new(
        description: PredictDescription,
        preprocessor: Preprocessor,
        shelf: &mut Shelf<'_>,
    ) -> Result<Self, InferError> {
        let widths = description.widths();
        let features = description.columns.sparse_features();
        let table = if features > 0 { Some(shelf.matrix("features.weight", features, widths[0])?) } else { None };
        let mut encoders = Vec::new();
        for input in &description.columns.inputs {
            if let Encoding::Transformer { shape, .. } = &input.encoding {
                let prefix = format!("input.{}.", input.name);
                let transformer = Transformer::new(shape.clone(), &prefix, shelf)?;
                let projection = shelf.matrix(&format!("{prefix}projection"), shape.width, widths[0])?;
                encoders.push(Encoder { transformer, projection });
            }
        }
        let mut layers = Vec::new();
        for (index, width) in widths.iter().copied().enumerate() {
            let weight = match index {
                0 => None,
                _ => Some(shelf.matrix(&format!("layer.{index}.weight"), widths[index - 1], width)?),
            };
            let name = format!("layer.{index}.bias");
            let bias = if description.intercept { Some(shelf.vector(&name, width)?) } else { None };
            layers.push(Layer { weight, bias, width });
        }
        Ok(Self { description, preprocessor, table, encoders, layers })
    }

    /// What the model is.
    #[must_use]
    pub fn description(&self) -> &PredictDescription {
        &self.description
    }

    /// How a row becomes features.
    #[must_use]
    pub fn preprocessor(&self) -> &Preprocessor {
        &self.preprocessor
    }

    /// One prediction per output for a row whose values stand in the order of the inputs.
    ///
    /// # Errors
    /// [`InferError::RowLength`] and [`InferError::Input`] when the row does not fit the inputs,
    /// [`InferError::NotFinite`] when a number in it is too large to compute with.
    pub fn predict(&self, row: &[Value]) -> Result<Vec<Prediction>, InferError> {
        let wanted = self.description.columns.inputs.len();
        if row.len() != wanted {
            return Err(InferError::RowLength { found: row.len(), wanted });
        }
        let features = self.preprocessor.features(row)?;
        for (encoder, tokens) in self.encoders.iter().zip(&features.tokens) {
            encoder.transformer.check(tokens)?;
        }
        let logits = self.logits(&features);
        let mut rest = logits.as_slice();
        let mut predictions = Vec::with_capacity(self.description.columns.outputs.len());
        for output in &self.description.columns.outputs {
            let (own, others) = rest.split_at(output.width());
            predictions.push(prediction(output, own)?);
            rest = others;
        }
        Ok(predictions)
    }

    /// The last layer's values, all outputs after each other.
    ///
    /// # Panics
    /// When the features are not those of this model's preprocessor.
    #[must_use]
    pub fn logits(&self, features: &Features) -> Vec<f32> {
        let mut hidden = self.layers[0].start();
        if let Some(table) = &self.table {
            table.add_rows(&mut hidden, &features.sparse);
        }
        assert_eq!(self.encoders.len(), features.tokens.len(), "token lists of the transformer inputs");
        for (encoder, tokens) in self.encoders.iter().zip(&features.tokens) {
            let pooled = encoder.transformer.pool(tokens);
            encoder.projection.add_rows(&mut hidden, &pairs(&pooled));
        }
        for layer in &self.layers[1..] {
            kernels::relu(&mut hidden);
            let mut next = layer.start();
            if let Some(weight) = &layer.weight {
                weight.add_rows(&mut next, &pairs(&hidden));
            }
            hidden = next;
        }
        hidden
    }
}

impl Layer {
    fn start(&self) -> Vec<f32> {
        self.bias.clone().unwrap_or_else(|| vec![0.0; self.width])
    }
}

/// A dense vector as pairs of index and value; zeros, which add nothing, are left out.
fn pairs(vector: &[f32]) -> Vec<(u32, f32)> {
    (0..).zip(vector.iter().copied()).filter(|(_, value)| *value != 0.0).collect()
}

fn prediction(output: &OutputDescription, logits: &[f32]) -> Result<Prediction, InferError> {
    let not_finite = || InferError::NotFinite { output: output.name.clone() };
    if logits.iter().any(|logit| !logit.is_finite()) {
        return Err(not_finite());
    }
    Ok(match &output.target {
        Target::Category { .. } => {
            let mut probabilities = logits.to_vec();
            kernels::softmax(&mut probabilities);
            Prediction::Category { label: largest(logits), probabilities }
        }
        Target::Binary { .. } => Prediction::Binary { probability: kernels::sigmoid(logits[0]) },
        Target::Number { mean, deviation } => {
            let value = (f64::from(logits[0]) * deviation + mean) as f32;
            if !value.is_finite() {
                return Err(not_finite());
            }
            Prediction::Number { value }
        }
    })
}

/// The index of the largest value, the first of equal ones.
pub(crate) fn largest(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}
