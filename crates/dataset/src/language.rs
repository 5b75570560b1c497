//! Tokens and documents of a `language` dataset.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use infer::description::TextCleaning;
use infer::mapped::Mapped;
use serde::{Deserialize, Serialize};

use crate::error::DatasetError;
use crate::{PerSplit, Split};

/// The file of [`LanguageInfo`].
pub const LANGUAGE_FILE: &str = "language.json";

/// What a `language` dataset holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LanguageInfo {
    /// How text was cleaned.
    pub clean: TextCleaning,
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// Tokens of each split, ends of documents included.
    pub tokens: PerSplit,
    /// Documents of each split.
    pub documents: PerSplit,
    /// Bytes of text of each split, without ends of documents.
    pub bytes: PerSplit,
}

impl LanguageInfo {
    /// Reads it from a dataset's folder.
    ///
    /// # Errors
    /// [`DatasetError::Io`] or [`DatasetError::Damaged`].
    pub fn load(folder: &Path) -> Result<Self, DatasetError> {
        let path = folder.join(LANGUAGE_FILE);
        let bytes = std::fs::read(&path).map_err(DatasetError::io("read", &path))?;
        serde_json::from_slice(&bytes).map_err(DatasetError::damaged(&path))
    }

    /// Writes it to a dataset's folder.
    ///
    /// # Errors
    /// [`DatasetError::Io`].
    pub fn save(&self, folder: &Path) -> Result<(), DatasetError> {
        let path = folder.join(LANGUAGE_FILE);
        let text = serde_json::to_string_pretty(self).map_err(DatasetError::damaged(&path))?;
        std::fs::write(&path, text).map_err(DatasetError::io("write", &path))
    }
}

/// A document of the test split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Its position in all sources, from 0.
    pub row: u64,
    /// Its text, cleaned.
    pub text: String,
}

/// Writes the tokens of a split.
#[derive(Debug)]
pub struct TokensWriter {
    path: PathBuf,
    out: BufWriter<File>,
    /// Tokens written so far.
    pub count: u64,
}

impl TokensWriter {
    /// Begins the file of a split.
    ///
    /// # Errors
    /// [`DatasetError::Io`].
    pub fn create(folder: &Path, split: Split) -> Result<Self, DatasetError> {
        let path = folder.join(format!("{}.tokens", split.name()));
        let file = File::create(&path).map_err(DatasetError::io("make", &path))?;
        Ok(Self { path, out: BufWriter::with_capacity(1 << 20, file), count: 0 })
    }

    /// Adds tokens.
    ///
    /// # Errors
    /// [`DatasetError::Io`].
    pub fn add(&mut self, tokens: impl Iterator<Item = u16>) -> Result<(), DatasetError> {
        for token in tokens {
            self.out.write_all(&token.to_le_bytes()).map_err(DatasetError::io("write", &self.path))?;
            self.count += 1;
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`DatasetError::Io`].
    pub fn finish(mut self) -> Result<(), DatasetError> {
        self.out.flush().map_err(DatasetError::io("write", &self.path))
    }
}

/// Writes the tokens of a split.
///
/// # Errors
/// [`DatasetError::Io`].
pub fn write_tokens(folder: &Path, split: Split, tokens: &[u16]) -> Result<(), DatasetError> {
    let mut writer = TokensWriter::create(folder, split)?;
    writer.add(tokens.iter().copied())?;
    writer.finish()
}

/// The tokens of a split, in a file that is mapped and not read: what is not looked at costs no memory.
#[derive(Debug)]
pub struct Tokens(Mapped);

impl Tokens {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.bytes().len() / 2
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.range(0..self.len())
    }

    /// Those at some places.
    ///
    /// # Panics
    /// When the places lie outside of the split.
    pub fn range(&self, places: Range<usize>) -> impl ExactSizeIterator<Item = u32> + '_ {
        let pairs = &self.0.bytes().as_chunks::<2>().0[places];
        pairs.iter().map(|pair| u32::from(u16::from_le_bytes(*pair)))
    }
}

/// Maps the tokens of a split.
///
/// # Errors
/// [`DatasetError::Io`] or [`DatasetError::Damaged`].
pub fn read_tokens(folder: &Path, split: Split) -> Result<Tokens, DatasetError> {
    let path = folder.join(format!("{}.tokens", split.name()));
    let mapped = Mapped::open(&path).map_err(DatasetError::io("map", &path))?;
    if mapped.bytes().len() % 2 != 0 {
        return Err(DatasetError::Damaged { path, what: "half a token stands at its end".to_owned() });
    }
    Ok(Tokens(mapped))
}

/// Writes the documents of the test split as lines of JSON.
#[derive(Debug)]
pub struct TestWriter {
    path: PathBuf,
    out: BufWriter<File>,
}

impl TestWriter {
    /// Begins the file.
    ///
    /// # Errors
    /// [`DatasetError::Io`].
    pub fn create(folder: &Path) -> Result<Self, DatasetError> {
        let path = folder.join("test.jsonl");
        let file = File::create(&path).map_err(DatasetError::io("make", &path))?;
        Ok(Self { path, out: BufWriter::new(file) })
    }

    /// Adds a document.
    ///
    /// # Errors
    /// [`DatasetError::Io`].
    pub fn add(&mut self, document: &Document) -> Result<(), DatasetError> {
        let line = serde_json::to_string(document).map_err(DatasetError::damaged(&self.path))?;
        writeln!(self.out, "{line}").map_err(DatasetError::io("write", &self.path))
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`DatasetError::Io`].
    pub fn finish(mut self) -> Result<(), DatasetError> {
        self.out.flush().map_err(DatasetError::io("write", &self.path))
    }
}

/// Writes the documents of the test split.
///
/// # Errors
/// [`DatasetError::Io`].
pub fn write_documents(folder: &Path, documents: &[Document]) -> Result<(), DatasetError> {
    let mut writer = TestWriter::create(folder)?;
    for document in documents {
        writer.add(document)?;
    }
    writer.finish()
}

/// Reads the documents of the test split.
///
/// # Errors
/// [`DatasetError::Io`] or [`DatasetError::Damaged`].
pub fn read_documents(folder: &Path) -> Result<Vec<Document>, DatasetError> {
    let path = folder.join("test.jsonl");
    let file = File::open(&path).map_err(DatasetError::io("open", &path))?;
    BufReader::new(file)
        .lines()
        .map(|line| {
            let line = line.map_err(DatasetError::io("read", &path))?;
            serde_json::from_str(&line).map_err(DatasetError::damaged(&path))
        })
        .collect()
}
