//! Whether a column's traffic is still like its training data.
//!
//! Two numbers are looked at, because each misleads alone. The population stability index says how
//! *large* a change is, and is large by chance when there are few requests. The p-value says how *sure*
//! a change is, and is tiny for trifles when there are many requests. So:
//!
//! | PSI above `psi_max` | p below `p_value_min` | verdict |
//! |---|---|---|
//! | yes | yes | drift: large, and not by chance |
//! | no | yes | slight: not by chance, and too small to matter by itself |
//! | yes | no | stable: with so few requests chance alone gives this |
//! | no | no | stable |
//!
//! p-values are multiplied by the number of tests made (Bonferroni), so that `p_value_min` bounds the
//! chance that *any* column is called changed when none is.

use base::project::MonitorConfig;
use infer::sketch::{ColumnSketch, Distribution, Sketch};
use serde::Serialize;

use crate::statistics::{Test, TwoSample, chi_square, kolmogorov_smirnov, psi};

/// How a column, or everything together, stands; the later the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing that chance does not explain.
    Stable,
    /// Changed for certain, by little.
    Slight,
    /// Changed for certain, by much.
    Drift,
}

/// Where a column stands in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// What clients send.
    Input,
    /// What the model answers.
    Output,
}

/// One way of looking at one column, compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeatureReport {
    /// What is looked at: `value`, `label`, `characters`, `new_words`, `confidence`, `probability`, or
    /// `missing`.
    pub feature: String,
    /// The population stability index.
    pub psi: f64,
    /// The two-sample test; `None` where there are too few counts for one.
    pub test: Option<TwoSample>,
    /// Its p-value times the number of tests made, at most 1.
    pub p_value_corrected: Option<f64>,
    /// The verdict.
    pub verdict: Verdict,
    /// Why, in words; empty where it is stable.
    pub reason: String,
}

/// One column, compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnReport {
    /// The column's name.
    pub column: String,
    /// Input or output.
    pub role: Role,
    /// The share of training rows in which it was missing.
    pub missing_before: f64,
    /// The share of requests in which it was missing.
    pub missing_now: f64,
    /// The worst verdict of its features.
    pub verdict: Verdict,
    /// What was compared.
    pub features: Vec<FeatureReport>,
}

/// Compares traffic with the baseline as it was read from a model's folder, column by column. Both must
/// have the same bins, as a sketch made by [`Sketch::like`] has.
#[must_use]
pub fn compare_sketches(baseline: &Sketch, traffic: &Sketch, config: &MonitorConfig) -> Vec<ColumnReport> {
    let inputs = baseline.inputs.iter().zip(&traffic.inputs).map(|pair| (Role::Input, pair));
    let outputs = baseline.outputs.iter().zip(&traffic.outputs).map(|pair| (Role::Output, pair));
    let mut columns: Vec<ColumnReport> = inputs
        .chain(outputs)
        .map(|(role, (before, now))| compare_column(role, (before, baseline.rows), (now, traffic.rows)))
        .collect();
    let features = || columns.iter().flat_map(|column| &column.features);
    let tests = features().filter(|feature| feature.test.is_some()).count();
    for column in &mut columns {
        for feature in &mut column.features {
            judge(feature, tests, config);
        }
        column.verdict = column.features.iter().map(|feature| feature.verdict).max().unwrap_or(Verdict::Stable);
    }
    columns
}

fn compare_column(
    role: Role,
    (before, rows_before): (&ColumnSketch, u64),
    (now, rows_now): (&ColumnSketch, u64),
) -> ColumnReport {
    let mut features: Vec<FeatureReport> = before
        .features
        .iter()
        .filter_map(|feature| {
            let counts = now.feature(&feature.name)?;
            Some(compare_counts(&feature.name, &feature.counts, counts))
        })
        .collect();
    if before.missing > 0 || now.missing > 0 {
        let split = |missing: u64, rows: u64| [missing, rows.saturating_sub(missing)];
        let (before, now) = (split(before.missing, rows_before), split(now.missing, rows_now));
        features.push(found("missing", psi(&before, &now), chi_square(&before, &now)));
    }
    ColumnReport {
        column: before.name.clone(),
        role,
        missing_before: share(before.missing, rows_before),
        missing_now: share(now.missing, rows_now),
        verdict: Verdict::Stable,
        features,
    }
}

fn compare_counts(name: &str, before: &Distribution, now: &Distribution) -> FeatureReport {
    let (counts_before, counts_now) = (before.counts(), now.counts());
    let test = match before {
        Distribution::Labels { .. } => chi_square(&counts_before, &counts_now),
        Distribution::Histogram(_) => kolmogorov_smirnov(&counts_before, &counts_now),
    };
    found(name, psi(&counts_before, &counts_now), test)
}

fn found(feature: &str, psi: Option<f64>, test: Option<TwoSample>) -> FeatureReport {
    FeatureReport {
        feature: feature.to_owned(),
        psi: psi.unwrap_or(0.0),
        test,
        p_value_corrected: None,
        verdict: Verdict::Stable,
        reason: String::new(),
    }
}

fn judge(feature: &mut FeatureReport, tests: usize, config: &MonitorConfig) {
    let Some(test) = feature.test else { return };
    let p_value = (test.p_value * tests as f64).min(1.0);
    feature.p_value_corrected = Some(p_value);
    if p_value >= config.p_value_min {
        return;
    }
    let (psi, name) = (
        feature.psi,
        match test.test {
            Test::ChiSquare => "chi-square",
            Test::KolmogorovSmirnov => "Kolmogorov-Smirnov",
        },
    );
    let (verdict, size) = if psi > config.psi_max {
        (Verdict::Drift, format!("PSI {psi:.3} is above {}", config.psi_max))
    } else {
        (Verdict::Slight, format!("PSI {psi:.3} is small"))
    };
    feature.verdict = verdict;
    feature.reason = format!("{size}; {name} {:.3}, p = {p_value:.1e} over {tests} tests", test.statistic);
}

fn share(count: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { count as f64 / all as f64 }
}

#[cfg(test)]
mod tests;
