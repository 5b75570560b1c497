//! Label errors where several labels may hold at once: confident learning, one class against the rest.

use serde::Serialize;

use crate::confident::{ConfidentConfig, confident_joint, issue_mask};
use crate::error::LabelsError;
use crate::probabilities::Probabilities;

/// A class of a row that is likely given, or missing, by mistake.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassIssue {
    /// The class.
    pub class: u32,
    /// Whether the row carries it.
    pub given: bool,
    /// The probability of the class.
    pub probability: f64,
}

/// A row with at least one such class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MultiLabelIssue {
    /// The row, from 0.
    pub row: usize,
    /// The classes, worst first.
    pub classes: Vec<ClassIssue>,
    /// The worst of the classes' self-confidences, 0 (worst) to 1.
    pub score: f64,
}

/// The rows with a label likely given or missing by mistake, worst first.
///
/// # Errors
/// When labels and probabilities do not fit each other.
pub fn find_multilabel_issues(
    labels: &[Vec<u32>],
    probabilities: &Probabilities,
    config: &ConfidentConfig,
) -> Result<Vec<MultiLabelIssue>, LabelsError> {
    let rows = probabilities.rows();
    let flat: Vec<u32> = labels.iter().map(|set| set.iter().copied().max().unwrap_or(0)).collect();
    probabilities.expect_labels(&flat)?;
    let mut found: Vec<Vec<ClassIssue>> = vec![Vec::new(); rows];
    for class in 0..probabilities.classes() {
        let given: Vec<u32> = labels.iter().map(|set| u32::from(set.contains(&(class as u32)))).collect();
        let mut values = Vec::with_capacity(2 * rows);
        for row in 0..rows {
            let p = probabilities.row(row)[class].clamp(0.0, 1.0);
            values.extend([1.0 - p, p]);
        }
        let binary = Probabilities::new(2, values)?;
        let joint = confident_joint(&given, &binary)?;
        for (row, _) in issue_mask(&given, &binary, config, &joint).iter().enumerate().filter(|(_, marked)| **marked) {
            let probability = probabilities.row(row)[class];
            found[row].push(ClassIssue { class: class as u32, given: given[row] == 1, probability });
        }
    }
    let own = |issue: &ClassIssue| if issue.given { issue.probability } else { 1.0 - issue.probability };
    let mut issues: Vec<MultiLabelIssue> = found
        .into_iter()
        .enumerate()
        .filter(|(_, classes)| !classes.is_empty())
        .map(|(row, mut classes)| {
            classes.sort_by(|a, b| own(a).total_cmp(&own(b)).then(a.class.cmp(&b.class)));
            let score = own(&classes[0]);
            MultiLabelIssue { row, classes, score }
        })
        .collect();
    issues.sort_by(|a, b| a.score.total_cmp(&b.score).then(a.row.cmp(&b.row)));
    Ok(issues)
}
