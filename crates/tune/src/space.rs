//! The search space: each key of `[tune.search]` as a parameter of `optimizer`.
//!
//! `optimizer` 1.0.1 needs three things made good, and tests hold us to each:
//! - its Parzen estimator finds a parameter's past values by their *distribution*, so that two keys with
//!   equal ranges would learn from each other's values. Here no two distributions are equal: a
//!   range's upper end is moved by less than one part in 10⁹, choices are listed more than once.
//! - it stores a stopped trial with the value 0, which the estimator takes for the best loss of all, and
//!   its estimator has no prior, so that it closes in on its first good trials. [`Fair`] mends both.
//! - a whole number is drawn as a number and rounded, so that both ends are as likely as the rest.

use std::collections::BTreeMap;

use base::project::{KeyKind, SearchRange, key_kind};
use optimizer::distribution::{Distribution, FloatDistribution};
use optimizer::parameter::{CategoricalParam, FloatParam, ParamValue, Parameter};
use optimizer::sampler::{CompletedTrial, RandomSampler, Sampler, TpeSampler};
use optimizer::{Trial, TrialState};
use serde_json::{Value as Json, json};

use crate::error::TuneError;

/// One key of the search.
pub(crate) struct Dimension {
    key: String,
    kind: Kind,
}

enum Kind {
    Number { low: f64, high: f64, integer: bool, parameter: FloatParam },
    Choice { choices: Vec<Json>, parameter: CategoricalParam<usize> },
}

fn is_integer(key: &str) -> bool {
    key_kind(key) == Ok(KeyKind::Integer)
}

/// The values whose soundness stands for the whole range.
pub(crate) fn values_to_check(key: &str, range: &SearchRange) -> Vec<Json> {
    match &range.choices {
        Some(choices) => choices.clone(),
        None => [range.low, range.high].into_iter().flatten().map(|value| number(value, is_integer(key))).collect(),
    }
}

fn number(value: f64, integer: bool) -> Json {
    if integer { json!(value.round() as i64) } else { json!(value) }
}

/// The dimensions of a search space, in the order of the keys.
pub(crate) fn dimensions(search: &BTreeMap<String, SearchRange>) -> Vec<Dimension> {
    let mut taken: Vec<Distribution> = Vec::new();
    let mut all = Vec::new();
    for (key, range) in search {
        let kind = match (&range.choices, range.low, range.high) {
            (Some(choices), ..) => choice(choices, &taken),
            (None, Some(low), Some(high)) => range_of(low, high, range.log, is_integer(key), &taken),
            // The project file's check refuses a range without ends.
            _ => continue,
        };
        taken.push(match &kind {
            Kind::Number { parameter, .. } => parameter.distribution(),
            Kind::Choice { parameter, .. } => parameter.distribution(),
        });
        all.push(Dimension { key: key.clone(), kind });
    }
    all
}

fn choice(choices: &[Json], taken: &[Distribution]) -> Kind {
    let mut listed: Vec<usize> = (0..choices.len()).collect();
    loop {
        let parameter = CategoricalParam::new(listed.clone());
        if !taken.contains(&parameter.distribution()) {
            return Kind::Choice { choices: choices.to_vec(), parameter };
        }
        listed.extend(0..choices.len());
    }
}

fn range_of(low: f64, high: f64, log: bool, integer: bool, taken: &[Distribution]) -> Kind {
    // Whole numbers get half a unit on either side; just less, so that rounding stays inside.
    let margin = if integer { 0.499_999 } else { 0.0 };
    let (bottom, mut top) = (low - margin, high + margin);
    loop {
        let parameter = FloatParam::new(bottom, top);
        let parameter = if log { parameter.log_scale() } else { parameter };
        if !taken.contains(&parameter.distribution()) {
            return Kind::Number { low, high, integer, parameter };
        }
        top -= (top - bottom) * 1e-10;
    }
}

/// Chooses a value for every key.
pub(crate) fn suggest(dimensions: &[Dimension], trial: &mut Trial) -> Result<Vec<(String, Json)>, TuneError> {
    let refused = |error: optimizer::Error| TuneError::Sampler { what: error.to_string() };
    let mut settings = Vec::new();
    for dimension in dimensions {
        let value = match &dimension.kind {
            Kind::Number { low, high, integer, parameter } => {
                let drawn = trial.suggest_param(parameter).map_err(refused)?;
                let drawn = if *integer { drawn.round() } else { drawn };
                number(drawn.clamp(*low, *high), *integer)
            }
            Kind::Choice { choices, parameter } => choices[trial.suggest_param(parameter).map_err(refused)?].clone(),
        };
        settings.push((dimension.key.clone(), value));
    }
    Ok(settings)
}

/// The share of trials that the estimator takes for good.
const GOOD: f64 = 0.25;

/// The tree-structured Parzen estimator of `optimizer`, with what it lacks: a stopped trial counts with
/// its last loss in place of the 0 that is stored for it, and the prior of Bergstra et al. (2011) has
/// its place among the good trials, so that the search never closes in on one point for good.
pub(crate) struct Fair {
    estimator: TpeSampler,
    prior: RandomSampler,
}

impl Fair {
    /// `startup` trials are chosen at random before the estimator begins.
    pub(crate) fn new(seed: u64, startup: usize) -> Result<Self, TuneError> {
        let estimator = TpeSampler::builder().seed(seed).n_startup_trials(startup).gamma(GOOD).build();
        let estimator = estimator.map_err(|error| TuneError::Sampler { what: error.to_string() })?;
        Ok(Self { estimator, prior: RandomSampler::with_seed(seed) })
    }
}

impl Sampler for Fair {
    fn sample(&self, distribution: &Distribution, trial: u64, history: &[CompletedTrial]) -> ParamValue {
        let coin = FloatDistribution { low: 0.0, high: 1.0, log_scale: false, step: None };
        let drawn = self.prior.sample(&Distribution::Float(coin), trial, &[]);
        let good = (history.len() as f64 * GOOD).ceil();
        if matches!(drawn, ParamValue::Float(drawn) if drawn < 1.0 / (good + 1.0)) {
            return self.prior.sample(distribution, trial, &[]);
        }
        let mut history = history.to_vec();
        for one in &mut history {
            if one.state != TrialState::Complete {
                one.value = one.intermediate_values.last().map_or(f64::MAX, |(_, loss)| *loss);
            }
        }
        self.estimator.sample(distribution, trial, &history)
    }
}
