//! Label errors of numbers: the rows whose out-of-sample residual stands out.
//!
//! The score is the robust z of the residual: 0.6745 · (r − median) / MAD (Iglewicz and Hoaglin 1993).

use serde::Serialize;

use crate::error::LabelsError;

/// A row whose number is likely wrong.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NumberIssue {
    /// The row, from 0.
    pub row: usize,
    /// Its number.
    pub given: f64,
    /// What was predicted without having seen it.
    pub predicted: f64,
    /// |robust z| of given − predicted.
    pub score: f64,
}

/// The rows with |robust z| of at least `score_min` (3.5 is usual), largest first.
///
/// # Errors
/// When the lengths differ or a number is not finite.
pub fn find_number_issues(given: &[f64], predicted: &[f64], score_min: f64) -> Result<Vec<NumberIssue>, LabelsError> {
    let wrong =
        |what: String| Err(LabelsError::input("numbers", what, "Give one finite prediction for each finite target."));
    if given.len() != predicted.len() {
        return wrong(format!("{} targets and {} predictions", given.len(), predicted.len()));
    }
    if let Some(row) = given.iter().zip(predicted).position(|(a, b)| !(a - b).is_finite()) {
        return wrong(format!("row {row} is not finite"));
    }
    if given.is_empty() {
        return Ok(Vec::new());
    }
    let residuals: Vec<f64> = given.iter().zip(predicted).map(|(a, b)| a - b).collect();
    let middle = median(residuals.clone());
    let deviations: Vec<f64> = residuals.iter().map(|residual| (residual - middle).abs()).collect();
    let mad = median(deviations.clone());
    // More than half the residuals are equal: the mean deviation stands in, with its own constant.
    let scale =
        if mad > 0.0 { mad / 0.6745 } else { 1.253_314 * deviations.iter().sum::<f64>() / deviations.len() as f64 };
    let mut issues: Vec<NumberIssue> = Vec::new();
    for (row, residual) in residuals.iter().enumerate() {
        let score = if scale > 0.0 { (residual - middle).abs() / scale } else { 0.0 };
        if score >= score_min && score > 0.0 {
            issues.push(NumberIssue { row, given: given[row], predicted: predicted[row], score });
        }
    }
    issues.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)));
    Ok(issues)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) }
}
