//! What can go wrong in a search.

use std::io;
use std::path::{Path, PathBuf};

use base::failure::{io_fault, io_hint};
use base::project::ProjectError;
use base::{Failure, Fault};
use store::StoreError;

/// What can go wrong in a search.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TuneError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A value of the search space is none that its key can have.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// A trial failed in a way that says nothing about its settings.
    #[error("{0}")]
    Objective(Box<dyn Failure>),
    /// A file could not be used.
    #[error("failed to {verb} {}: {error}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// What came back.
        error: io::Error,
    },
    /// The project file has no `[tune]`.
    #[error("failed to plan the search: yard.toml has no [tune] table")]
    NoTable,
    /// The sampler refused.
    #[error("failed to choose settings: {what}")]
    Sampler {
        /// What it said.
        what: String,
    },
    /// Ctrl-C; finished trials are in the journal.
    #[error("failed to finish the search: it was stopped after {done} of {trials} trials")]
    Stopped {
        /// Finished trials.
        done: usize,
        /// Planned trials.
        trials: u32,
    },
    /// No trial came to a validation loss.
    #[error("failed to find settings: none of {trials} trials came to an end; the first said: {reason}")]
    NoneDone {
        /// Trials made.
        trials: usize,
        /// What the first of them said.
        reason: String,
    },
}

impl TuneError {
    /// For `map_err` on input and output.
    pub fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { verb, path, error }
    }
}

impl Failure for TuneError {
    fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            Self::Project(error) => error.fault(),
            Self::Objective(error) => error.fault(),
            Self::Io { error, .. } => io_fault(error),
            Self::NoTable | Self::NoneDone { .. } => Fault::User,
            Self::Sampler { .. } => Fault::Internal,
            Self::Stopped { .. } => Fault::Stopped,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Project(error) => error.hint(),
            Self::Objective(error) => error.hint(),
            Self::Io { error, .. } => io_hint(error),
            Self::NoTable => Some(
                "Add [tune] with trials = 20, and [tune.search] with \"train.learning_rate\" = { low = 1e-4, high = 1e-1, log = true }.".to_owned(),
            ),
            Self::NoneDone { .. } => {
                Some("Narrow the ranges of [tune.search], or try one of the settings with `yard train --set KEY=VALUE`.".to_owned())
            }
            Self::Stopped { .. } => Some("Finished trials are kept: the same command continues.".to_owned()),
            Self::Sampler { .. } => None,
        }
    }
}
