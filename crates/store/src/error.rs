//! What can go wrong with a store.

use std::io;
use std::path::{Path, PathBuf};

use base::failure::{io_fault, io_hint};
use base::{Failure, Fault};

/// What can go wrong with a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file or folder of the store could not be used.
    #[error("failed to {verb} {}: {error}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// With what.
        path: PathBuf,
        /// What came back.
        error: io::Error,
    },
    /// The database refused.
    #[error("failed to use the database {}: {error}", path.display())]
    Database {
        /// Which database.
        path: PathBuf,
        /// What it said.
        error: sqlx::Error,
    },
    /// The database was made by a newer program.
    #[error("failed to open {}: it has version {found}, and this yard knows up to {known}", path.display())]
    Newer {
        /// Which database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that is known here.
        known: i64,
    },
    /// There is no store in the folder.
    #[error("failed to open the store of {}: there is none", folder.display())]
    NoStore {
        /// The project's folder.
        folder: PathBuf,
    },
    /// Another process runs stages of this project.
    #[error("failed to lock {}: another yard is running here", folder.display())]
    Busy {
        /// The store's folder.
        folder: PathBuf,
    },
    /// A file of an artifact is not what it was.
    #[error("failed to read artifact {digest}: {file} is damaged ({what})")]
    Damaged {
        /// The artifact.
        digest: String,
        /// The file in it.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// A name that the store does not know.
    #[error("failed to find {what} {name}")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
        /// What there is instead.
        known: Vec<String>,
    },
    /// A key of this name is in use.
    #[error("failed to make the key {name}: there is one of this name")]
    KeyExists {
        /// The name.
        name: String,
    },
    /// A key cannot be called so.
    #[error("failed to make the key {name:?}: that is no name")]
    KeyName {
        /// The name.
        name: String,
    },
    /// The system gives no random bytes.
    #[error("failed to make a secret: {message}")]
    Random {
        /// What it said.
        message: String,
    },
    /// There is nothing to roll back to.
    #[error("failed to roll back {name}: no earlier version was champion")]
    NoPrevious {
        /// The model's name.
        name: String,
    },
}

impl StoreError {
    /// For `map_err` on input and output.
    pub fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { verb, path, error }
    }

    fn disk_full(&self) -> bool {
        match self {
            Self::Database { error: sqlx::Error::Database(error), .. } => error.code().as_deref() == Some("13"),
            Self::Database { error: sqlx::Error::Io(error), .. } | Self::Io { error, .. } => {
                matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}

impl Failure for StoreError {
    fn fault(&self) -> Fault {
        match self {
            _ if self.disk_full() => Fault::User,
            Self::Io { error, .. } => io_fault(error),
            Self::Database { .. } | Self::Random { .. } => Fault::Internal,
            _ => Fault::User,
        }
    }

    fn hint(&self) -> Option<String> {
        if self.disk_full() {
            return io_hint(&io::Error::from(io::ErrorKind::StorageFull));
        }
        match self {
            Self::Io { error, .. } => io_hint(error),
            Self::Database { .. } => Some(
                "If the file is damaged, move it away: artifacts stay in objects/, and `yard run` makes a new database.".to_owned(),
            ),
            Self::Newer { .. } => Some("Use the yard that made it, or a newer one.".to_owned()),
            Self::NoStore { .. } => Some("Run `yard run` there first, or name the project's folder with --project.".to_owned()),
            Self::Busy { .. } => Some("Wait for it to end, or stop it; nothing was changed.".to_owned()),
            Self::Damaged { .. } => Some(
                "Run `yard run --repair`: damaged artifacts are set aside in .yard/damaged/ and made again.".to_owned(),
            ),
            Self::KeyExists { .. } => Some("Choose another name, or end that key first with `yard key revoke NAME`.".to_owned()),
            Self::KeyName { .. } => Some("Use 1 to 64 lower-case letters, digits, `-`, `_` or `.`.".to_owned()),
            Self::Random { .. } => None,
            Self::NotFound { known, what: "the key", .. } if known.is_empty() => {
                Some("There is none in use; `yard key create NAME` makes one.".to_owned())
            }
            Self::NotFound { known, .. } if known.is_empty() => Some("There is none yet: `yard run` makes the first.".to_owned()),
            Self::NotFound { known, .. } => Some(format!("Known: {}.", known.join(", "))),
            Self::NoPrevious { .. } => Some("Promote a second version first; `yard models` lists them.".to_owned()),
        }
    }
}
