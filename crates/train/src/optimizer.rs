//! The update of all parameters from all gradients: clipping, penalties, one pass of the optimiser's
//! kernel. Pieces have a fixed size and are independent, so threads change nothing.

use base::project::Optimizer;
use kernels::optimizer::{Adam, Penalty, RmsProp, Sgd, adam, adamw, rmsprop, sgd};
use nn::Tensors;
use rayon::prelude::*;

use crate::plan::Settings;

/// Elements that one thread takes at a time.
const PIECE: usize = 1 << 15;

/// The optimiser's memory: the first and the second moment of each parameter (SGD has no second,
/// RMSprop's first is its velocity).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moments {
    pub(crate) first: Tensors,
    pub(crate) second: Tensors,
}

impl Moments {
    /// Zeros for the given parameters.
    pub(crate) fn new(list: &[(String, Vec<usize>)], optimizer: Optimizer) -> Self {
        let second = if optimizer == Optimizer::Sgd { &[] } else { list };
        Self { first: Tensors::zeros(list), second: Tensors::zeros(second) }
    }
}

/// The length of all gradients as one vector, summed piece by piece in a fixed order.
pub(crate) fn norm(gradients: &Tensors) -> f64 {
    let square = |values: &Vec<f32>| -> f64 {
        let pieces: Vec<f64> = values.par_chunks(PIECE).map(kernels::vector::sum_of_squares).collect();
        pieces.iter().sum()
    };
    gradients.all().iter().map(|tensor| square(&tensor.values)).sum::<f64>().sqrt()
}

/// One step; `step` counts from 1. `norm` is the gradients' length.
pub(crate) fn update(
    settings: &Settings,
    learning_rate: f64,
    step: u64,
    norm: f64,
    parameters: &mut Tensors,
    gradients: &Tensors,
    moments: &mut Moments,
) {
    let clip = settings.clip_norm;
    let scale = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
    let count = parameters.all().len();
    for index in 0..count {
        let matrix = parameters.all()[index].is_matrix();
        let on_matrix = |value: f64| if matrix { value as f32 } else { 0.0 };
        let penalty = Penalty { scale: scale as f32, l1: on_matrix(settings.l1), l2: on_matrix(settings.l2) };
        let rule = Rule {
            settings,
            learning_rate: learning_rate as f32,
            step,
            penalty,
            decay: on_matrix(settings.weight_decay),
        };
        let p = &mut parameters.all_mut()[index].values;
        let g = &gradients.all()[index].values;
        let first = &mut moments.first.all_mut()[index].values;
        match moments.second.all_mut().get_mut(index) {
            Some(second) => p
                .par_chunks_mut(PIECE)
                .zip(g.par_chunks(PIECE))
                .zip(first.par_chunks_mut(PIECE).zip(second.values.par_chunks_mut(PIECE)))
                .for_each(|((p, g), (m, v))| rule.two(p, g, m, v)),
            None => p
                .par_chunks_mut(PIECE)
                .zip(g.par_chunks(PIECE))
                .zip(first.par_chunks_mut(PIECE))
                .for_each(|((p, g), m)| rule.one(p, g, m)),
        }
    }
}

/// What one step does to one tensor.
struct Rule<'a> {
    settings: &'a Settings,
    learning_rate: f32,
    step: u64,
    penalty: Penalty,
    decay: f32,
}

impl Rule<'_> {
    fn one(&self, p: &mut [f32], g: &[f32], velocity: &mut [f32]) {
        let hyper =
            Sgd { learning_rate: self.learning_rate, momentum: self.settings.momentum as f32, penalty: self.penalty };
        sgd(p, g, velocity, &hyper);
    }

    fn two(&self, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
        if self.settings.optimizer == Optimizer::Rmsprop {
            let hyper = RmsProp {
                learning_rate: self.learning_rate,
                alpha: 0.99,
                epsilon: 1e-8,
                momentum: self.settings.momentum as f32,
                penalty: self.penalty,
            };
            return rmsprop(p, g, v, m, &hyper);
        }
        let hyper = Adam {
            learning_rate: self.learning_rate,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: self.decay,
            step: self.step,
            penalty: self.penalty,
        };
        if self.settings.optimizer == Optimizer::Adamw { adamw(p, g, m, v, &hyper) } else { adam(p, g, m, v, &hyper) }
    }
}
