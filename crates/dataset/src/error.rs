//! What can go wrong with the files of a dataset.

use std::io;
use std::path::{Path, PathBuf};

use base::failure::{io_fault, io_hint};
use base::{Failure, Fault};
use infer::InferError;

/// What can go wrong with the files of a dataset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
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
    /// A file is not what it should be.
    #[error("failed to read {}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The preprocessing could not be used.
    #[error(transparent)]
    Infer(#[from] InferError),
}

impl DatasetError {
    /// For `map_err` on input and output.
    pub fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { verb, path, error }
    }

    /// For `map_err` on whatever says that a file is not what it should be.
    pub fn damaged<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |error| Self::Damaged { path, what: error.to_string() }
    }
}

impl Failure for DatasetError {
    fn fault(&self) -> Fault {
        match self {
            Self::Io { error, .. } => io_fault(error),
            Self::Damaged { .. } => Fault::User,
            Self::Infer(error) => error.fault(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io { error, .. } => io_hint(error),
            Self::Damaged { .. } => {
                Some("The file was changed after it was made. Run `yard run --repair` to make it again.".to_owned())
            }
            Self::Infer(error) => error.hint(),
        }
    }
}
