//! What can go wrong before anything is read: patterns, folders, stores, queries.

use std::io;
use std::path::{Path, PathBuf};

use base::failure::{io_fault, io_hint};
use base::{Failure, Fault};

/// What can go wrong in finding sources. Damage inside them is no error but an [`crate::Item`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourcesError {
    /// A path or folder could not be used.
    #[error("failed to {verb} {}: {error}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// What came back.
        error: io::Error,
    },
    /// A pattern is none.
    #[error("failed to read the pattern {pattern:?}: {what}")]
    Pattern {
        /// The pattern, without secrets.
        pattern: String,
        /// What is wrong.
        what: String,
    },
    /// A pattern names nothing.
    #[error("failed to find anything for {pattern:?}")]
    Nothing {
        /// The pattern, without secrets.
        pattern: String,
    },
    /// Too many objects.
    #[error("failed to list the sources: there are more than {max}")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// A store refused.
    #[error("failed to {verb} {url}: {what}")]
    Store {
        /// What was tried.
        verb: &'static str,
        /// Where, without secrets.
        url: String,
        /// What it said.
        what: String,
    },
    /// A value of the configuration is wrong.
    #[error("failed to use {key} = {value:?}: {what}")]
    Setting {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What is wrong.
        what: String,
    },
}

impl SourcesError {
    pub(crate) fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { verb, path, error }
    }

    #[expect(clippy::needless_pass_by_value, reason = "for map_err, which gives the error away")]
    pub(crate) fn pattern(pattern: &str, what: impl ToString) -> Self {
        Self::Pattern { pattern: crate::place::without_secrets(pattern), what: what.to_string() }
    }

    #[expect(clippy::needless_pass_by_value, reason = "for map_err, which gives the error away")]
    pub(crate) fn store(verb: &'static str, url: &str, what: impl ToString) -> Self {
        let what = crate::place::without_secrets_in(&what.to_string());
        Self::Store { verb, url: crate::place::without_secrets(url), what }
    }
}

impl Failure for SourcesError {
    fn fault(&self) -> Fault {
        match self {
            Self::Io { error, .. } => io_fault(error),
            _ => Fault::User,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Io { error, .. } => return io_hint(error),
            Self::Pattern { .. } => {
                "Write a path, a folder, a pattern with *, ?, ** or {a,b}, or a URL: s3://, gs://, az://, https://, sqlite:, postgres://."
            }
            Self::Nothing { .. } => {
                "Check the path; relative paths start at the project's folder, and names that begin with a dot must be named."
            }
            Self::TooMany { .. } => "Name fewer files, or raise objects_max.",
            Self::Store { .. } => {
                "Check the address, and the credentials in the environment (AWS_*, GOOGLE_*, AZURE_*)."
            }
            Self::Setting { .. } => "Correct the value.",
        };
        Some(hint.to_owned())
    }
}
