//! Unnamed files for what does not fit into memory: words appended and read back at any place.
//!
//! They have no name in the folder, so nothing stays behind when the program is killed.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::DedupError;

const CHUNK_WORDS: usize = 4096;

/// An unnamed file of words.
pub(crate) struct Scratch {
    folder: PathBuf,
    file: File,
    words: u64,
    bytes: Vec<u8>,
}

impl Scratch {
    pub(crate) fn create(folder: &Path) -> Result<Self, DedupError> {
        let file = tempfile::tempfile_in(folder).map_err(DedupError::io("create a file in", folder))?;
        Ok(Self { folder: folder.to_owned(), file, words: 0, bytes: Vec::new() })
    }

    #[cfg(test)]
    pub(crate) fn replace_file(&mut self, file: File) {
        self.file = file;
    }

    /// How many words there are.
    pub(crate) fn len(&self) -> u64 {
        self.words
    }

    /// Writes words behind the last ones.
    pub(crate) fn append(&mut self, words: &[u64]) -> Result<(), DedupError> {
        self.write(self.words, words)
    }

    /// Writes words at a place; a gap before it reads as zeros.
    pub(crate) fn write(&mut self, at: u64, words: &[u64]) -> Result<(), DedupError> {
        let failed = |error| DedupError::io("write a file in", &self.folder)(error);
        self.file.seek(SeekFrom::Start(at * 8)).map_err(failed)?;
        for chunk in words.chunks(CHUNK_WORDS) {
            self.bytes.clear();
            for word in chunk {
                self.bytes.extend_from_slice(&word.to_le_bytes());
            }
            self.file.write_all(&self.bytes).map_err(failed)?;
        }
        self.words = self.words.max(at + words.len() as u64);
        Ok(())
    }

    /// Reads words from a place; what was never written reads as zeros.
    pub(crate) fn read(&mut self, at: u64, words: &mut [u64]) -> Result<(), DedupError> {
        let failed = |error| DedupError::io("read a file in", &self.folder)(error);
        self.file.seek(SeekFrom::Start(at * 8)).map_err(failed)?;
        for chunk in words.chunks_mut(CHUNK_WORDS) {
            self.bytes.resize(chunk.len() * 8, 0);
            let mut filled = 0;
            while filled < self.bytes.len() {
                match self.file.read(&mut self.bytes[filled..]) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(failed(error)),
                }
            }
            self.bytes[filled..].fill(0);
            for (word, bytes) in chunk.iter_mut().zip(self.bytes.as_chunks::<8>().0) {
                *word = u64::from_le_bytes(*bytes);
            }
        }
        Ok(())
    }
}

/// Records written one after the other, then read once in the same order.
pub(crate) struct Spool {
    scratch: Scratch,
    width: usize,
    buffer: Vec<u64>,
    next: usize,
    read: u64,
    written: bool,
}

impl Spool {
    pub(crate) fn create(folder: &Path, width: usize) -> Result<Self, DedupError> {
        Ok(Self { scratch: Scratch::create(folder)?, width, buffer: Vec::new(), next: 0, read: 0, written: false })
    }

    pub(crate) fn push(&mut self, record: &[u64]) -> Result<(), DedupError> {
        debug_assert!(record.len() == self.width && !self.written);
        self.buffer.extend_from_slice(record);
        if self.buffer.len() + self.width > CHUNK_WORDS.max(self.width) {
            self.scratch.append(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    /// Ends writing; from here on records are read from the first one on, and again after each call.
    pub(crate) fn rewind(&mut self) -> Result<(), DedupError> {
        if !self.written {
            self.scratch.append(&self.buffer)?;
            self.written = true;
        }
        self.buffer.clear();
        self.next = 0;
        self.read = 0;
        Ok(())
    }

    /// Reads records from a place on, after [`Spool::rewind`].
    pub(crate) fn read_at(&mut self, record: u64, words: &mut [u64]) -> Result<(), DedupError> {
        self.scratch.read(record * self.width as u64, words)
    }

    /// The next record, or none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<&[u64]>, DedupError> {
        if self.next == self.buffer.len() {
            let chunk = (CHUNK_WORDS / self.width).max(1) * self.width;
            let left = (self.scratch.len() - self.read).min(chunk as u64) as usize;
            if left == 0 {
                return Ok(None);
            }
            self.buffer.resize(left, 0);
            self.scratch.read(self.read, &mut self.buffer)?;
            self.read += left as u64;
            self.next = 0;
        }
        let start = self.next;
        self.next += self.width;
        Ok(Some(&self.buffer[start..self.next]))
    }
}

const PAGE_WORDS: u64 = 512;

/// An array of words, zero at first, that keeps as many pages in memory as its budget allows.
///
/// Page `p` has its place in frame `p mod frames`, so finding it needs no table.
pub(crate) struct PagedArray {
    folder: PathBuf,
    file: Option<Scratch>,
    frames: Vec<u64>,
    page_in_frame: Vec<u64>,
    dirty: Vec<bool>,
}

impl PagedArray {
    /// For `len` words in about `budget_bytes` of memory.
    pub(crate) fn new(folder: &Path, len: u64, budget_bytes: u64) -> Self {
        let frames = (budget_bytes / (PAGE_WORDS * 8 + 16)).clamp(1, len.div_ceil(PAGE_WORDS).max(1)) as usize;
        Self {
            folder: folder.to_owned(),
            file: None,
            frames: vec![0; frames * PAGE_WORDS as usize],
            page_in_frame: (0..frames as u64).collect(),
            dirty: vec![false; frames],
        }
    }

    pub(crate) fn get(&mut self, index: u64) -> Result<u64, DedupError> {
        let slot = self.slot(index)?;
        Ok(self.frames[slot])
    }

    pub(crate) fn set(&mut self, index: u64, value: u64) -> Result<(), DedupError> {
        let slot = self.slot(index)?;
        self.dirty[slot / PAGE_WORDS as usize] = true;
        self.frames[slot] = value;
        Ok(())
    }

    fn slot(&mut self, index: u64) -> Result<usize, DedupError> {
        let page = index / PAGE_WORDS;
        let frame = (page % self.page_in_frame.len() as u64) as usize;
        if self.page_in_frame[frame] != page {
            self.load(frame, page)?;
        }
        Ok(frame * PAGE_WORDS as usize + (index % PAGE_WORDS) as usize)
    }

    fn load(&mut self, frame: usize, page: u64) -> Result<(), DedupError> {
        let words = frame * PAGE_WORDS as usize..(frame + 1) * PAGE_WORDS as usize;
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(Scratch::create(&self.folder)?),
        };
        if self.dirty[frame] {
            file.write(self.page_in_frame[frame] * PAGE_WORDS, &self.frames[words.clone()])?;
        }
        file.read(page * PAGE_WORDS, &mut self.frames[words])?;
        self.page_in_frame[frame] = page;
        self.dirty[frame] = false;
        Ok(())
    }
}
