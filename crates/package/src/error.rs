//! What can go wrong while packaging.

use std::io;
use std::path::{Path, PathBuf};

use base::failure::{io_fault, io_hint};
use base::{Failure, Fault};
use store::StoreError;

/// What can go wrong while packaging.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// The tag is not one that an image can have.
    #[error("failed to use the image tag {tag:?}")]
    Tag {
        /// The tag.
        tag: String,
    },
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
    /// The program is not one that an image can hold.
    #[error("failed to read the program {}: {what}", path.display())]
    NotAProgram {
        /// The program or library.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A shared library that the program needs is not on this machine.
    #[error("failed to find the shared library {library}, which {} needs", needed_by.display())]
    MissingLibrary {
        /// The library.
        library: String,
        /// What needs it.
        needed_by: PathBuf,
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// A file of the model cannot stand in an image under its name.
    #[error("failed to put {path:?} into the image: {what}")]
    Name {
        /// The file's path in the model.
        path: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A file changed between the moment it was digested and the moment it was packed.
    #[error("failed to pack {}: it changed meanwhile", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The model's own files do not say what it is.
    #[error("failed to read {} of the model: {what}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The user asked to stop.
    #[error("failed to finish the image: stopped")]
    Stopped,
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl PackageError {
    /// For `map_err` on input and output.
    pub(crate) fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { verb, path, error }
    }
}

impl Failure for PackageError {
    fn fault(&self) -> Fault {
        match self {
            Self::Io { error, .. } => io_fault(error),
            Self::Store(error) => error.fault(),
            Self::Stopped => Fault::Stopped,
            _ => Fault::User,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Tag { .. } => Some(
                "Write package.tag as name:tag, such as banking:1, or as host/name:tag; names are lower-case."
                    .to_owned(),
            ),
            Self::Io { error, .. } => io_hint(error),
            Self::NotAProgram { .. } => Some(
                "An image holds a 64-bit Linux (ELF) program: package with the `yard` of a Linux machine.".to_owned(),
            ),
            Self::MissingLibrary { library, searched, .. } => {
                let folders: Vec<_> = searched.iter().map(|folder| folder.display().to_string()).collect();
                Some(format!(
                    "Install the package that brings {library}, or name its folder in /etc/ld.so.conf.d; looked in {}.",
                    folders.join(", ")
                ))
            }
            Self::Name { .. } => Some("Rename the file in the model's folder.".to_owned()),
            Self::Changed { .. } => {
                Some("Run the same command again when no other program writes that file.".to_owned())
            }
            Self::Model { .. } => {
                Some("Train the model again with this yard, or package with the yard that made it.".to_owned())
            }
            Self::Stopped => Some("Run the same command again to make the image.".to_owned()),
            Self::Store(error) => error.hint(),
        }
    }
}
