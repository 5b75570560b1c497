//! Served traffic against the training data: has what clients send, or what the model answers, drifted?
//!
//! The server stores sketches (counts by label and by bin) of every answered request with its version.
//! [`compare`] adds up those of a version, and holds them against the baseline that was made of the
//! training data: [`drift`] says how a verdict comes about, `statistics` computes it.
//!
//! **Invariant:** this crate sees counts only, never a request.

pub mod drift;
mod error;
mod statistics;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use base::project::MonitorConfig;
use infer::InferError;
use infer::description::BASELINE_FILE;
use infer::sketch::Sketch;
use serde::Serialize;
use store::{Store, Version};

pub use drift::{ColumnReport, FeatureReport, Role, Verdict, compare_sketches};
pub use error::MonitorError;
pub use statistics::{Test, TwoSample, chi_square, kolmogorov_smirnov, psi};

/// What is known of a version's traffic.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MonitorReport {
    /// The model's name.
    pub name: String,
    /// The version that answered.
    pub version: u32,
    /// How many requests it answered. Every row of a request is one.
    pub requests: u64,
    /// How many rows of training data they are compared with.
    pub baseline_rows: u64,
    /// When the first came, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// When the last came, in milliseconds since 1970.
    pub to_ms: Option<i64>,
    /// What the comparison found.
    pub outcome: Outcome,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Too few requests to say anything.
    TooFew {
        /// How many there are.
        have: u64,
        /// How many are needed.
        need: u64,
    },
    /// Every column, compared.
    Compared {
        /// The worst verdict.
        verdict: Verdict,
        /// The number of tests made, which p-values are corrected for.
        tests: usize,
        /// The inputs, then the outputs.
        columns: Vec<ColumnReport>,
    },
}

/// Reads the baseline of a model's folder.
///
/// # Errors
/// [`MonitorError::Infer`] when it is missing or damaged.
pub fn read_baseline(model: &Path) -> Result<Sketch, MonitorError> {
    let path = model.join(BASELINE_FILE);
    let file = File::open(&path).map_err(InferError::io("open", &path))?;
    Ok(serde_json::from_reader(BufReader::new(file)).map_err(InferError::damaged(&path))?)
}

/// Compares the traffic of a version since a moment with its training data.
///
/// # Errors
/// [`MonitorError`] when sketches cannot be read, or are not of this baseline.
pub fn compare(
    store: &Store,
    version: &Version,
    baseline: &Sketch,
    config: &MonitorConfig,
    since_ms: i64,
) -> Result<MonitorReport, MonitorError> {
    let stored = store.sketches(&version.name, version.number, since_ms)?;
    let mut traffic = Sketch::like(baseline);
    for sketch in &stored {
        let body: Sketch = serde_json::from_value(sketch.body.clone()).map_err(|error| MonitorError::Sketch {
            version: format!("{}@{}", version.name, version.number),
            message: error.to_string(),
        })?;
        traffic.merge(&body)?;
    }
    let need = u64::from(config.requests_min);
    let outcome = if traffic.rows < need {
        Outcome::TooFew { have: traffic.rows, need }
    } else {
        let columns = compare_sketches(baseline, &traffic, config);
        let features = || columns.iter().flat_map(|column| &column.features);
        let tests = features().filter(|feature| feature.test.is_some()).count();
        let verdict = columns.iter().map(|column| column.verdict).max().unwrap_or(Verdict::Stable);
        Outcome::Compared { verdict, tests, columns }
    };
    Ok(MonitorReport {
        name: version.name.clone(),
        version: version.number,
        requests: traffic.rows,
        baseline_rows: baseline.rows,
        from_ms: stored.iter().map(|sketch| sketch.started_ms).min(),
        to_ms: stored.iter().map(|sketch| sketch.ended_ms).max(),
        outcome,
    })
}

#[cfg(test)]
mod tests;
