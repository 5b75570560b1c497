//! A matrix of probabilities: one row for each example, one column for each class.

use crate::error::LabelsError;

/// How far a row's sum may be from 1.
const SUM_TOLERANCE: f64 = 1e-3;

/// Probabilities, row after row.
#[derive(Debug, Clone, PartialEq)]
pub struct Probabilities {
    classes: usize,
    values: Vec<f64>,
}

impl Probabilities {
    /// Probabilities of classes that exclude each other: every row sums to 1 (within 0.001).
    ///
    /// # Errors
    /// When the length is no multiple of `classes`, a value is not in 0 to 1, or a row does not sum to 1.
    pub fn new(classes: usize, values: Vec<f64>) -> Result<Self, LabelsError> {
        let probabilities = Self::independent(classes, values)?;
        for (row, values) in probabilities.values.chunks_exact(classes).enumerate() {
            let sum: f64 = values.iter().sum();
            if (sum - 1.0).abs() > SUM_TOLERANCE {
                return Err(wrong(format!("row {row} sums to {sum}, not to 1")));
            }
        }
        Ok(probabilities)
    }

    /// Probabilities of classes of which several may hold at once (multi-label).
    ///
    /// # Errors
    /// When the length is no multiple of `classes`, or a value is not in 0 to 1.
    pub fn independent(classes: usize, values: Vec<f64>) -> Result<Self, LabelsError> {
        if classes == 0 || !values.len().is_multiple_of(classes) {
            return Err(wrong(format!("{} values are not rows of {classes} classes", values.len())));
        }
        if let Some(at) = values.iter().position(|value| !(-1e-9..=1.0 + 1e-6).contains(value)) {
            return Err(wrong(format!("row {} has {}, which is no probability", at / classes, values[at])));
        }
        Ok(Self { classes, values })
    }

    /// The number of classes.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.values.len() / self.classes
    }

    /// One row.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.classes..][..self.classes]
    }

    /// All values, row after row.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The class with the largest probability of a row, the first of equals.
    #[must_use]
    pub fn best(&self, row: usize) -> usize {
        argmax(self.row(row))
    }

    /// That there is one label below `classes` for each row.
    pub(crate) fn expect_labels(&self, labels: &[u32]) -> Result<(), LabelsError> {
        if labels.len() != self.rows() {
            return Err(wrong(format!("{} labels for {} rows of probabilities", labels.len(), self.rows())));
        }
        if let Some(row) = labels.iter().position(|&label| label as usize >= self.classes) {
            let what = format!("row {row} has the label {}, and there are {} classes", labels[row], self.classes);
            return Err(wrong(what));
        }
        Ok(())
    }
}

/// The first of the largest.
pub(crate) fn argmax(values: &[f64]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

fn wrong(what: String) -> LabelsError {
    LabelsError::input("probabilities", what, "Give one row of class probabilities for each labelled row.")
}
