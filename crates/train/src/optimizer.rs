//! The update of all parameters from all gradients: clipping, penalties, groups, one parallel pass of the
//! optimiser's kernel, and the moving average of the weights.

use base::project::{GroupConfig, Optimizer};
use kernels::optimizer::{Adam, Lion, Penalty, RmsProp, Sgd};
use kernels::step::{Rule, Slot, clip_factor, norm_of_all, step_all};
use nn::Tensors;

use crate::checkpoint::State;
use crate::plan::Settings;

/// Adam's decay of the first moment.
const BETA1: f64 = 0.9;
/// Adam's decay of the second moment.
const BETA2: f64 = 0.999;

/// The optimiser's memory: the first and the second moment of each parameter (SGD and Lion have no
/// second; RMSprop's first is the mean square, its second the velocity).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moments {
    pub(crate) first: Tensors,
    pub(crate) second: Tensors,
}

impl Moments {
    /// Zeros for the given parameters.
    pub(crate) fn new(list: &[(String, Vec<usize>)], optimizer: Optimizer) -> Self {
        let one = matches!(optimizer, Optimizer::Sgd | Optimizer::Lion);
        Self { first: Tensors::zeros(list), second: Tensors::zeros(if one { &[] } else { list }) }
    }
}

/// The length of all gradients as one vector, summed piece by piece in a fixed order.
pub(crate) fn norm(gradients: &Tensors) -> f64 {
    norm_of_all(&[gradients.flat()])
}

/// One step; `step` counts from 1. `norm` is the gradients' length.
pub(crate) fn update(
    settings: &Settings,
    learning_rate: f64,
    step: u64,
    norm: f64,
    state: &mut State,
    gradients: &Tensors,
) {
    let scale = if settings.clip_norm > 0.0 { clip_factor(norm, settings.clip_norm) } else { 1.0 };
    let rules: Vec<Rule> = state
        .parameters
        .all()
        .map(|tensor| rule(settings, learning_rate, step, scale, tensor.name, tensor.is_matrix()))
        .collect();
    let mut first = state.moments.first.all_mut().into_iter();
    let mut second = state.moments.second.all_mut().into_iter();
    let mut average = state.average.as_mut().map(|average| average.all_mut().into_iter());
    let decay = settings.average_decay as f32;
    let mut slots: Vec<Slot<'_>> = state
        .parameters
        .all_mut()
        .into_iter()
        .zip(gradients.all())
        .zip(rules)
        .map(|((parameters, gradient), rule)| Slot {
            parameters,
            gradients: gradient.values,
            first: first.next().unwrap_or_default(),
            second: second.next().unwrap_or_default(),
            average: average.as_mut().and_then(Iterator::next).map(|average| (average, decay)),
            rule,
        })
        .collect();
    step_all(&mut slots);
}

/// Steps before [`noise_to_signal`] says anything.
const NOISE_STEPS: u64 = 100;

/// The variance of a step's gradient to the square of its mean, both summed over all parameters, after `step` steps: an
/// estimate from the moments of Adam. With `v̂ ≈ S + N` and `m̂² ≈ S + c·N`, where the weights of the first moment's
/// average have the square sum `c = (1−β)/(1+β)·(1+βᵗ)/(1−βᵗ)`, both are known. Times the size of a step's batch it is
/// the gradient noise scale (McCandlish et al. 2018): batches much beyond it bring little. Gradients are those after
/// clipping; the second moment looks back a thousand steps, so while gradients shrink the estimate is high. Nothing for
/// other optimisers, too few steps, or where the signal is below what the estimate can see.
pub(crate) fn noise_to_signal(optimizer: Optimizer, step: u64, moments: &Moments) -> Option<f64> {
    if !matches!(optimizer, Optimizer::Adam | Optimizer::Adamw) || step < NOISE_STEPS {
        return None;
    }
    let steps = i32::try_from(step).unwrap_or(i32::MAX);
    let (left1, left2) = (BETA1.powi(steps), BETA2.powi(steps));
    let mean_square = kernels::vector::sum_of_squares(moments.first.flat()) / (1.0 - left1).powi(2);
    let square = moments.second.flat().iter().map(|value| f64::from(*value)).sum::<f64>() / (1.0 - left2);
    let c = (1.0 - BETA1) / (1.0 + BETA1) * (1.0 + left1) / (1.0 - left1);
    let noise = (square - mean_square) / (1.0 - c);
    let signal = square - noise;
    (signal > 1e-6 * noise && noise >= 0.0).then(|| noise / signal)
}

