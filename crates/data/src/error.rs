//! What can go wrong with raw data.

use std::io;
use std::path::{Path, PathBuf};

use base::failure::{io_fault, io_hint};
use base::project::ProjectError;
use base::{Failure, Fault};
use dataset::DatasetError;
use infer::InferError;
use store::StoreError;

/// What can go wrong with raw data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
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
    /// Something in a file is wrong.
    #[error("failed to read {}, line {line}: {what}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A file as a whole is wrong.
    #[error("failed to read {}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A column of the project file is not in the data.
    #[error("failed to find the column {column:?} in {}", path.display())]
    Column {
        /// The column.
        column: String,
        /// The file.
        path: PathBuf,
        /// The columns there are.
        known: Vec<String>,
    },
    /// The rows cannot be learned from.
    #[error("failed to use the data: {what}")]
    Rows {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// Ctrl-C.
    #[error("stopped in the data stage")]
    Stopped,
    /// DataFusion refused.
    #[error("failed to read {} through DataFusion: {what}", path.display())]
    Engine {
        /// The file.
        path: PathBuf,
        /// What it said.
        what: String,
    },
    /// A cluster did not do its part.
    #[error("failed to work on a cluster: {what}")]
    Cluster {
        /// What it said.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The dataset could not be written.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The preprocessing could not be fitted.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// The sources could not be found.
    #[error(transparent)]
    Sources(#[from] sources::SourcesError),
    /// Duplicates could not be found.
    #[error(transparent)]
    Dedup(#[from] dedup::DedupError),
    /// The policy for personal data cannot be met.
    #[error(transparent)]
    Personal(#[from] personal::PersonalError),
    /// The rows could not be held against what is expected of them.
    #[error(transparent)]
    Tables(#[from] tables::TablesError),
    /// Labels could not be looked at.
    #[error(transparent)]
    Labels(#[from] labels::LabelsError),
    /// Documents could not be measured.
    #[error(transparent)]
    Signals(#[from] signals::SignalsError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The written project file was not sound.
    #[error(transparent)]
    Project(#[from] ProjectError),
}

impl DataError {
    /// For `map_err` on input and output.
    pub fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { verb, path, error }
    }

    pub(crate) fn engine<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |error| Self::Engine { path, what: error.to_string() }
    }

    pub(crate) fn rows(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Rows { what: what.into(), hint: hint.into() }
    }

    /// What is said where a cluster is asked for and was left out.
    #[must_use]
    pub fn without_clusters() -> Self {
        Self::cluster(
            "this yard was built without clusters",
            "Build it with them: cargo build --release --package modelyard-yard --features ballista",
        )
    }

    pub(crate) fn cluster(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Cluster { what: what.into(), hint: hint.into() }
    }

    pub(crate) fn file(path: &Path, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), what: what.into(), hint: hint.into() }
    }

    pub(crate) fn line(path: &Path, line: u64, what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Line { path: path.to_owned(), line, what: what.into(), hint: hint.into() }
    }
}

impl Failure for DataError {
    fn fault(&self) -> Fault {
        match self {
            Self::Io { error, .. } => io_fault(error),
            Self::Stopped => Fault::Stopped,
            Self::Engine { .. } => Fault::Internal,
            Self::Dataset(error) => error.fault(),
            Self::Infer(error) => error.fault(),
            Self::Sources(error) => error.fault(),
            Self::Store(error) => error.fault(),
            Self::Project(error) => error.fault(),
            _ => Fault::User,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io { error, .. } => io_hint(error),
            Self::Line { hint, .. } | Self::File { hint, .. } | Self::Rows { hint, .. } | Self::Cluster { hint, .. } => {
                Some(hint.clone())
            },
            Self::Column { column, known, .. } => {
                let nearest = known.iter().min_by_key(|name| strsim::damerau_levenshtein(name, column));
                let near = nearest.map_or(String::new(), |name| format!("Did you mean {name:?}? "));
                Some(format!("{near}The file has the columns {}.", known.join(", ")))
            }
            Self::Stopped => Some("Run the same command again; nothing was lost.".to_owned()),
            Self::Engine { .. } => Some(
                "The first look found nothing wrong with the file, so this is ours: please report it. Meanwhile write the rows as CSV or Parquet."
                    .to_owned(),
            ),
            Self::Dataset(error) => error.hint(),
            Self::Infer(error) => error.hint(),
            Self::Sources(error) => error.hint(),
            Self::Dedup(error) => error.hint(),
            Self::Signals(error) => error.hint(),
            Self::Tables(error) => error.hint(),
            Self::Labels(error) => error.hint(),
            Self::Personal(error) => Some(error.hint()),
            Self::Store(error) => error.hint(),
            Self::Project(error) => error.hint(),
        }
    }
}
