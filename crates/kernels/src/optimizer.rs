//! Optimiser steps in one pass over parameters, gradients and state, by PyTorch's definitions.
//!
//! State slices start as zeros and belong to the caller, who stores them in checkpoints. A step is
//! element-wise, so parameters may be cut into pieces anywhere and stepped by any threads.

use crate::isa::kernel;

/// What happens to a gradient before the optimiser sees it: `g·scale + l1·sign(p) + l2·p`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Penalty {
    /// The factor of clipping, 1 where nothing is clipped.
    pub scale: f32,
    /// The weight of the sum of absolute values.
    pub l1: f32,
    /// The weight of half the sum of squares (what PyTorch's optimisers but AdamW call
    /// `weight_decay`).
    pub l2: f32,
}

impl Default for Penalty {
    fn default() -> Self {
        Self { scale: 1.0, l1: 0.0, l2: 0.0 }
    }
}

impl Penalty {
    #[inline(always)]
    fn apply(self, gradient: f32, parameter: f32) -> f32 {
        let sign = f32::from(i8::from(parameter > 0.0) - i8::from(parameter < 0.0));
        gradient * self.scale + self.l1 * sign + self.l2 * parameter
    }
}

/// Settings of [`sgd`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// The step size.
    pub learning_rate: f32,
    /// The share of the velocity that stays; 0 is plain gradient descent.
    pub momentum: f32,
    /// What happens to the gradient first.
    pub penalty: Penalty,
}

/// Settings of [`adam`] and [`adamw`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// The step size.
    pub learning_rate: f32,
    /// Decay of the mean of gradients, usually 0.9.
    pub beta1: f32,
    /// Decay of the mean of their squares, usually 0.999.
    pub beta2: f32,
    /// Added to the root, usually 1e-8.
    pub epsilon: f32,
    /// Decoupled weight decay; only [`adamw`] reads it.
    pub weight_decay: f32,
    /// The number of this step, counting from 1.
    pub step: u64,
    /// What happens to the gradient first.
    pub penalty: Penalty,
}

/// Settings of [`rmsprop`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RmsProp {
    /// The step size.
    pub learning_rate: f32,
    /// Decay of the mean of squares, usually 0.99.
    pub alpha: f32,
    /// Added to the root, usually 1e-8.
    pub epsilon: f32,
    /// The share of the velocity that stays.
    pub momentum: f32,
    /// What happens to the gradient first.
    pub penalty: Penalty,
}

/// Settings of [`lion`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lion {
    /// The step size, about a third to a tenth of AdamW's.
    pub learning_rate: f32,
    /// The share of the momentum in the direction of the step, usually 0.9.
    pub beta1: f32,
    /// Decay of the momentum, usually 0.99.
    pub beta2: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// What happens to the gradient first.
    pub penalty: Penalty,
}

kernel! {
    /// `v = momentum·v + g`, `p −= learning_rate·v` (PyTorch's SGD without dampening or Nesterov).
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn sgd(parameters: &mut [f32], gradients: &[f32], velocity: &mut [f32], hyper: &Sgd) {
        same_length(parameters.len(), &[gradients.len(), velocity.len()]);
        for ((p, g), v) in parameters.iter_mut().zip(gradients).zip(velocity) {
            *v = hyper.momentum * *v + hyper.penalty.apply(*g, *p);
            *p -= hyper.learning_rate * *v;
        }
    }
}

kernel! {
    /// Adam (Kingma & Ba 2015, algorithm 1): `m = β₁m + (1−β₁)g`, `v = β₂v + (1−β₂)g²`,
    /// `p −= learning_rate · m̂ / (√v̂ + ε)` with `m̂ = m/(1−β₁ᵗ)` and `v̂ = v/(1−β₂ᵗ)`.
    ///
    /// # Panics
    /// When the slices differ in length, or `step` is 0.
    pub fn adam(parameters: &mut [f32], gradients: &[f32], first: &mut [f32], second: &mut [f32], hyper: &Adam) {
        same_length(parameters.len(), &[gradients.len(), first.len(), second.len()]);
        adaptive_moments(parameters, gradients, first, second, hyper, 1.0);
    }
}

