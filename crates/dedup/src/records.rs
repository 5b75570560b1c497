//! The one file format of this crate: records of a fixed number of 64-bit words, in checked blocks.
//!
//! Little-endian. Header, 64 bytes: magic `YARDDUPS`; u32 version (1); u32 kind; u32 words a record;
//! u32 zero; u64 fingerprint of the settings; u64 of the kind's own; 16 zero bytes; u64 XXH64 of the
//! first 56 bytes. Then blocks: u64 count of records, the records, u64 XXH64 of the records, seeded with
//! the block's number. Then the end: u64 zero, u64 count of all records, u64 XXH64 of that count, seeded
//! with the number of blocks; nothing follows. A file appears under its name only when it is complete.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use twox_hash::XxHash64;

use crate::DedupError;

const MAGIC: &[u8; 8] = b"YARDDUPS";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
const BLOCK_BYTES: usize = 16 << 10;

/// What a file's records are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kind {
    /// id, then the MinHash signature.
    Signatures = 1,
    /// id, 128-bit hash of a text.
    Documents = 2,
    /// id, 128-bit hash of a span, start and end in bytes.
    Spans = 3,
    /// id, representative; by id.
    Dropped = 4,
    /// representative, id, similarity in f64 bits; by representative, itself first, then by id.
    Clusters = 5,
    /// id, start, end; by id, then start.
    Cuts = 6,
    /// id, then f32 numbers in pairs.
    Embeddings = 7,
    /// one word a record: id, count of symbols, symbols.
    Texts = 8,
}

/// How many records a block may have.
fn block_records(width: usize) -> usize {
    (BLOCK_BYTES / (width * 8)).max(1)
}

/// Writes a file of records under a temporary name; [`RecordWriter::finish`] gives it its own.
pub(crate) struct RecordWriter {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<File>,
    width: usize,
    block: Vec<u8>,
    in_block: usize,
    blocks: u64,
    total: u64,
}

impl RecordWriter {
    pub(crate) fn create(
        path: &Path,
        kind: Kind,
        width: usize,
        fingerprint: u64,
        own: u64,
    ) -> Result<Self, DedupError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let temporary = path.with_file_name(name);
        let mut file = File::create(&temporary).map_err(DedupError::io("create", &temporary))?;
        let mut header = [0_u8; HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&(kind as u32).to_le_bytes());
        header[16..20].copy_from_slice(&(width as u32).to_le_bytes());
        header[24..32].copy_from_slice(&fingerprint.to_le_bytes());
        header[32..40].copy_from_slice(&own.to_le_bytes());
        let check = XxHash64::oneshot(0, &header[..56]);
        header[56..].copy_from_slice(&check.to_le_bytes());
        file.write_all(&header).map_err(DedupError::io("write", &temporary))?;
        let block = Vec::with_capacity(block_records(width) * width * 8 + 16);
        let path = path.to_owned();
        Ok(Self { path, temporary, file: Some(file), width, block, in_block: 0, blocks: 0, total: 0 })
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    #[cfg(test)]
    pub(crate) fn replace_file(&mut self, file: File) {
        self.file = Some(file);
    }

