//! Krippendorff's alpha: agreement of any number of annotators, with gaps, on four levels of
//! measurement.
//!
//! Source: Krippendorff, *Computing Krippendorff's Alpha-Reliability* (2011): the coincidence matrix,
//! and the squared differences of each level.

use crate::bootstrap::{BootstrapConfig, Interval, bootstrap};
use crate::error::LabelsError;

/// The most different values; the coincidence matrix is square in them.
const VALUES_MAX: usize = 2048;

/// What may be said of the distance between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Equal or not.
    Nominal,
    /// An order: the distance is how many ratings lie between.
    Ordinal,
    /// Differences.
    Interval,
    /// Ratios; values are 0 or more.
    Ratio,
}

/// Krippendorff's alpha; `ratings[unit][annotator]`, `None` where an annotator gave none. Categories
/// are numbered by the caller.
///
/// # Errors
/// When a rating is not finite (or negative on the ratio level), there are more than 2,048 different
/// values, or alpha is undefined.
pub fn krippendorff_alpha(ratings: &[Vec<Option<f64>>], level: Level) -> Result<f64, LabelsError> {
    let (units, values) = index(ratings, level)?;
    let all: Vec<usize> = (0..units.len()).collect();
    alpha_of(&units, &values, level, &all)
}

/// Krippendorff's alpha with its bootstrap interval over units.
///
/// # Errors
/// Those of [`krippendorff_alpha`] and [`bootstrap`].
pub fn krippendorff_alpha_interval(
    ratings: &[Vec<Option<f64>>],
    level: Level,
    config: &BootstrapConfig,
) -> Result<Interval, LabelsError> {
    let (units, values) = index(ratings, level)?;
    bootstrap(units.len(), config, |drawn| alpha_of(&units, &values, level, drawn))
}

/// The units that can be paired, as indices into the sorted different values.
fn index(ratings: &[Vec<Option<f64>>], level: Level) -> Result<(Vec<Vec<usize>>, Vec<f64>), LabelsError> {
    let bad = |value: &f64| !value.is_finite() || (level == Level::Ratio && *value < 0.0);
    if let Some(unit) = ratings.iter().position(|unit| unit.iter().flatten().any(bad)) {
        let hint = "Ratings are finite numbers, and 0 or more on the ratio level; leave a gap where there is none.";
        return Err(LabelsError::input("ratings", format!("unit {unit} has a value out of range"), hint));
    }
    let pairable = ratings.iter().map(|unit| unit.iter().flatten().copied().collect::<Vec<f64>>());
    let pairable: Vec<Vec<f64>> = pairable.filter(|unit| unit.len() >= 2).collect();
    // Adding zero makes -0.0 and 0.0 one value.
    let mut values: Vec<f64> = pairable.iter().flatten().map(|value| value + 0.0).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    if values.len() > VALUES_MAX {
        let what = format!("{} different values, and {VALUES_MAX} are the most", values.len());
        return Err(LabelsError::input("ratings", what, "Round the ratings."));
    }
    let at = |value: &f64| values.partition_point(|known| known < value);
    Ok((pairable.iter().map(|unit| unit.iter().map(at).collect()).collect(), values))
}

fn alpha_of(units: &[Vec<usize>], values: &[f64], level: Level, drawn: &[usize]) -> Result<f64, LabelsError> {
    let count = values.len();
    let mut coincidences = vec![0.0; count * count];
    for &unit in drawn {
        let ratings = &units[unit];
        let share = 1.0 / (ratings.len() - 1) as f64;
        for (i, &a) in ratings.iter().enumerate() {
            for (j, &b) in ratings.iter().enumerate() {
                if i != j {
                    coincidences[a * count + b] += share;
                }
            }
        }
    }
    let totals: Vec<f64> = (0..count).map(|c| coincidences[c * count..][..count].iter().sum()).collect();
    let all: f64 = totals.iter().sum();
    let mut below = Vec::with_capacity(count + 1);
    below.push(0.0);
    for total in &totals {
        below.push(below[below.len() - 1] + total);
    }
    let squared = |c: usize, k: usize| -> f64 {
        let difference = match level {
            Level::Nominal => 1.0,
            Level::Ordinal => below[k + 1] - below[c] - f64::midpoint(totals[c], totals[k]),
            Level::Interval => values[k] - values[c],
            Level::Ratio => (values[k] - values[c]) / (values[k] + values[c]),
        };
        difference * difference
    };
    let (mut observed, mut expected) = (0.0, 0.0);
    for c in 0..count {
        for k in c + 1..count {
            let distance = squared(c, k);
            observed += coincidences[c * count + k] * distance;
            expected += totals[c] * totals[k] * distance;
        }
    }
    if expected == 0.0 {
        return Err(LabelsError::undefined("Krippendorff's alpha", "there is no variation among paired ratings"));
    }
    Ok(1.0 - (all - 1.0) * observed / expected)
}
