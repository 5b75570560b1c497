//! The ledger: one line for every row that was dropped and every cell that was changed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::error::DatasetError;

/// The file of the ledger.
pub const LEDGER_FILE: &str = "ledger.jsonl";

/// What happened to one row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// The row's position in all sources, from 0.
    pub row: u64,
    /// The file it came from, as the project file names it.
    pub source: String,
    /// Where it begins in the file: the line, or in Parquet the record, from 1.
    pub line: u64,
    /// `dropped` or `changed`.
    pub action: String,
    /// Why: `duplicate`, `duplicate_of_test`, `empty`, `missing_output`, `missing_input`, `unicode`,
    /// `whitespace`, `unreadable_number`, `unreadable_binary`.
    pub reason: String,
    /// The column, where one is concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What stood there.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub before: Json,
    /// What stands there now.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub after: Json,
    /// The row that a duplicate equals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
}

/// Entries by reason.
pub type Counts = BTreeMap<String, u64>;

/// Writes a ledger, and counts its entries by action and reason.
#[derive(Debug)]
pub struct LedgerWriter {
    path: PathBuf,
    out: BufWriter<File>,
    dropped: Counts,
    changed: Counts,
}

impl LedgerWriter {
    /// Begins the ledger of a dataset's folder.
    ///
    /// # Errors
    /// [`DatasetError::Io`].
    pub fn create(folder: &Path) -> Result<Self, DatasetError> {
        let path = folder.join(LEDGER_FILE);
        let file = File::create(&path).map_err(DatasetError::io("make", &path))?;
        Ok(Self { path, out: BufWriter::new(file), dropped: BTreeMap::new(), changed: BTreeMap::new() })
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// [`DatasetError::Io`].
    pub fn add(&mut self, entry: &LedgerEntry) -> Result<(), DatasetError> {
        let line = serde_json::to_string(entry).map_err(DatasetError::damaged(&self.path))?;
        writeln!(self.out, "{line}").map_err(DatasetError::io("write", &self.path))?;
        let counts = if entry.action == "dropped" { &mut self.dropped } else { &mut self.changed };
        *counts.entry(entry.reason.clone()).or_default() += 1;
        Ok(())
    }

    /// Ends the ledger: the entries of dropped rows and of changed cells, by reason.
    ///
    /// # Errors
    /// [`DatasetError::Io`].
    pub fn finish(mut self) -> Result<(Counts, Counts), DatasetError> {
        self.out.flush().map_err(DatasetError::io("write", &self.path))?;
        Ok((self.dropped, self.changed))
    }
}

/// The entries of a dataset's ledger, one after the other.
///
/// # Errors
/// [`DatasetError::Io`]; each entry may be [`DatasetError::Damaged`].
pub fn read_ledger(folder: &Path) -> Result<impl Iterator<Item = Result<LedgerEntry, DatasetError>>, DatasetError> {
    let path = folder.join(LEDGER_FILE);
    let file = File::open(&path).map_err(DatasetError::io("open", &path))?;
    Ok(BufReader::new(file).lines().map(move |line| {
        let line = line.map_err(DatasetError::io("read", &path))?;
        serde_json::from_str(&line).map_err(DatasetError::damaged(&path))
    }))
}
