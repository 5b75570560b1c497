//! Values and rows that stand apart, worst first.
//!
//! Numbers: the robust z-score 0.6745 · (x − median) / MAD with 3.5 as the usual limit (Iglewicz and
//! Hoaglin 1993), or Tukey's fences at 1.5 interquartile ranges. Rows: isolation forest. Names: rare
//! ones. Texts: the robust z-score of the logarithm of their length.

use base::Value;
use serde::Serialize;

use crate::error::TablesError;
use crate::forest::{ForestConfig, isolation_forest};

/// How outliers are looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct OutlierConfig {
    /// The largest |robust z| that is usual. Default 3.5.
    pub robust_z_max: f64,
    /// The fences' distance in interquartile ranges. Default 3 ("far out").
    pub fence_ranges: f64,
    /// A name is rare below this share. Default 0.001.
    pub rare_share: f64,
    /// The smallest isolation score of an outlier, 0 to 1. Default 0.65.
    pub isolation_min: f64,
    /// The most outliers that are listed. Default 1000.
    pub listed_max: usize,
}

impl Default for OutlierConfig {
    fn default() -> Self {
        Self { robust_z_max: 3.5, fence_ranges: 3.0, rare_share: 0.001, isolation_min: 0.65, listed_max: 1000 }
    }
}

/// How an outlier was found, and its score's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutlierKind {
    /// |robust z|.
    RobustZ,
    /// Interquartile ranges beyond the nearer quartile.
    Fence,
    /// −log₁₀ of the name's share.
    RareName,
    /// |robust z| of the logarithm of the length.
    Length,
    /// The isolation forest's score, 0.5 usual, 1 the most isolated.
    Isolation,
}

/// A row that stands apart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outlier {
    /// The row, from 0.
    pub row: usize,
    /// The larger, the further apart; see the kind.
    pub score: f64,
    /// How it was found.
    pub kind: OutlierKind,
    /// What stands there, or nothing for rows as a whole.
    pub value: String,
}

/// The statistics that tell usual numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Robust {
    /// The median.
    pub median: f64,
    /// The median of |x − median|.
    pub mad: f64,
    /// The first quartile, interpolated linearly between order statistics.
    pub quartile_1: f64,
    /// The third quartile.
    pub quartile_3: f64,
    /// What |x − median| is divided by: MAD / 0.6745, or 1.2533 times the mean deviation where the MAD is
    /// 0, or 0 where all numbers are equal.
    pub scale: f64,
}

/// The robust statistics of finite numbers; none of an empty list.
#[must_use]
pub fn robust(values: &[f64]) -> Option<Robust> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    if sorted.is_empty() {
        return None;
    }
    sorted.sort_by(f64::total_cmp);
    let median = quantile(&sorted, 0.5);
    let mut deviations: Vec<f64> = sorted.iter().map(|value| (value - median).abs()).collect();
    deviations.sort_by(f64::total_cmp);
    let mad = quantile(&deviations, 0.5);
    let mean = deviations.iter().sum::<f64>() / deviations.len() as f64;
    let scale = if mad > 0.0 { mad / 0.6745 } else { 1.253_314 * mean };
    Some(Robust { median, mad, quartile_1: quantile(&sorted, 0.25), quartile_3: quantile(&sorted, 0.75), scale })
}

/// Linear interpolation between order statistics, as numpy's default.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let low = at.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    // Weights first: the difference of two finite numbers may not be finite.
    let share = at - low as f64;
    sorted[low] * (1.0 - share) + sorted[high] * share
}

