//! Optimiser steps over many tensors at once: one parallel pass, moving averages and clipping.
//!
//! Tensors are cut into pieces of one size, whatever the number of threads; steps are element-wise,
//! and the squares of a norm are summed piece by piece in their order.

use crate::isa::kernel;
use crate::optimizer::{Adam, Lion, RmsProp, Sgd, adam, adamw, lion, rmsprop, sgd};
use crate::parallel;
use crate::rows::Parts;
use crate::vector::sum_of_squares;

/// Elements of a task.
const PIECE: usize = 1 << 15;

/// An optimiser with its settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// [`sgd`]; the first state is the velocity, there is no second.
    Sgd(Sgd),
    /// [`adam`].
    Adam(Adam),
    /// [`adamw`].
    AdamW(Adam),
    /// [`rmsprop`]; the first state is the mean square, the second the velocity.
    RmsProp(RmsProp),
    /// [`lion`]; the first state is the momentum, there is no second.
    Lion(Lion),
}

impl Rule {
    /// How many state slices the optimiser has.
    #[must_use]
    pub fn states(&self) -> usize {
        match self {
            Self::Sgd(_) | Self::Lion(_) => 1,
            Self::Adam(_) | Self::AdamW(_) | Self::RmsProp(_) => 2,
        }
    }
}

/// A tensor to step, with its gradient and the state of its optimiser.
#[derive(Debug)]
pub struct Slot<'a> {
    /// What is stepped.
    pub parameters: &'a mut [f32],
    /// Of the same length.
    pub gradients: &'a [f32],
    /// Of the same length.
    pub first: &'a mut [f32],
    /// Of the same length, or empty where [`Rule::states`] is 1.
    pub second: &'a mut [f32],
    /// The moving average of the parameters, if there is one, and its decay:
    /// `average = decay·average + (1 − decay)·p` after the step.
    pub average: Option<(&'a mut [f32], f32)>,
    /// How.
    pub rule: Rule,
}

/// Steps every tensor, in one parallel pass over all of them.
///
/// # Panics
/// When the slices of a slot differ in length.
pub fn step_all(slots: &mut [Slot<'_>]) {
    struct Whole<'a> {
        parameters: Parts<'a, f32>,
        gradients: &'a [f32],
        first: Parts<'a, f32>,
        second: Parts<'a, f32>,
        average: Option<(Parts<'a, f32>, f32)>,
        rule: Rule,
    }
    let mut pieces = Vec::new();
    let wholes: Vec<Whole<'_>> = slots
        .iter_mut()
        .enumerate()
        .map(|(index, slot)| {
            let length = slot.parameters.len();
            let second = if slot.rule.states() == 2 { length } else { 0 };
            let average = slot.average.as_ref().map_or(length, |(average, _)| average.len());
            let found = (slot.gradients.len(), slot.first.len(), slot.second.len(), average);
            assert_eq!(found, (length, length, second, length), "slices of slot {index}");
            pieces.extend((0..length.div_ceil(PIECE)).map(|piece| (index, piece * PIECE)));
            Whole {
                parameters: Parts::new(slot.parameters),
                gradients: slot.gradients,
                first: Parts::new(slot.first),
                second: Parts::new(slot.second),
                average: slot.average.as_mut().map(|(average, decay)| (Parts::new(average), *decay)),
                rule: slot.rule,
            }
        })
        .collect();
    parallel::run(pieces.len(), |task| {
        let (index, begin) = pieces[task];
        let whole = &wholes[index];
        let range = begin..whole.gradients.len().min(begin + PIECE);
        let second = if whole.rule.states() == 2 { range.clone() } else { 0..0 };
        // SAFETY: pieces do not overlap, and each belongs to one task.
        let (p, first, second) = unsafe {
            (whole.parameters.take(range.clone()), whole.first.take(range.clone()), whole.second.take(second))
        };
        let g = &whole.gradients[range.clone()];
        match &whole.rule {
            Rule::Sgd(hyper) => sgd(p, g, first, hyper),
            Rule::Adam(hyper) => adam(p, g, first, second, hyper),
            Rule::AdamW(hyper) => adamw(p, g, first, second, hyper),
            Rule::RmsProp(hyper) => rmsprop(p, g, first, second, hyper),
            Rule::Lion(hyper) => lion(p, g, first, hyper),
        }
        if let Some((average, decay)) = &whole.average {
            // SAFETY: as above.
            move_average(unsafe { average.take(range) }, p, *decay);
        }
    });
}

kernel! {
    /// `average[i] = decay·average[i] + (1 − decay)·p[i]`.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn move_average(average: &mut [f32], parameters: &[f32], decay: f32) {
        assert_eq!(average.len(), parameters.len());
        let rest = 1.0 - decay;
        for (average, p) in average.iter_mut().zip(parameters) {
            *average = decay * *average + rest * p;
        }
    }
}

/// The Euclidean length of several slices taken as one vector, in parallel and in double precision.
#[must_use]
pub fn norm_of_all(slices: &[&[f32]]) -> f64 {
    let pieces: Vec<&[f32]> = slices.iter().flat_map(|slice| slice.chunks(PIECE)).collect();
    let mut sums = vec![0.0_f64; pieces.len()];
    parallel::chunks(&mut sums, 1, |index, sum| sum[0] = sum_of_squares(pieces[index]));
    sums.iter().sum::<f64>().sqrt()
}

/// The factor that brings a gradient of length `norm` down to `most` (Pascanu et al. 2013), 1 where it is not
/// longer; what is not a number stays so.
#[must_use]
pub fn clip_factor(norm: f64, most: f64) -> f32 {
    if norm <= most { 1.0 } else { (most / norm) as f32 }
}
