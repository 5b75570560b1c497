//! Named tensors as plain vectors: the parameters that the trainer owns, and their gradients.

use std::collections::BTreeMap;
use std::ops::Range;

use infer::description::{Encoding, ModelDescription, PredictDescription, Task, TransformerShape};

use crate::random::Random;

/// What the numbers of the initial weights are drawn for.
const INITIAL: u64 = 0x1417;

/// One tensor of [`Tensors`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tensor<'a> {
    /// Its name in the weights file.
    pub name: &'a str,
    /// Its shape.
    pub shape: &'a [usize],
    /// Its values, row by row.
    pub values: &'a [f32],
}

impl Tensor<'_> {
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

/// Named tensors in a fixed order, one behind the other in one vector: an optimiser steps through it in
/// one pass, and neighbours can be read as one matrix ([`Tensors::span`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Tensors {
    values: Vec<f32>,
    list: Vec<Entry>,
    positions: BTreeMap<String, usize>,
}

/// Hears from which place of [`Tensors::flat`] on gradients are final.
pub type Ready<'a> = &'a mut dyn FnMut(&Tensors, usize);

/// Where a step adds its gradients, and who hears of them on the way.
pub struct Sink<'a> {
    /// The gradients so far; a step adds its own.
    pub gradients: &'a mut Tensors,
    /// Hears of each part of the gradients that the step will not touch any more.
    pub ready: Option<Ready<'a>>,
}

impl Sink<'_> {
    /// Tells that everything from a tensor's first value on is final.
    pub(crate) fn final_from(&mut self, name: &str) {
        if let Some(ready) = &mut self.ready {
            let from = self.gradients.list[self.gradients.position(name)].place.start;
            ready(self.gradients, from);
        }
    }
}

impl<'a> From<&'a mut Tensors> for Sink<'a> {
    fn from(gradients: &'a mut Tensors) -> Self {
        Self { gradients, ready: None }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    name: String,
    shape: Vec<usize>,
    place: Range<usize>,
}

impl Tensors {
    /// Zeros of the given names and shapes.
    #[must_use]
    pub fn zeros(names_and_shapes: &[(String, Vec<usize>)]) -> Self {
        let mut end = 0;
        let entry = |(name, shape): &(String, Vec<usize>)| {
            let begin = end;
            end += shape.iter().product::<usize>();
            Entry { name: name.clone(), shape: shape.clone(), place: begin..end }
        };
        let list: Vec<Entry> = names_and_shapes.iter().map(entry).collect();
        let positions = list.iter().enumerate().map(|(index, one)| (one.name.clone(), index)).collect();
        Self { values: vec![0.0; end], list, positions }
    }

    /// The tensors in order.
    pub fn all(&self) -> impl ExactSizeIterator<Item = Tensor<'_>> {
        (0..self.list.len()).map(|position| self.at(position))
    }

    /// The values of the tensors in order, to change.
    pub fn all_mut(&mut self) -> Vec<&mut [f32]> {
        let mut rest = self.values.as_mut_slice();
        let mut all = Vec::with_capacity(self.list.len());
        for one in &self.list {
            let (values, behind) = std::mem::take(&mut rest).split_at_mut(one.place.len());
            all.push(values);
            rest = behind;
        }
        all
    }

    /// The tensor at a position.
    #[must_use]
    pub fn at(&self, position: usize) -> Tensor<'_> {
        let one = &self.list[position];
        Tensor { name: &one.name, shape: &one.shape, values: &self.values[one.place.clone()] }
    }

    /// The values of the tensor at a position, to change.
    pub fn at_mut(&mut self, position: usize) -> &mut [f32] {
        &mut self.values[self.list[position].place.clone()]
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
        self.at(self.position(name)).values
    }

    /// A tensor's values, to change.
    pub fn values_mut(&mut self, name: &str) -> &mut [f32] {
        self.at_mut(self.position(name))
    }

    /// The values from one tensor's first to another's last: neighbours as one matrix.
    #[must_use]
    pub fn span(&self, first: &str, last: &str) -> &[f32] {
        &self.values[self.span_place(first, last)]
    }

    /// As [`Tensors::span`], to change.
    pub fn span_mut(&mut self, first: &str, last: &str) -> &mut [f32] {
        let place = self.span_place(first, last);
        &mut self.values[place]
    }

    fn span_place(&self, first: &str, last: &str) -> Range<usize> {
        self.list[self.position(first)].place.start..self.list[self.position(last)].place.end
    }

    /// All values.
    #[must_use]
    pub fn flat(&self) -> &[f32] {
        &self.values
    }

    /// All values, to change.
    pub fn flat_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// The number of values in all tensors.
    #[must_use]
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// Sets every value to zero.
    pub fn clear(&mut self) {
        kernels::parallel::chunks(&mut self.values, 1 << 18, |_, piece| piece.fill(0.0));
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
            // Norms begin as they are, biases at zero.
            tensors.values_mut(&name).fill(if name.ends_with(".bias") { 0.0 } else { 1.0 });
            continue;
        }
        let into_residual = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
        let deviation = if name.contains(".embed_") {
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
    for value in tensors.at_mut(position) {
        *value = (random.normal() * deviation) as f32;
    }
}