kernel! {
    /// [`adam`] with decoupled weight decay (Loshchilov & Hutter 2019): first
    /// `p −= learning_rate·weight_decay·p`, then Adam's step.
    ///
    /// # Panics
    /// When the slices differ in length, or `step` is 0.
    pub fn adamw(parameters: &mut [f32], gradients: &[f32], first: &mut [f32], second: &mut [f32], hyper: &Adam) {
        same_length(parameters.len(), &[gradients.len(), first.len(), second.len()]);
        let keep = 1.0 - hyper.learning_rate * hyper.weight_decay;
        adaptive_moments(parameters, gradients, first, second, hyper, keep);
    }
}

kernel! {
    /// RMSprop (Hinton 2012, as PyTorch has it, not centred): `s = αs + (1−α)g²`,
    /// `v = momentum·v + g/(√s + ε)`, `p −= learning_rate·v`.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn rmsprop(
        parameters: &mut [f32],
        gradients: &[f32],
        square: &mut [f32],
        velocity: &mut [f32],
        hyper: &RmsProp,
    ) {
        same_length(parameters.len(), &[gradients.len(), square.len(), velocity.len()]);
        let rest = 1.0 - hyper.alpha;
        for (((p, g), s), v) in parameters.iter_mut().zip(gradients).zip(square).zip(velocity) {
            let g = hyper.penalty.apply(*g, *p);
            *s = hyper.alpha * *s + rest * g * g;
            *v = hyper.momentum * *v + g / (s.sqrt() + hyper.epsilon);
            *p -= hyper.learning_rate * *v;
        }
    }
}

kernel! {
    /// Lion (Chen et al. 2023, algorithm 2): `p −= learning_rate·(sign(β₁m + (1−β₁)g) + weight_decay·p)`, then
    /// `m = β₂m + (1−β₂)g`.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn lion(parameters: &mut [f32], gradients: &[f32], momentum: &mut [f32], hyper: &Lion) {
        same_length(parameters.len(), &[gradients.len(), momentum.len()]);
        let keep = 1.0 - hyper.learning_rate * hyper.weight_decay;
        let (rest1, rest2) = (1.0 - hyper.beta1, 1.0 - hyper.beta2);
        for ((p, g), m) in parameters.iter_mut().zip(gradients).zip(momentum) {
            let g = hyper.penalty.apply(*g, *p);
            let direction = hyper.beta1 * *m + rest1 * g;
            // What is not a number is its own sign.
            let below = if direction < 0.0 { -1.0 } else { direction };
            let sign = if direction > 0.0 { 1.0 } else { below };
            *p = *p * keep - hyper.learning_rate * sign;
            *m = hyper.beta2 * *m + rest2 * g;
        }
    }
}

/// What Adam and AdamW share; the parameters are multiplied by `keep` first. The corrections of the
/// moments go into two scalars, computed in double precision as PyTorch does.
#[inline(always)]
fn adaptive_moments(
    parameters: &mut [f32],
    gradients: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    hyper: &Adam,
    keep: f32,
) {
    assert!(hyper.step > 0, "steps count from 1");
    let power = |beta: f32| 1.0 - f64::from(beta).powf(hyper.step as f64);
    let step_size = (f64::from(hyper.learning_rate) / power(hyper.beta1)) as f32;
    let root = power(hyper.beta2).sqrt() as f32;
    let (rest1, rest2) = (1.0 - hyper.beta1, 1.0 - hyper.beta2);
    for (((p, g), m), v) in parameters.iter_mut().zip(gradients).zip(first).zip(second) {
        let g = hyper.penalty.apply(*g, *p);
        *m = hyper.beta1 * *m + rest1 * g;
        *v = hyper.beta2 * *v + rest2 * g * g;
        *p = *p * keep - step_size * *m / (v.sqrt() / root + hyper.epsilon);
    }
}

fn same_length(length: usize, others: &[usize]) {
    assert!(others.iter().all(|other| *other == length), "slices of lengths {length} and {others:?}");
}
