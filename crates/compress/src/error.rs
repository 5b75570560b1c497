//! What can go wrong while a model is compressed.

use std::io;
use std::path::{Path, PathBuf};

use base::failure::{io_fault, io_hint};
use base::{Failure, Fault};
use dataset::DatasetError;
use infer::InferError;
use store::StoreError;

/// What can go wrong while a model is compressed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompressError {
    /// The compressed model is worse than the project file allows. The model that went in is untouched.
    #[error(
        "failed to keep the quality: {metric} went from {before:.4} to {after:.4} ({what} {change:.4}), and {allowed} is allowed"
    )]
    Refused {
        /// The metric.
        metric: String,
        /// Its value before.
        before: f64,
        /// Its value after.
        after: f64,
        /// What the change is: `a fall of`, or `a relative rise of`.
        what: &'static str,
        /// By how much it got worse.
        change: f64,
        /// By how much it may.
        allowed: f64,
    },
    /// There is no metric to hold against the gate.
    #[error("failed to measure the quality: {what}")]
    Unmeasured {
        /// What is missing.
        what: String,
    },
    /// The model is compressed already.
    #[error("failed to compress the model: its weights are int8 already")]
    AlreadyCompressed,
    /// A file could not be read or written.
    #[error("failed to {verb} {}: {error}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// What came back.
        error: io::Error,
    },
    /// The user asked to stop.
    #[error("failed to finish the compression: stopped")]
    Stopped,
    /// The model could not be used.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// The dataset could not be read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl CompressError {
    /// For `map_err` on input and output.
    pub(crate) fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { verb, path, error }
    }
}

impl Failure for CompressError {
    fn fault(&self) -> Fault {
        match self {
            Self::Refused { .. } => Fault::Gate,
            Self::Unmeasured { .. } | Self::AlreadyCompressed => Fault::User,
            Self::Io { error, .. } => io_fault(error),
            Self::Stopped => Fault::Stopped,
            Self::Infer(error) => error.fault(),
            Self::Dataset(error) => error.fault(),
            Self::Store(error) => error.fault(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { change, .. } => Some(format!(
                "The model as trained is untouched. Allow more with compress.quality_drop_max = {:.4}, or leave the [compress] table out.",
                (change * 1e4).ceil() / 1e4
            )),
            Self::Unmeasured { .. } => {
                Some("Give the dataset more rows with a known output, or leave the [compress] table out.".to_owned())
            }
            Self::AlreadyCompressed => Some("Compress the model as it was trained.".to_owned()),
            Self::Io { error, .. } => io_hint(error),
            Self::Stopped => Some("Run the same command again to compress the model.".to_owned()),
            Self::Infer(error) => error.hint(),
            Self::Dataset(error) => error.hint(),
            Self::Store(error) => error.hint(),
        }
    }
}
