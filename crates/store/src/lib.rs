//! Everything a project keeps, in one folder `.yard/`: artifacts by their digest, and a SQLite
//! database of runs, metrics, lineage, versions, aliases, the audit log, traffic sketches and keys.
//!
//! ```text
//! .yard/
//!   yard.db            runs, metrics, lineage, versions, aliases, audit, sketches, keys
//!   objects/DIGEST/    an artifact: manifest.json and the files it lists; never changed
//!   work/KEY/          a stage under way: out/ becomes the artifact, scratch/ holds checkpoints
//!   lock               held by the one command that runs stages
//! ```
//!
//! **Invariant:** this crate does not know what is inside an artifact.

mod artifact;
mod database;
mod error;
mod key;
mod registry;
mod run;
mod sketch;
mod stage;

use std::fs::File;
use std::path::{Path, PathBuf};

pub use artifact::{Artifact, ArtifactFile};
pub use error::StoreError;
pub use key::{Key, KeyLimits, NewKey, Scope, Secret};
pub use registry::{Alias, AuditEntry, Version};
pub use run::{MetricPoint, Run, RunStatus};
pub use sketch::StoredSketch;
pub use stage::{Made, StageKey, Work};

/// The name of the store's folder in a project's folder.
pub const FOLDER_NAME: &str = ".yard";

/// An open store.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    database: database::Database,
}

/// Held by the one process that runs stages; dropping it, or dying, releases it.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Store {
    /// Opens the store of a project's folder, and makes one where there is none.
    ///
    /// # Errors
    /// [`StoreError`] when the folder or the database cannot be made, read, or is of a newer version.
    pub fn open(project_folder: &Path) -> Result<Self, StoreError> {
        let root = project_folder.join(FOLDER_NAME);
        for folder in [root.clone(), root.join("objects"), root.join("work")] {
            std::fs::create_dir_all(&folder).map_err(StoreError::io("make", &folder))?;
        }
        let database = database::Database::open(&root.join("yard.db"))?;
        Ok(Self { root, database })
    }

    /// Opens the store of a project's folder, if it has one.
    ///
    /// # Errors
    /// [`StoreError::NoStore`] where there is none; otherwise as [`Store::open`].
    pub fn open_existing(project_folder: &Path) -> Result<Self, StoreError> {
        if !project_folder.join(FOLDER_NAME).join("yard.db").is_file() {
            return Err(StoreError::NoStore { folder: project_folder.to_owned() });
        }
        Self::open(project_folder)
    }

    /// The folder `.yard/`.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Takes the lock that running stages needs, and marks runs whose process died as interrupted.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when another process holds it.
    pub fn lock(&self) -> Result<Lock, StoreError> {
        let path = self.root.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(StoreError::Busy { folder: self.root.clone() }),
            Err(std::fs::TryLockError::Error(error)) => return Err(StoreError::io("lock", &path)(error)),
        }
        self.interrupt_dead_runs()?;
        Ok(Lock { _file: file })
    }
}

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
