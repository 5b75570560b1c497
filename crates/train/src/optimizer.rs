//! The update of all parameters from all gradients: clipping, penalties, groups, one parallel pass of the
//! optimiser's kernel, and the moving average of the weights.

use base::project::{GroupConfig, Optimizer};
use kernels::optimizer::{Adam, Lion, Penalty, RmsProp, Sgd};
use kernels::step::{Rule, Slot, clip_factor, norm_of_all, step_all};
use nn::Tensors;

use crate::checkpoint::State;
use crate::plan::Settings;

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
    let adam = Adam { learning_rate, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay, step, penalty };
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
