//! Artifacts: folders of files that never change, named by the digest of their manifest.

use std::path::{Path, PathBuf};

use base::Digest;
use base::files::{sync_folder, write_atomically};
use serde::{Deserialize, Serialize};

use crate::Store;
use crate::error::StoreError;

/// The name of the manifest in an artifact's folder.
pub(crate) const MANIFEST: &str = "manifest.json";
/// The version of the manifest's format.
const FORMAT: u32 = 1;

/// One file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactFile {
    /// The path in the artifact, with `/` between folders.
    pub path: String,
    /// The size.
    pub size_bytes: u64,
    /// The digest of the contents.
    pub sha256: Digest,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    kind: String,
    files: Vec<ArtifactFile>,
}

/// An immutable output of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The digest of the manifest, which lists the digests of all files.
    pub digest: Digest,
    /// What it is: `dataset`, `model`, `study`, `image`.
    pub kind: String,
    /// Its files, in the order of their paths.
    pub files: Vec<ArtifactFile>,
    /// Where it lies.
    pub folder: PathBuf,
}

impl Artifact {
    /// The path of one of its files.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// Whether it has a file of this name.
    #[must_use]
    pub fn has(&self, file: &str) -> bool {
        self.files.iter().any(|one| one.path == file)
    }

    /// The size of all its files.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size_bytes).sum()
    }
}

impl Artifact {
    /// Opens an artifact of a project's store without the store: for processes that only read along. Every
    /// file is checked against its digest.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when a file is missing or was changed.
    pub fn open(project_folder: &Path, digest: Digest) -> Result<Self, StoreError> {
        Self::checked(project_folder.join(crate::FOLDER_NAME).join("objects").join(digest.to_string()), digest)
    }

    fn checked(folder: PathBuf, digest: Digest) -> Result<Self, StoreError> {
        let artifact = Self::unchecked(folder, digest)?;
        for file in &artifact.files {
            let damaged = |what: String| StoreError::Damaged { digest: digest.short(), file: file.path.clone(), what };
            let path = artifact.path(&file.path);
            let (found, size_bytes) = Digest::of_file(&path).map_err(|error| damaged(error.to_string()))?;
            if size_bytes != file.size_bytes {
                return Err(damaged(format!("{size_bytes} bytes instead of {}", file.size_bytes)));
            }
            if found != file.sha256 {
                return Err(damaged(format!("digest {} instead of {}", found.short(), file.sha256.short())));
            }
        }
        Ok(artifact)
    }

    fn unchecked(folder: PathBuf, digest: Digest) -> Result<Self, StoreError> {
        let path = folder.join(MANIFEST);
        if !folder.is_dir() {
            return Err(StoreError::Damaged {
                digest: digest.short(),
                file: "its folder".to_owned(),
                what: "it is gone".to_owned(),
            });
        }
        let damaged = |what: String| StoreError::Damaged { digest: digest.short(), file: MANIFEST.to_owned(), what };
        let bytes = std::fs::read(&path).map_err(|error| damaged(error.to_string()))?;
        if Digest::of(&bytes) != digest {
            return Err(damaged(format!("digest {} instead of {}", Digest::of(&bytes).short(), digest.short())));
        }
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if manifest.format != FORMAT {
            return Err(damaged(format!("format {} is not known here", manifest.format)));
        }
        Ok(Self { digest, kind: manifest.kind, files: manifest.files, folder })
    }
}

impl Store {
    /// Opens an artifact and checks every file against its digest.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when a file is missing or was changed; [`StoreError::NotFound`].
    pub fn artifact(&self, digest: Digest) -> Result<Artifact, StoreError> {
        Artifact::checked(self.object_folder(digest), digest)
    }

    /// Opens an artifact's manifest without reading its files.
    ///
    /// # Errors
    /// As [`Store::artifact`], for the manifest alone.
    pub fn artifact_unchecked(&self, digest: Digest) -> Result<Artifact, StoreError> {
        Artifact::unchecked(self.object_folder(digest), digest)
    }

    /// Moves damaged artifacts to `.yard/damaged/` and forgets the stage results that led to them, so
    /// that the next run makes them again. Returns the digests that were set aside.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read or written.
    pub fn repair(&self) -> Result<Vec<Digest>, StoreError> {
        let mut aside = Vec::new();
        for digest in self.artifacts()? {
            match self.artifact(digest) {
                Ok(_) => continue,
                Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
            let from = self.object_folder(digest);
            if from.exists() {
                let damaged = self.root().join("damaged");
                std::fs::create_dir_all(&damaged).map_err(StoreError::io("make", &damaged))?;
                let to = damaged.join(format!("{digest}-{}", crate::now_ms()));
                std::fs::rename(&from, &to).map_err(StoreError::io("move", &from))?;
            }
            self.forget_stage_results(digest)?;
            aside.push(digest);
        }
        Ok(aside)
    }

    /// Makes a folder's files the artifact that they are: lists, syncs and renames them.
    pub(crate) fn adopt(&self, folder: &Path, kind: &str) -> Result<Artifact, StoreError> {
        let mut files = Vec::new();
        list_files(folder, folder, &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let manifest = Manifest { format: FORMAT, kind: kind.to_owned(), files };
        let mut bytes = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| StoreError::io("write", folder)(std::io::Error::other(error)))?;
        bytes.push(b'\n');
        let path = folder.join(MANIFEST);
        write_atomically(&path, &bytes).map_err(StoreError::io("write", &path))?;
        let digest = Digest::of(&bytes);
        let target = self.object_folder(digest);
        if target.exists() {
            // The same contents were made before; they are already there.
            std::fs::remove_dir_all(folder).map_err(StoreError::io("remove", folder))?;
        } else {
            std::fs::rename(folder, &target).map_err(StoreError::io("move", folder))?;
            let objects = self.root().join("objects");
            sync_folder(&objects).map_err(StoreError::io("sync", &objects))?;
        }
        self.artifact_unchecked(digest)
    }

    fn object_folder(&self, digest: Digest) -> PathBuf {
        self.root().join("objects").join(digest.to_string())
    }
}

/// Lists, digests and syncs the files below a folder.
fn list_files(root: &Path, folder: &Path, files: &mut Vec<ArtifactFile>) -> Result<(), StoreError> {
    let entries = std::fs::read_dir(folder).map_err(StoreError::io("list", folder))?;
    for entry in entries {
        let path = entry.map_err(StoreError::io("list", folder))?.path();
        if path.is_dir() {
            list_files(root, &path, files)?;
            continue;
        }
        let relative = path.strip_prefix(root).unwrap_or(&path);
        let name = relative.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
        if name == MANIFEST {
            continue;
        }
        let (sha256, size_bytes) = Digest::of_file(&path).map_err(StoreError::io("read", &path))?;
        std::fs::File::open(&path).and_then(|file| file.sync_all()).map_err(StoreError::io("sync", &path))?;
        files.push(ArtifactFile { path: name, size_bytes, sha256 });
    }
    sync_folder(folder).map_err(StoreError::io("sync", folder))
}