/// What one step does to one tensor. Penalties and weight decay shrink matrices; vectors (intercepts and
/// norms) only where a group says so.
fn rule(settings: &Settings, learning_rate: f64, step: u64, scale: f32, name: &str, matrix: bool) -> Rule {
    let group = settings.group.iter().rfind(|group| belongs(group, name));
    let on_matrix = |value: f64| if matrix { value as f32 } else { 0.0 };
    let penalty = Penalty { scale, l1: on_matrix(settings.l1), l2: on_matrix(settings.l2) };
    let learning_rate = (learning_rate * group.map_or(1.0, |group| group.learning_rate_factor)) as f32;
    let decay = group.and_then(|group| group.weight_decay);
    let weight_decay = decay.map_or_else(|| on_matrix(settings.weight_decay), |decay| decay as f32);
    let momentum = settings.momentum as f32;
    let (beta1, beta2) = (BETA1 as f32, BETA2 as f32);
    let adam = Adam { learning_rate, beta1, beta2, epsilon: 1e-8, weight_decay, step, penalty };
    match settings.optimizer {
        Optimizer::Sgd => Rule::Sgd(Sgd { learning_rate, momentum, penalty }),
        Optimizer::Adam => Rule::Adam(adam),
        Optimizer::Adamw => Rule::AdamW(adam),
        Optimizer::Rmsprop => Rule::RmsProp(RmsProp { learning_rate, alpha: 0.99, epsilon: 1e-8, momentum, penalty }),
        Optimizer::Lion => Rule::Lion(Lion { learning_rate, beta1: 0.9, beta2: 0.99, weight_decay, penalty }),
    }
}

/// Whether a tensor's name has the parts of a group's pattern, in order.
pub(crate) fn belongs(group: &GroupConfig, name: &str) -> bool {
    let mut rest = name;
    group.tensors.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use nn::random::Random;

    use super::*;

    /// Gradients of a known mean and variance, averaged as Adam does.
    #[test]
    fn noise_is_told_from_signal() {
        let list = [("w".to_owned(), vec![10_000])];
        for (mean, deviation) in [(1.0_f32, 0.5_f32), (0.2, 1.0), (1.0, 0.0)] {
            let mut moments = Moments::new(&list, Optimizer::Adam);
            let mut random = Random::new(7, &[]);
            for step in 1..=300_u64 {
                let [first, second] = [&mut moments.first, &mut moments.second].map(Tensors::flat_mut);
                for (m, v) in first.iter_mut().zip(second) {
                    let gradient = mean + deviation * random.normal() as f32;
                    *m += 0.1 * (gradient - *m);
                    *v += 0.001 * (gradient * gradient - *v);
                }
                if step < NOISE_STEPS {
                    assert_eq!(noise_to_signal(Optimizer::Adam, step, &moments), None);
                }
            }
            let wanted = f64::from(deviation / mean).powi(2);
            let found = noise_to_signal(Optimizer::Adamw, 300, &moments).unwrap_or(0.0);
            assert!((found - wanted).abs() < 0.05 * wanted + 1e-4, "{found} instead of {wanted}");
            assert_eq!(noise_to_signal(Optimizer::Sgd, 300, &moments), None);
        }
    }
}
