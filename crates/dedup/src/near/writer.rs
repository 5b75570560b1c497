//! A worker's file of signatures.

use std::path::{Path, PathBuf};

use super::{NearConfig, Precision};
use crate::DedupError;
use crate::records::{Kind, RecordReader, RecordWriter};

/// Writes one worker's signatures; the file appears when [`Writer::finish`] has been called.
pub struct Writer {
    file: RecordWriter,
    record: Vec<u64>,
    precision: Precision,
    rows: usize,
    before: Option<u64>,
}

impl Writer {
    /// Makes the file `path`, replacing what is there when it is finished.
    ///
    /// # Errors
    /// The file cannot be made, or a setting is out of range.
    pub fn create(path: &Path, config: &NearConfig) -> Result<Self, DedupError> {
        config.check()?;
        let file = RecordWriter::create(path, Kind::Signatures, config.record_words(), config.fingerprint(), 0)?;
        let record = Vec::with_capacity(config.record_words());
        Ok(Self { file, record, precision: config.precision, rows: config.rows, before: None })
    }

    /// Adds a document's signature. Documents without one (too short for a shingle) are left out.
    ///
    /// # Errors
    /// The id is not greater than the one before, the signature has another length, or there is no room.
    pub fn push(&mut self, id: u64, signature: &[u64]) -> Result<(), DedupError> {
        if let Some(before) = self.before.filter(|before| *before >= id) {
            return Err(DedupError::Order { id, before });
        }
        self.before = Some(id);
        self.record.clear();
        self.record.push(id);
        match self.precision {
            Precision::Bits64 => self.record.extend_from_slice(signature),
            Precision::Bits32 => {
                for band in signature.chunks(self.rows) {
                    let packed = |two: &[u64]| two[0] << 32 | two.get(1).copied().unwrap_or(0);
                    self.record.extend(band.chunks(2).map(packed));
                }
            }
        }
        if self.record.len() != self.file.width() {
            let what = format!("its signature has {} hashes", signature.len());
            return Err(DedupError::Input { id, what });
        }
        self.file.push(&self.record)
    }

    /// Ends the file and gives it its name; answers how many signatures it has.
    ///
    /// # Errors
    /// There is no room, or the folder is gone.
    pub fn finish(self) -> Result<u64, DedupError> {
        self.file.finish()
    }
}

/// Reads a file of signatures back, in order of ids.
pub struct Signatures {
    path: PathBuf,
    file: RecordReader,
    signature: Vec<u64>,
    precision: Precision,
    rows: usize,
    before: Option<u64>,
}

impl Signatures {
    /// Opens a finished file.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or was made with other settings.
    pub fn open(path: &Path, config: &NearConfig) -> Result<Self, DedupError> {
        let file = RecordReader::open(path, Kind::Signatures)?.expect(config.record_words(), config.fingerprint())?;
        Ok(Self {
            path: path.to_owned(),
            file,
            signature: Vec::new(),
            precision: config.precision,
            rows: config.rows,
            before: None,
        })
    }

    /// The next document's id and signature.
    ///
    /// # Errors
    /// The file is cut off or damaged.
    pub fn next_signature(&mut self) -> Result<Option<(u64, &[u64])>, DedupError> {
        let (precision, rows) = (self.precision, self.rows);
        let mut signature = std::mem::take(&mut self.signature);
        signature.clear();
        let Some(record) = self.next_record()? else { return Ok(None) };
        let id = record[0];
        match precision {
            Precision::Bits64 => signature.extend_from_slice(&record[1..]),
            Precision::Bits32 => {
                for band in record[1..].chunks(rows.div_ceil(2)) {
                    let hashes = band.iter().flat_map(|two| [two >> 32, two & u64::from(u32::MAX)]);
                    signature.extend(hashes.take(rows));
                }
            }
        }
        self.signature = signature;
        Ok(Some((id, &self.signature)))
    }

    /// The next record as it lies in the file: id, then packed bands.
    pub(super) fn next_record(&mut self) -> Result<Option<&[u64]>, DedupError> {
        let Some(record) = self.file.next()? else { return Ok(None) };
        if self.before.is_some_and(|before| before >= record[0]) {
            return Err(DedupError::file(&self.path, "its ids do not ascend"));
        }
        self.before = Some(record[0]);
        Ok(Some(record))
    }
}
