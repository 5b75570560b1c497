//! What can go wrong with a tokenizer.

use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong with a tokenizer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
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
    /// It is no tokenizer, or one that contradicts itself.
    #[error("failed to read the tokenizer: {what}")]
    Damaged {
        /// What is wrong.
        what: String,
    },
    /// It asks for something that is not built here; guessing would give wrong ids.
    #[error("failed to read the tokenizer: {what} is not supported")]
    Unsupported {
        /// The part, by its name in the file.
        what: String,
    },
    /// A text has no tokens in this vocabulary.
    #[error("failed to encode the text: {what}")]
    Encode {
        /// What is wrong.
        what: String,
    },
    /// Settings of a training that cannot be met.
    #[error("failed to train the tokenizer: {what}")]
    Settings {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The caller's flag said so.
    #[error("stopped while training the tokenizer")]
    Stopped,
}

impl TokenizerError {
    pub(crate) fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { verb, path, error }
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }

    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }

    pub(crate) fn settings(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Settings { what: what.into(), hint: hint.into() }
    }
}

impl TokenizerError {
    /// What to do about it; an input or output error speaks for itself.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged { .. } => {
                Some("Fetch tokenizer.json again, or save it again with the library it came from.".to_owned())
            }
            Self::Unsupported { .. } => Some("Use a tokenizer without that part, or train one.".to_owned()),
            Self::Encode { .. } => Some("Give the tokenizer a token for what it does not know.".to_owned()),
            Self::Settings { hint, .. } => Some(hint.clone()),
            Self::Io { .. } | Self::Stopped => None,
        }
    }
}
