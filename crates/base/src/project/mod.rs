//! The project file `yard.toml`: its types, how it is read, and what is checked before anything runs.
//!
//! Reading has three steps, and every error of all three is reported at once: the TOML is parsed with
//! positions, the tree is held against the JSON Schema made from the types in `file`, and
//! `check` looks at combinations that no schema can express.

mod check;
mod data;
mod diagnostic;
pub mod file;
mod release;
mod schema;
mod tree;

use std::path::{Path, PathBuf};

pub use crate::value::ColumnType;
pub use diagnostic::{Diagnostic, Diagnostics};
pub use file::*;
pub use schema::{KeyKind, key_kind, reference_page, schema};
use serde_json::Value as Json;

use crate::failure::{Failure, Fault, io_fault, io_hint};

/// The name of the project file in a project's folder.
pub const FILE_NAME: &str = "yard.toml";
/// The largest project file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A project file that was read and found sound.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    /// What the file says, defaults filled in.
    pub file: ProjectFile,
    /// The folder that relative paths start at.
    pub folder: PathBuf,
    /// The file itself.
    pub path: PathBuf,
    /// What the file says, without the defaults: what overrides are applied to.
    written: Json,
}

/// The project file could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectError {
    /// The file could not be read.
    #[error("failed to read the project file {}: {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file says something wrong; all of it is listed.
    #[error("failed to understand the project file: {0}")]
    Invalid(Diagnostics),
    /// A `--set` or a search names a key that the file cannot have, or a wrong value for it.
    #[error("failed to set {key}: {message}")]
    Set {
        /// The key as the user gave it.
        key: String,
        /// What is wrong.
        message: String,
    },
}

impl Failure for ProjectError {
    fn fault(&self) -> Fault {
        match self {
            Self::Read { error, .. } => io_fault(error),
            _ => Fault::User,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { error, path } if error.kind() == std::io::ErrorKind::NotFound => Some(format!(
                "Run `yard init DATA` to write a project file from your data, or name a folder that holds a {FILE_NAME} (looked for {}).",
                path.display()
            )),
            Self::Read { error, .. } => io_hint(error),
            Self::Invalid(_) => None,
            Self::Set { .. } => {
                Some("Keys are written as in the reference, such as train.learning_rate or input.0.buckets.".to_owned())
            }
        }
    }
}

impl Project {
    /// Reads the project file of a folder, or the file itself.
    ///
    /// # Errors
    /// [`ProjectError::Read`], or [`ProjectError::Invalid`] with everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, ProjectError> {
        let path = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
        let read = |error| ProjectError::Read { path: path.clone(), error };
        let size = std::fs::metadata(&path).map_err(read)?.len();
        if size > FILE_BYTES_MAX {
            return Err(read(std::io::Error::new(
                std::io::ErrorKind::FileTooLarge,
                format!("it has {size} bytes; a project file has at most {FILE_BYTES_MAX}"),
            )));
        }
        let bytes = std::fs::read(&path).map_err(read)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            read(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                format!("it is not UTF-8 text (byte {})", error.utf8_error().valid_up_to()),
            ))
        })?;
        Self::parse(&text, &path)
    }

    /// Reads a project file from its text. `path` names it in errors and gives the folder.
    ///
    /// # Errors
    /// [`ProjectError::Invalid`] with everything that is wrong with it.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ProjectError> {
        let mut found = Diagnostics::new(path, text);
        let tree = tree::parse(text, &mut found);
        schema::validate(&tree, &mut found);
        if !found.is_empty() {
            return Err(ProjectError::Invalid(found));
        }
        let written = tree.to_json();
        let file = read_types(&written, &tree, &mut found).ok_or(ProjectError::Invalid(found.clone()))?;
        check::check(&file, &tree, &mut found);
        if !found.is_empty() {
            return Err(ProjectError::Invalid(found));
        }
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { file, folder: folder.to_owned(), path: path.to_owned(), written })
    }

    /// The same project with some keys set to other values; keys are dotted, such as
    /// `train.learning_rate` or `input.0.buckets`.
    ///
    /// # Errors
    /// [`ProjectError::Set`] for a key or a value that the file cannot have.
    pub fn with(&self, settings: &[(String, Json)]) -> Result<Self, ProjectError> {
        let mut written = self.written.clone();
        for (key, value) in settings {
            set(&mut written, key, value).map_err(|message| ProjectError::Set { key: key.clone(), message })?;
        }
        let names = settings.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(", ");
        let fail = |message: String| ProjectError::Set { key: names.clone(), message };
        let tree = tree::Node::from_json(&written);
        let mut found = Diagnostics::new(&self.path, "");
        schema::validate(&tree, &mut found);
        if !found.is_empty() {
            return Err(fail(found.messages()));
        }
        let file: ProjectFile = serde_json::from_value(written.clone()).map_err(|error| fail(error.to_string()))?;
        check::check(&file, &tree, &mut found);
        if !found.is_empty() {
            return Err(fail(found.messages()));
        }
        Ok(Self { file, folder: self.folder.clone(), path: self.path.clone(), written })
    }

    /// A source path of the project file, relative to the project's folder.
    #[must_use]
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }
}

/// The types, once the schema has found nothing wrong; what serde still refuses becomes a diagnostic.
fn read_types(written: &Json, tree: &tree::Node, found: &mut Diagnostics) -> Option<ProjectFile> {
    serde_json::from_value(written.clone())
        .map_err(|error| found.push(tree.span.clone(), "", error.to_string(), None))
        .ok()
}

/// Sets one dotted key in a JSON tree, making tables on the way.
fn set(root: &mut Json, key: &str, value: &Json) -> Result<(), String> {
    let parts: Vec<&str> = key.split('.').collect();
    let (last, path) = parts.split_last().ok_or("the key is empty")?;
    let mut here = root;
    for part in path {
        here = match here {
            Json::Object(map) => map.entry((*part).to_owned()).or_insert_with(|| Json::Object(serde_json::Map::new())),
            Json::Array(items) => {
                let count = items.len();
                part.parse::<usize>()
                    .ok()
                    .and_then(|index| items.get_mut(index))
                    .ok_or_else(|| format!("{part:?} is not the number of one of the {count} entries"))?
            }
            _ => return Err(format!("{part:?} stands below something that is not a table")),
        };
    }
    match here {
        Json::Object(map) => {
            map.insert((*last).to_owned(), value.clone());
            Ok(())
        }
        _ => Err(format!("{last:?} stands below something that is not a table")),
    }
}

#[cfg(test)]
mod tests;
