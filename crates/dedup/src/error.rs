//! What can go wrong while duplicates are looked for.

use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong while duplicates are looked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DedupError {
    /// A file could not be used: missing, no permission, no room.
    #[error("failed to {verb} {}: {error}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// What came back.
        error: io::Error,
    },
    /// A file is cut off, damaged, of another kind or of another version.
    #[error("failed to read {}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A file was made with other settings than those it is read with.
    #[error("failed to use {}: it was made with other settings", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
    },
    /// A setting is out of its range.
    #[error("failed to use the setting {name}: {what}")]
    Config {
        /// The setting.
        name: &'static str,
        /// What is wrong.
        what: String,
    },
    /// Ids did not ascend within one writer.
    #[error("failed to add document {id}: document {before} came before it")]
    Order {
        /// The id that is out of order.
        id: u64,
        /// The id written before.
        before: u64,
    },
    /// Two documents have one id.
    #[error("failed to tell documents apart: the id {id} was given twice")]
    Duplicate {
        /// The id.
        id: u64,
    },
    /// A row, an image or a document is not what was announced.
    #[error("failed to add document {id}: {what}")]
    Input {
        /// The document's id.
        id: u64,
        /// What is wrong.
        what: String,
    },
}

impl DedupError {
    pub(crate) fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { verb, path, error }
    }

    pub(crate) fn file(path: &Path, what: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), what: what.into() }
    }

    pub(crate) fn config(name: &'static str, what: impl Into<String>) -> Self {
        Self::Config { name, what: what.into() }
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Io { error, .. } => match error.kind() {
                io::ErrorKind::NotFound => "Check the path, and whether the step before has finished.",
                io::ErrorKind::PermissionDenied => "Check who owns the file and its permissions.",
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "The disk is full. Make room and run the same command again."
                }
                _ => return None,
            },
            Self::File { .. } => "Delete the file and run the same command again: it is made anew.",
            Self::Settings { .. } => "Delete the file, or give back the settings it was made with.",
            Self::Config { .. } => "Change the setting in the project file.",
            Self::Order { .. } => "A writer takes documents in the order of their ids.",
            Self::Duplicate { .. } => "Ids are global: give each worker a range of its own.",
            Self::Input { .. } => "Leave the document out, or mend it.",
        };
        Some(text.to_owned())
    }
}
