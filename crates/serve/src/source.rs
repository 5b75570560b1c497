//! Where a server's model comes from: a packaged folder, or a version of a registry that may change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::{Digest, VersionName};
use store::{Key, Store, StoredSketch};

use crate::error::ServeError;

/// How often a registry is asked which version should answer.
const POLL: Duration = Duration::from_millis(200);

/// The version that a source wants served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The name to serve under; `None` takes the model's own.
    pub name: Option<String>,
    /// The version's number.
    pub version: u32,
    /// The model artifact, where it is one of a store.
    pub artifact: Option<Digest>,
}

/// Where a server's model comes from, and where the sketches of its traffic go. Every method may
/// block, and is called on threads that may.
pub trait Source: Send + Sync + 'static {
    /// The version that should answer now.
    ///
    /// # Errors
    /// [`ServeError`] when that cannot be found out.
    fn wanted(&self) -> Result<Wanted, ServeError>;

    /// The folder of a wanted version's model, checked as far as the source can.
    ///
    /// # Errors
    /// [`ServeError`] when the model is gone or damaged.
    fn folder(&self, wanted: &Wanted) -> Result<PathBuf, ServeError>;

    /// A smaller model of the same tokens that guesses ahead for a language model of others, where one was given.
    fn draft(&self) -> Option<PathBuf> {
        None
    }

    /// How often [`Source::wanted`] may change its answer; `None` where it never does.
    fn poll(&self) -> Option<Duration>;

    /// Keeps a sketch of traffic. A source without a store keeps none: the server then holds the sum in
    /// memory, and `/v2/models/NAME/traffic` shows it.
    ///
    /// # Errors
    /// [`ServeError`] when it could not be stored; the server keeps it and tries again.
    fn keep(&self, sketch: &StoredSketch) -> Result<Kept, ServeError>;

    /// The keys that open the server; `None` where there is no store to keep them.
    ///
    /// # Errors
    /// [`ServeError`] when they could not be read; the server goes on with those it knows.
    fn keys(&self) -> Result<Option<Vec<Key>>, ServeError> {
        Ok(None)
    }

    /// Adds tokens to what keys have used, by the keys' numbers.
    ///
    /// # Errors
    /// [`ServeError`] when they could not be stored; the server tries again.
    fn charge_keys(&self, _: &[(i64, u64)]) -> Result<(), ServeError> {
        Ok(())
    }
}

/// What became of a sketch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is in the store.
    Stored,
    /// There is no store; the server holds it.
    NoStore,
}

/// A model on the disk: a folder such as the one in a packaged image, a folder of Hugging Face's, or a GGUF file.
#[derive(Debug, Clone)]
pub struct FolderSource {
    folder: PathBuf,
    name: Option<String>,
    version: u32,
    draft: Option<PathBuf>,
}

impl FolderSource {
    /// The model of a folder or a file, as a version of the model's own name.
    #[must_use]
    pub fn new(folder: &Path, version: u32) -> Self {
        let others = !folder.join(infer::description::MODEL_FILE).exists();
        Self { folder: folder.to_owned(), name: others.then(|| file_name(folder)), version, draft: None }
    }

    /// The same with a draft: a smaller model of the same tokens that guesses ahead.
    #[must_use]
    pub fn with_draft(self, draft: PathBuf) -> Self {
        Self { draft: Some(draft), ..self }
    }

    /// The same under another name.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self { name: Some(name), ..self }
    }
}

/// The name of a model that has none of its own: the file's or the folder's, without `.gguf`.
pub(crate) fn file_name(path: &Path) -> String {
    let whole = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let name = whole.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy());
    let name = name.strip_suffix(".gguf").unwrap_or(&name);
    // The name stands in addresses and in metrics.
    let plain = |sign: char| if sign.is_alphanumeric() || "-_.".contains(sign) { sign } else { '-' };
    name.chars().map(plain).take(128).collect()
}

/// The bytes of a file, or of all files of a folder.
pub(crate) fn bytes_of(path: &Path) -> u64 {
    let entries = match std::fs::metadata(path) {
        Ok(file) if file.is_file() => return file.len(),
        _ => std::fs::read_dir(path),
    };
    entries.into_iter().flatten().flatten().filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}

impl Source for FolderSource {
    fn wanted(&self) -> Result<Wanted, ServeError> {
        Ok(Wanted { name: self.name.clone(), version: self.version, artifact: None })
    }

    fn folder(&self, _: &Wanted) -> Result<PathBuf, ServeError> {
        Ok(self.folder.clone())
    }

    fn draft(&self) -> Option<PathBuf> {
        self.draft.clone()
    }

    fn poll(&self) -> Option<Duration> {
        None
    }

    fn keep(&self, _: &StoredSketch) -> Result<Kept, ServeError> {
        Ok(Kept::NoStore)
    }
}

/// A version in a store: `name@champion` follows the alias, `name@3` stays.
///
/// The store must not be dropped on a thread of an async runtime, so whoever makes this keeps a clone
/// of the `Arc` until the server has ended ([`crate::run`] and [`crate::start`] need no such care).
#[derive(Debug, Clone)]
pub struct RegistrySource {
    store: Arc<Store>,
    name: VersionName,
}

impl RegistrySource {
    /// The version that a name points to.
    #[must_use]
    pub fn new(store: Arc<Store>, name: VersionName) -> Self {
        Self { store, name }
    }
}

impl Source for RegistrySource {
    fn wanted(&self) -> Result<Wanted, ServeError> {
        let version = self.store.version(&self.name)?;
        Ok(Wanted { name: Some(version.name), version: version.number, artifact: Some(version.artifact) })
    }

    fn folder(&self, wanted: &Wanted) -> Result<PathBuf, ServeError> {
        match wanted.artifact {
            Some(artifact) => Ok(self.store.artifact(artifact)?.folder),
            None => Err(ServeError::Model {
                version: format!("{}@{}", self.name.name, wanted.version),
                message: "it names no artifact".to_owned(),
            }),
        }
    }

    fn poll(&self) -> Option<Duration> {
        matches!(self.name.pointer, base::version::Pointer::Alias(_)).then_some(POLL)
    }

    fn keep(&self, sketch: &StoredSketch) -> Result<Kept, ServeError> {
        self.store.add_sketch(sketch)?;
        Ok(Kept::Stored)
    }

    fn keys(&self) -> Result<Option<Vec<Key>>, ServeError> {
        Ok(Some(self.store.keys()?))
    }

    fn charge_keys(&self, tokens: &[(i64, u64)]) -> Result<(), ServeError> {
        Ok(self.store.charge_keys(tokens)?)
    }
}