/// Numbers beyond the robust z's limit, then those beyond the fences only; each worst first.
#[must_use]
pub fn number_outliers(values: &[Value], config: &OutlierConfig) -> Vec<Outlier> {
    let numbers: Vec<(usize, f64)> =
        values.iter().enumerate().filter_map(|(row, value)| Some((row, value.as_number()?))).collect();
    let all: Vec<f64> = numbers.iter().map(|(_, number)| *number).collect();
    let Some(robust) = robust(&all) else { return Vec::new() };
    let range = robust.quartile_3 - robust.quartile_1;
    let (mut by_z, mut by_fence) = (Vec::new(), Vec::new());
    for (row, number) in numbers {
        let z = if robust.scale > 0.0 { (number - robust.median).abs() / robust.scale } else { 0.0 };
        let beyond = (robust.quartile_1 - number).max(number - robust.quartile_3);
        let outlier = |kind, score| Outlier { row, score, kind, value: number.to_string() };
        if z > config.robust_z_max {
            by_z.push(outlier(OutlierKind::RobustZ, z));
        } else if range > 0.0 && beyond > config.fence_ranges * range {
            by_fence.push(outlier(OutlierKind::Fence, beyond / range));
        }
    }
    let mut all = worst_first(by_z, config.listed_max);
    all.extend(worst_first(by_fence, config.listed_max - all.len()));
    all
}

/// Names rarer than the limit.
#[must_use]
pub fn category_outliers(values: &[Value], config: &OutlierConfig) -> Vec<Outlier> {
    let mut counts = std::collections::HashMap::new();
    for text in values.iter().filter_map(Value::as_text) {
        *counts.entry(text).or_insert(0_u64) += 1;
    }
    let total: u64 = counts.values().sum();
    let mut found = Vec::new();
    for (row, text) in values.iter().enumerate().filter_map(|(row, value)| Some((row, value.as_text()?))) {
        let share = counts[text] as f64 / total as f64;
        if share < config.rare_share {
            found.push(Outlier { row, score: -share.log10(), kind: OutlierKind::RareName, value: text.to_owned() });
        }
    }
    worst_first(found, config.listed_max)
}

/// Texts much shorter or longer than the others.
#[must_use]
pub fn text_outliers(values: &[Value], config: &OutlierConfig) -> Vec<Outlier> {
    let lengths: Vec<(usize, f64, usize)> = values
        .iter()
        .enumerate()
        .filter_map(|(row, value)| {
            let length = value.as_text()?.chars().count();
            Some((row, (1.0 + length as f64).ln(), length))
        })
        .collect();
    let logarithms: Vec<f64> = lengths.iter().map(|entry| entry.1).collect();
    let Some(robust) = robust(&logarithms).filter(|robust| robust.scale > 0.0) else { return Vec::new() };
    let found = lengths.into_iter().filter_map(|(row, logarithm, length)| {
        let score = (logarithm - robust.median).abs() / robust.scale;
        let value = format!("{length} characters");
        (score > config.robust_z_max).then_some(Outlier { row, score, kind: OutlierKind::Length, value })
    });
    worst_first(found.collect(), config.listed_max)
}

/// Rows that an isolation forest over their numbers isolates early. `columns` holds numbers, column by
/// column; a missing one counts as the column's median.
///
/// # Errors
/// When the columns are not equally long.
pub fn row_outliers(
    columns: &[Vec<Value>],
    config: &OutlierConfig,
    forest: &ForestConfig,
) -> Result<Vec<Outlier>, TablesError> {
    let filled: Vec<Vec<f64>> = columns
        .iter()
        .map(|column| {
            let numbers: Vec<Option<f64>> = column.iter().map(Value::as_number).collect();
            let present: Vec<f64> = numbers.iter().flatten().copied().collect();
            let median = robust(&present).map_or(0.0, |robust| robust.median);
            numbers.into_iter().map(|number| number.filter(|n| n.is_finite()).unwrap_or(median)).collect()
        })
        .collect();
    let scores = isolation_forest(&filled, forest)?;
    let found = scores.into_iter().enumerate().filter(|(_, score)| *score >= config.isolation_min);
    let outlier = |(row, score)| Outlier { row, score, kind: OutlierKind::Isolation, value: String::new() };
    Ok(worst_first(found.map(outlier).collect(), config.listed_max))
}

fn worst_first(mut found: Vec<Outlier>, listed_max: usize) -> Vec<Outlier> {
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)));
    found.truncate(listed_max);
    found
}
