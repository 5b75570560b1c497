//! Confidence intervals by the percentile bootstrap (Efron 1979): units are drawn again with
//! replacement, from a seed.

use rayon::prelude::*;
use serde::Serialize;

use crate::error::LabelsError;
use crate::random::Random;

/// The most resamples.
const RESAMPLES_MAX: usize = 100_000;

/// How an interval is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct BootstrapConfig {
    /// How many resamples.
    pub resamples: usize,
    /// The interval's coverage, 0.95 for instance.
    pub level: f64,
    /// Where resamples come from.
    pub seed: u64,
}

impl Default for BootstrapConfig {
    fn default() -> Self {
        Self { resamples: 1000, level: 0.95, seed: 0 }
    }
}

/// An estimate with its interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Interval {
    /// On the data as they are.
    pub estimate: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The coverage asked for.
    pub level: f64,
    /// Resamples on which the statistic had a value.
    pub resamples: usize,
}

/// The statistic on all of `units` and its interval; `statistic` gets the drawn units' indices.
///
/// # Errors
/// The statistic's own on the data as they are; settings out of range; no resample with a value.
pub fn bootstrap(
    units: usize,
    config: &BootstrapConfig,
    statistic: impl Fn(&[usize]) -> Result<f64, LabelsError> + Sync,
) -> Result<Interval, LabelsError> {
    if config.resamples == 0 || config.resamples > RESAMPLES_MAX || !(config.level > 0.0 && config.level < 1.0) {
        let what = format!("{} resamples at a level of {}", config.resamples, config.level);
        let hint = "Give 1 to 100,000 resamples and a level between 0 and 1.";
        return Err(LabelsError::input("the bootstrap's settings", what, hint));
    }
    let all: Vec<usize> = (0..units).collect();
    let estimate = statistic(&all)?;
    let drawn: Vec<Option<f64>> = (0..config.resamples)
        .into_par_iter()
        .map(|resample| {
            let mut random = Random::new(config.seed, resample as u64);
            let units: Vec<usize> = (0..units).map(|_| random.below(units)).collect();
            statistic(&units).ok().filter(|value| value.is_finite())
        })
        .collect();
    let mut values: Vec<f64> = drawn.into_iter().flatten().collect();
    if values.is_empty() {
        return Err(LabelsError::undefined("the interval", "the statistic has no value on any resample"));
    }
    values.sort_by(f64::total_cmp);
    let tail = (1.0 - config.level) / 2.0;
    let low = quantile(&values, tail);
    let high = quantile(&values, 1.0 - tail);
    Ok(Interval { estimate, low, high, level: config.level, resamples: values.len() })
}

/// Linear interpolation between order statistics.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let low = at.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}
