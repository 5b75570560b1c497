//! What can go wrong with labels.

use base::{Failure, Fault};

/// What can go wrong with labels.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabelsError {
    /// The input does not hold together.
    #[error("failed to use {object}: {what}")]
    Input {
        /// Of what.
        object: &'static str,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A statistic has no value for these ratings.
    #[error("failed to compute {statistic}: {what}")]
    Undefined {
        /// Which one.
        statistic: &'static str,
        /// Why.
        what: String,
    },
    /// A line of a corrections file is wrong.
    #[error("failed to read corrections, line {line}: {what}")]
    Corrections {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
}

impl LabelsError {
    pub(crate) fn input(object: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Input { object, what: what.into(), hint: hint.into() }
    }

    pub(crate) fn undefined(statistic: &'static str, what: impl Into<String>) -> Self {
        Self::Undefined { statistic, what: what.into() }
    }
}

impl Failure for LabelsError {
    fn fault(&self) -> Fault {
        Fault::User
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Input { hint, .. } | Self::Corrections { hint, .. } => Some(hint.clone()),
            Self::Undefined { .. } => Some(
                "Agreement needs at least two ratings of some items, and more than one value among them.".to_owned(),
            ),
        }
    }
}