    /// Adds a record of the file's width.
    pub(crate) fn push(&mut self, record: &[u64]) -> Result<(), DedupError> {
        assert_eq!(record.len(), self.width);
        if self.block.is_empty() {
            self.block.extend_from_slice(&[0; 8]);
        }
        for word in record {
            self.block.extend_from_slice(&word.to_le_bytes());
        }
        self.in_block += 1;
        if self.in_block == block_records(self.width) { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), DedupError> {
        if self.in_block == 0 {
            return Ok(());
        }
        self.block[..8].copy_from_slice(&(self.in_block as u64).to_le_bytes());
        let check = XxHash64::oneshot(self.blocks, &self.block[8..]);
        self.block.extend_from_slice(&check.to_le_bytes());
        self.write_block()?;
        self.blocks += 1;
        self.total += self.in_block as u64;
        self.in_block = 0;
        Ok(())
    }

    fn write_block(&mut self) -> Result<(), DedupError> {
        if let Some(file) = &mut self.file {
            file.write_all(&self.block).map_err(DedupError::io("write", &self.temporary))?;
        }
        self.block.clear();
        Ok(())
    }

    /// Ends the file and gives it its name; answers how many records it has.
    pub(crate) fn finish(mut self) -> Result<u64, DedupError> {
        self.flush()?;
        self.block.extend_from_slice(&0_u64.to_le_bytes());
        let total = self.total.to_le_bytes();
        self.block.extend_from_slice(&total);
        self.block.extend_from_slice(&XxHash64::oneshot(self.blocks, &total).to_le_bytes());
        self.write_block()?;
        if let Some(file) = self.file.take() {
            file.sync_all().map_err(DedupError::io("write", &self.temporary))?;
        }
        fs::rename(&self.temporary, &self.path).map_err(DedupError::io("rename", &self.temporary))?;
        Ok(self.total)
    }
}

impl Drop for RecordWriter {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Half a file is of no use; if it cannot be removed it is overwritten next time.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Reads a file of records from its beginning to its end, checking every block.
pub(crate) struct RecordReader {
    path: PathBuf,
    file: File,
    width: usize,
    fingerprint: u64,
    own: u64,
    bytes: Vec<u8>,
    block: Vec<u64>,
    next: usize,
    blocks: u64,
    total: u64,
    ended: bool,
}

impl RecordReader {
    pub(crate) fn open(path: &Path, kind: Kind) -> Result<Self, DedupError> {
        let mut file = File::open(path).map_err(DedupError::io("open", path))?;
        let mut header = [0_u8; HEADER_BYTES];
        file.read_exact(&mut header).map_err(|error| ended(path, error))?;
        let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if &header[..8] != MAGIC {
            return Err(DedupError::file(path, "it is not a file of this program"));
        }
        if XxHash64::oneshot(0, &header[..56]) != word(&header[56..]) {
            return Err(DedupError::file(path, "its header is damaged"));
        }
        if u32_at(8) != VERSION {
            return Err(DedupError::file(path, format!("its version is {}, and {VERSION} is known", u32_at(8))));
        }
        let width = u32_at(16) as usize;
        if u32_at(12) != kind as u32 || width == 0 || width > 1 << 20 {
            return Err(DedupError::file(path, format!("it is not a file of {kind:?}")));
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            width,
            fingerprint: word(&header[24..]),
            own: word(&header[32..]),
            bytes: Vec::new(),
            block: Vec::new(),
            next: 0,
            blocks: 0,
            total: 0,
            ended: false,
        })
    }

    pub(crate) fn own(&self) -> u64 {
        self.own
    }

    /// An error unless the file was made with these settings and has records of this width.
    pub(crate) fn expect(self, width: usize, fingerprint: u64) -> Result<Self, DedupError> {
        if self.width == width && self.fingerprint == fingerprint {
            Ok(self)
        } else {
            Err(DedupError::Settings { path: self.path })
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The next record, or none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<&[u64]>, DedupError> {
        if self.next == self.block.len() && !self.read_block()? {
            return Ok(None);
        }
        let start = self.next;
        self.next += self.width;
        Ok(Some(&self.block[start..self.next]))
    }

    fn read(&mut self, bytes: usize) -> Result<(), DedupError> {
        self.bytes.resize(bytes, 0);
        self.file.read_exact(&mut self.bytes).map_err(|error| ended(&self.path, error))
    }

    fn read_block(&mut self) -> Result<bool, DedupError> {
        if self.ended {
            return Ok(false);
        }
        self.read(8)?;
        let count = word(&self.bytes);
        if count == 0 {
            self.read_end()?;
            return Ok(false);
        }
        if count > block_records(self.width) as u64 {
            return Err(DedupError::file(&self.path, format!("block {} is damaged", self.blocks)));
        }
        let payload = count as usize * self.width * 8;
        self.read(payload + 8)?;
        if XxHash64::oneshot(self.blocks, &self.bytes[..payload]) != word(&self.bytes[payload..]) {
            return Err(DedupError::file(&self.path, format!("block {} is damaged", self.blocks)));
        }
        self.block.clear();
        self.block.extend(self.bytes[..payload].as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)));
        self.next = 0;
        self.blocks += 1;
        self.total += count;
        Ok(true)
    }

    fn read_end(&mut self) -> Result<(), DedupError> {
        self.read(16)?;
        let sound = word(&self.bytes) == self.total
            && word(&self.bytes[8..]) == XxHash64::oneshot(self.blocks, &self.bytes[..8])
            && self.file.read(&mut [0]).map_err(DedupError::io("read", &self.path))? == 0;
        if !sound {
            return Err(DedupError::file(&self.path, "its end is damaged"));
        }
        self.ended = true;
        Ok(())
    }
}

/// How many records a finished file says it has, from its last bytes alone.
pub(crate) fn record_count(path: &Path) -> Result<u64, DedupError> {
    use std::io::{Seek, SeekFrom};
    let mut file = File::open(path).map_err(DedupError::io("open", path))?;
    let mut end = [0_u8; 24];
    file.seek(SeekFrom::End(-24)).map_err(|error| ended(path, error))?;
    file.read_exact(&mut end).map_err(|error| ended(path, error))?;
    Ok(word(&end[8..]))
}

fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(word)
}

fn ended(path: &Path, error: std::io::Error) -> DedupError {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::InvalidInput => DedupError::file(path, "it ends too early"),
        _ => DedupError::io("read", path)(error),
    }
}
