//! The files of a dataset artifact: what `data` writes, and what training, compression and reports
//! read.
//!
//! | file | of | what |
//! |---|---|---|
//! | `train.parquet`, `valid.parquet`, `test.parquet` | predict | the column `row` (position in the sources, from 0), then inputs and outputs |
//! | `preprocess.json`, `preprocess.safetensors`, `tokenizer.json` | predict | [`infer::preprocess::Preprocessor`] |
//! | `train.tokens`, `valid.tokens`, `test.tokens` | language | 16-bit little-endian tokens, each document with its end |
//! | `test.jsonl` | language | the documents of the test split as text |
//! | `language.json`, `tokenizer.json` | language | [`LanguageInfo`], and the tokenizer |
//! | `documents.parquet`, `dropped.parquet` | language | [`DocumentRow`]: the documents that were kept and dropped, with their signals |
//! | `ledger.jsonl` | both | every row that was dropped or changed: [`LedgerEntry`] |
//! | `quality.json` | both | [`Quality`] |
//!
//! It does not know where rows come from or what they are used for.

mod documents;
mod error;
mod language;
mod ledger;
mod quality;
mod rows;

pub use documents::{DOCUMENTS_FILE, DROPPED_FILE, DocumentRow, Documents, DocumentsWriter};
pub use error::DatasetError;
pub use language::{
    Document, LANGUAGE_FILE, LanguageInfo, TestWriter, Tokens, TokensWriter, read_documents, read_tokens,
    write_documents, write_tokens,
};
pub use ledger::{Counts as LedgerCounts, LEDGER_FILE, LedgerEntry, LedgerWriter, read_ledger};
pub use quality::{
    Balance, ColumnQuality, DocumentsQuality, Histogram, Licence, NumberQuality, QUALITY_FILE, Quality, SAMPLE_ROWS,
    Sample, SignalQuality, Step,
};
pub use rows::{Row, count_rows, read_columns, read_split, write_split};

use serde::{Deserialize, Serialize};

/// A part of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// What the model learns from.
    Train,
    /// What settings are chosen by.
    Valid,
    /// What the model is judged by.
    Test,
}

impl Split {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];

    /// The name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        }
    }
}

/// One count for each split.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerSplit {
    /// Of the training split.
    pub train: u64,
    /// Of the validation split.
    pub valid: u64,
    /// Of the test split.
    pub test: u64,
}

impl PerSplit {
    /// The count of one split, to be changed.
    pub fn of(&mut self, split: Split) -> &mut u64 {
        match split {
            Split::Train => &mut self.train,
            Split::Valid => &mut self.valid,
            Split::Test => &mut self.test,
        }
    }
}

#[cfg(test)]
mod tests;
