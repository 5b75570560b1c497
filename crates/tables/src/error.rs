//! What can go wrong with tables.

use base::{Failure, Fault};

/// What can go wrong with tables.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TablesError {
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
    /// The file of expectations is wrong.
    #[error("failed to read the expectations, line {line}: {what}")]
    Expectations {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
}

impl TablesError {
    pub(crate) fn input(object: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Input { object, what: what.into(), hint: hint.into() }
    }
}

impl Failure for TablesError {
    fn fault(&self) -> Fault {
        Fault::User
    }

    fn hint(&self) -> Option<String> {
        let (Self::Input { hint, .. } | Self::Expectations { hint, .. }) = self;
        Some(hint.clone())
    }
}
