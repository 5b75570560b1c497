//! Layers: gzipped tar files whose bytes depend on nothing but their contents. Entries are sorted,
//! owned by root, dated 1970; folders come before what they hold.
//!
//! It does not know what the files mean.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use base::{Digest, Stop};
use flate2::{Compression, GzBuilder};
use sha2::Digest as _;

use crate::error::PackageError;

/// How hard layers are compressed. Measured on a program of 33 MB (podman's): level 6 gives 12.6 MB
/// in 0.52 s, level 4 12.8 MB in 0.37 s, level 9 12.3 MB in 1.75 s.
const COMPRESSION: u32 = 9;
/// How a name in a layer begins that would delete a file of the layers below.
const WHITEOUT: &str = ".wh.";

/// What stands at one path of a layer.
#[derive(Debug, Clone)]
enum Entry {
    Folder { mode: u32 },
    Bytes(Vec<u8>),
    File { source: PathBuf, mode: u32, size_bytes: u64, sha256: Digest },
}

/// What a layer will hold, by path (without a slash at the beginning).
#[derive(Debug, Clone, Default)]
pub struct Contents {
    entries: BTreeMap<String, Entry>,
}

/// A layer on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The compressed file.
    pub path: PathBuf,
    /// The digest of the compressed file: its name in the image.
    pub digest: Digest,
    /// The digest of the tar file inside: the `diff_id`.
    pub diff_id: Digest,
    /// The size of the compressed file.
    pub size_bytes: u64,
}

impl Contents {
    /// Adds a folder.
    ///
    /// # Errors
    /// [`PackageError::Name`] for a path that a layer cannot hold.
    pub fn folder(&mut self, path: &str, mode: u32) -> Result<(), PackageError> {
        self.add(path, Entry::Folder { mode })
    }

    /// Adds a small file.
    ///
    /// # Errors
    /// As [`Contents::folder`].
    pub fn bytes(&mut self, path: &str, bytes: &[u8]) -> Result<(), PackageError> {
        self.add(path, Entry::Bytes(bytes.to_vec()))
    }

    /// Adds a file of this machine, whose digest and size are known. Links are followed.
    ///
    /// # Errors
    /// As [`Contents::folder`].
    pub fn file(&mut self, path: &str, file: &Source, mode: u32) -> Result<(), PackageError> {
        let Source { path: source, sha256, size_bytes } = file.clone();
        self.add(path, Entry::File { source, mode, size_bytes, sha256 })
    }

    /// The size of all files before compression.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let size = |entry: &Entry| match entry {
            Entry::Folder { .. } => 0,
            Entry::Bytes(bytes) => bytes.len() as u64,
            Entry::File { size_bytes, .. } => *size_bytes,
        };
        self.entries.values().map(size).sum()
    }

    fn add(&mut self, path: &str, entry: Entry) -> Result<(), PackageError> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let wrong = |what| PackageError::Name { path: path.to_owned(), what };
        for part in path.split('/') {
            match part {
                "" | "." | ".." => return Err(wrong("its path is not a plain one")),
                _ if part.contains('\0') => return Err(wrong("its name holds a zero byte")),
                _ if part.starts_with(WHITEOUT) => {
                    return Err(wrong("in an image, a name that begins with .wh. deletes another file"));
                }
                _ => {}
            }
        }
        for (slash, _) in path.match_indices('/') {
            self.entries.entry(path[..slash].to_owned()).or_insert(Entry::Folder { mode: 0o755 });
        }
        self.entries.insert(path.to_owned(), entry);
        Ok(())
    }

    /// Writes the layer to a file; `progress` is told how many bytes were read since it was told last.
    ///
    /// # Errors
    /// [`PackageError::Io`], [`PackageError::Changed`], [`PackageError::Stopped`].
    pub fn write(&self, path: &Path, stop: &Stop, progress: &(dyn Fn(u64) + Sync)) -> Result<Layer, PackageError> {
        let write = PackageError::io;
        let file = File::create(path).map_err(write("make", path))?;
        let compressed = Hashing::new(BufWriter::with_capacity(1 << 18, file));
        // The builder leaves the time and the file name out, which is what makes the bytes repeatable;
        // 255 stands for an unknown operating system.
        let gzip = GzBuilder::new().mtime(0).operating_system(255).write(compressed, Compression::new(COMPRESSION));
        let mut tar = tar::Builder::new(Hashing::new(gzip));
        for (name, entry) in &self.entries {
            match entry {
                Entry::Folder { mode } => {
                    let mut header = header(tar::EntryType::Directory, *mode, 0);
                    tar.append_data(&mut header, format!("{name}/"), io::empty()).map_err(write("write", path))?;
                }
                Entry::Bytes(bytes) => {
                    let mut header = header(tar::EntryType::Regular, 0o644, bytes.len() as u64);
                    tar.append_data(&mut header, name, bytes.as_slice()).map_err(write("write", path))?;
                }
                Entry::File { source, mode, size_bytes, sha256 } => {
                    let file = File::open(source).map_err(write("open", source))?;
                    let mut reader = Watched { inner: Hashing::new(file.take(*size_bytes)), stop, progress };
                    let mut header = header(tar::EntryType::Regular, *mode, *size_bytes);
                    let appended = tar.append_data(&mut header, name, &mut reader);
                    if stop.asked() {
                        return Err(PackageError::Stopped);
                    }
                    appended.map_err(write("pack", source))?;
                    if reader.inner.digest() != *sha256 {
                        return Err(PackageError::Changed { path: source.clone() });
                    }
                }
            }
        }
        let (gzip, diff_id, _) = tar.into_inner().map_err(write("write", path))?.end();
        let (mut file, digest, size_bytes) = gzip.finish().map_err(write("write", path))?.end();
        file.flush().map_err(write("write", path))?;
        Ok(Layer { path: path.to_owned(), digest, diff_id, size_bytes })
    }
}

/// A file of this machine with its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it lies.
    pub path: PathBuf,
    /// The digest of its contents.
    pub sha256: Digest,
    /// Its size.
    pub size_bytes: u64,
}

impl Source {
    /// Digests a file.
    ///
    /// # Errors
    /// [`PackageError::Io`].
    pub fn of(path: &Path) -> Result<Self, PackageError> {
        let (sha256, size_bytes) = Digest::of_file(path).map_err(PackageError::io("read", path))?;
        Ok(Self { path: path.to_owned(), sha256, size_bytes })
    }
}

/// A tar header that tells nothing of this machine or moment.
pub(crate) fn header(kind: tar::EntryType, mode: u32, size_bytes: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size_bytes);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// Passes bytes on, and digests and counts them.
pub(crate) struct Hashing<T> {
    inner: T,
    hash: sha2::Sha256,
    size_bytes: u64,
}

impl<T> Hashing<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, hash: sha2::Sha256::new(), size_bytes: 0 }
    }

    fn digest(&self) -> Digest {
        Digest::from(<[u8; 32]>::from(self.hash.clone().finalize()))
    }

    fn end(self) -> (T, Digest, u64) {
        let digest = self.digest();
        (self.inner, digest, self.size_bytes)
    }

    fn saw(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.size_bytes += bytes.len() as u64;
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.saw(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.saw(&buffer[..count]);
        Ok(count)
    }
}

/// Tells of progress while it is read, and ends the reading when the user asks to stop.
struct Watched<'a, R> {
    inner: R,
    stop: &'a Stop,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.asked() {
            return Err(io::Error::other("stopped"));
        }
        let count = self.inner.read(buffer)?;
        (self.progress)(count as u64);
        Ok(count)
    }
}
