//! Named tensors as plain vectors: the parameters that the trainer owns, and their gradients.

use std::collections::BTreeMap;

use infer::description::{Encoding, ModelDescription, PredictDescription, Task, TransformerShape};

use crate::random::Random;

/// What the numbers of the initial weights are drawn for.
const INITIAL: u64 = 0x1417;

/// One tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its name in the weights file.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row by row.
    pub values: Vec<f32>,
}

impl Tensor {
    /// Rows and columns; a vector is one row.
    #[must_use]
    pub fn matrix(&self) -> [usize; 2] {
        match self.shape[..] {
            [columns] => [1, columns],
            [rows, columns] => [rows, columns],
            _ => unreachable!("models have vectors and matrices"),
        }
    }

    /// Whether it is a matrix, which regularisation shrinks; biases and norms are vectors.
    #[must_use]
    pub fn is_matrix(&self) -> bool {
        self.shape.len() == 2
    }
}

/// Tensors in a fixed order, found by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensors {
    all: Vec<Tensor>,
    positions: BTreeMap<String, usize>,
}

impl Tensors {
    /// Zeros of the given names and shapes.
    #[must_use]
    pub fn zeros(list: &[(String, Vec<usize>)]) -> Self {
        let tensor = |(name, shape): &(String, Vec<usize>)| Tensor {
            name: name.clone(),
            shape: shape.clone(),
            values: vec![0.0; shape.iter().product()],
        };
        let all: Vec<Tensor> = list.iter().map(tensor).collect();
        let positions = all.iter().enumerate().map(|(index, one)| (one.name.clone(), index)).collect();
        Self { all, positions }
    }

    /// The tensors in order.
    #[must_use]
    pub fn all(&self) -> &[Tensor] {
        &self.all
    }

    /// The tensors in order, to change.
    pub fn all_mut(&mut self) -> &mut [Tensor] {
        &mut self.all
    }

    /// Where a tensor stands; a name that the model does not have is our own mistake.
    #[must_use]
    pub fn position(&self, name: &str) -> usize {
        match self.positions.get(name) {
            Some(position) => *position,
            None => panic!("the model has no tensor {name}"),
        }
    }

    /// The position of a tensor that the model may not have.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.positions.get(name).copied()
    }

    /// A tensor's values.
    #[must_use]
    pub fn values(&self, name: &str) -> &[f32] {
        &self.all[self.position(name)].values
    }

    /// The number of values in all tensors.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all.iter().map(|one| one.values.len()).sum()
    }

    /// Sets every value to zero.
    pub fn clear(&mut self) {
        for tensor in &mut self.all {
            tensor.values.fill(0.0);
        }
    }
}

/// The weights that training starts from.
///
/// Linear models start at zero, because their loss is convex. Hidden layers follow He et al. (2015);
/// the first one counts how many features of a row are about one. Embeddings have standard deviation
/// 0.02, a projection `1/√columns`, and those into the residual stream are also divided by
/// `√(2·layers)`.
#[must_use]
pub fn initial(description: &ModelDescription, seed: u64) -> Tensors {
    let mut tensors = Tensors::zeros(&description.tensors());
    match &description.task {
        Task::Language(language) => initial_transformer(&mut tensors, "", &language.shape, seed),
        Task::Predict(predict) => initial_predict(&mut tensors, predict, seed),
    }
    tensors
}

fn initial_predict(tensors: &mut Tensors, predict: &PredictDescription, seed: u64) {
    let widths = predict.widths();
    let mut energy = 0.0_f64;
    for input in &predict.columns.inputs {
        if let Encoding::Transformer { shape, .. } = &input.encoding {
            let prefix = format!("input.{}.", input.name);
            initial_transformer(tensors, &prefix, shape, seed);
            let deviation = (1.0 / shape.width as f64).sqrt();
            fill(tensors, &format!("{prefix}projection"), deviation, seed);
        }
        energy += match &input.encoding {
            Encoding::Bag { .. } => 2.0,
            _ => 1.0,
        };
    }
    if predict.hidden.is_empty() {
        return;
    }
    if tensors.find("features.weight").is_some() {
        fill(tensors, "features.weight", (2.0 / energy).sqrt(), seed);
    }
    for (index, fan_in) in widths.iter().enumerate().take(predict.hidden.len()) {
        // The last layer starts small, so that the first predictions are near the mean.
        let gain = if index + 1 == predict.hidden.len() { 0.1 } else { 2.0 };
        fill(tensors, &format!("layer.{}.weight", index + 1), (gain / *fan_in as f64).sqrt(), seed);
    }
}

fn initial_transformer(tensors: &mut Tensors, prefix: &str, shape: &TransformerShape, seed: u64) {
    let residual = 1.0 / (2.0 * shape.layers as f64).sqrt();
    for (name, dimensions) in shape.tensors(prefix) {
        if dimensions.len() == 1 {
            let position = tensors.position(&name);
            tensors.all[position].values.fill(1.0);
            continue;
        }
        let into_residual = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
        let deviation = if name.ends_with("embed_tokens.weight") {
            0.02
        } else {
            (1.0 / dimensions[1] as f64).sqrt() * if into_residual { residual } else { 1.0 }
        };
        fill(tensors, &name, deviation, seed);
    }
}

/// Fills a tensor with normal numbers; the stream depends on the tensor's position alone.
fn fill(tensors: &mut Tensors, name: &str, deviation: f64, seed: u64) {
    let position = tensors.position(name);
    let mut random = Random::new(seed, &[INITIAL, position as u64]);
    for value in &mut tensors.all[position].values {
        *value = (random.normal() * deviation) as f32;
    }
}
