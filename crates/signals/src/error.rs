//! What can go wrong with signals.

use std::io;
use std::path::PathBuf;

use words::WordsError;

/// What can go wrong with signals.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignalsError {
    /// The document is too long.
    #[error(transparent)]
    Words(#[from] WordsError),
    /// A model's file could not be used.
    #[error("failed to {verb} {}: {error}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// What came back.
        error: io::Error,
    },
    /// A model's file is not sound.
    #[error("failed to read the model {}: {what}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A word list cannot be searched for.
    #[error("failed to read the word list {name:?}: {what}")]
    WordList {
        /// Its name.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// There is nothing to learn from.
    #[error("failed to train the language model: {what}")]
    Training {
        /// What is wrong.
        what: &'static str,
    },
}

impl SignalsError {
    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Words(error) => error.hint(),
            Self::Io { .. } => None,
            Self::Model { .. } => {
                Some("Fetch the file again: a language identification model is fastText's .bin or .ftz, an n-gram model is our own.".to_owned())
            }
            Self::WordList { .. } => Some("Give one word or phrase a line.".to_owned()),
            Self::Training { .. } => Some("Give it some hundred lines of clean text.".to_owned()),
        }
    }
}
