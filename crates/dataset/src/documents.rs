//! The documents of a `language` dataset in Parquet: those that were kept, with their text, and those that were dropped,
//! with their beginning and the reason; both with every signal that was measured.
//!
//! Rows are written as they come and in bounded memory. The bytes depend on the rows alone.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeBinaryBuilder, Float32Builder, RecordBatch, StringBuilder, UInt64Builder, cast::AsArray as _,
};
use arrow::datatypes::{DataType, Field, Float32Type, Schema, UInt64Type};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::error::DatasetError;

/// The file of kept documents.
pub const DOCUMENTS_FILE: &str = "documents.parquet";
/// The file of dropped documents.
pub const DROPPED_FILE: &str = "dropped.parquet";
/// Rows of a batch.
const BATCH_ROWS: usize = 512;
/// Rows that are read at once: few, for each may be long.
const READ_ROWS: usize = 64;
/// A batch ends early when its texts hold so many bytes.
const BATCH_BYTES: usize = 16 << 20;
/// A row group ends when it holds so many bytes.
const GROUP_BYTES: usize = 16 << 20;
/// Bytes of a document's hash.
const HASH_BYTES: i32 = 16;

/// A document that was kept or dropped.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DocumentRow {
    /// Its position in all sources, from 0.
    pub row: u64,
    /// The source, and the member of an archive behind `!`.
    pub source: String,
    /// The line or record in the source, from 1.
    pub line: u64,
    /// The split of a kept document; why another one was dropped.
    pub why: String,
    /// The document that a duplicate repeats.
    pub of: Option<u64>,
    /// The text; of a dropped document, its beginning.
    pub text: String,
    /// The first 16 bytes of the SHA-256 of the whole text.
    pub hash: [u8; 16],
    /// What was measured, in the order of the names that the writer was given; NaN where nothing was.
    pub signals: Vec<f32>,
}

/// Writes documents.
pub struct DocumentsWriter {
    path: PathBuf,
    schema: Arc<Schema>,
    writer: ArrowWriter<File>,
    rows: Vec<DocumentRow>,
    /// Bytes of the texts in `rows`.
    bytes: usize,
}

impl std::fmt::Debug for DocumentsWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DocumentsWriter").field("path", &self.path).finish_non_exhaustive()
    }
}

impl DocumentsWriter {
    /// Begins [`DOCUMENTS_FILE`] or [`DROPPED_FILE`] in a folder; `signals` names what was measured.
    ///
    /// # Errors
    /// [`DatasetError::Io`].
    pub fn create(folder: &Path, file: &str, signals: &[&str]) -> Result<Self, DatasetError> {
        let path = folder.join(file);
        let mut fields = vec![
            Field::new("row", DataType::UInt64, false),
            Field::new("source", DataType::Utf8, false),
            Field::new("line", DataType::UInt64, false),
            Field::new(if file == DROPPED_FILE { "reason" } else { "split" }, DataType::Utf8, false),
            Field::new("of", DataType::UInt64, true),
            Field::new("text", DataType::Utf8, false),
            Field::new("hash", DataType::FixedSizeBinary(HASH_BYTES), false),
        ];
        fields.extend(signals.iter().map(|name| Field::new(*name, DataType::Float32, true)));
        let schema = Arc::new(Schema::new(fields));
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by("modelyard".to_owned())
            .build();
        let out = File::create(&path).map_err(DatasetError::io("make", &path))?;
        let writer = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties)).map_err(failed(&path))?;
        Ok(Self { path, schema, writer, rows: Vec::with_capacity(BATCH_ROWS), bytes: 0 })
    }

    /// Adds a document.
    ///
    /// # Errors
    /// [`DatasetError::Io`].
    pub fn add(&mut self, row: DocumentRow) -> Result<(), DatasetError> {
        self.bytes += row.text.len();
        self.rows.push(row);
        if self.rows.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`DatasetError::Io`].
    pub fn finish(mut self) -> Result<(), DatasetError> {
        self.flush()?;
        self.writer.close().map_err(failed(&self.path))?;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DatasetError> {
        let batch = batch(&self.schema, &self.rows).map_err(|error| failed(&self.path)(error.into()))?;
        self.rows.clear();
        self.bytes = 0;
        self.writer.write(&batch).map_err(failed(&self.path))?;
        if self.writer.in_progress_size() >= GROUP_BYTES {
            self.writer.flush().map_err(failed(&self.path))?;
        }
        Ok(())
    }
}

fn failed(path: &Path) -> impl FnOnce(parquet::errors::ParquetError) -> DatasetError {
    let path = path.to_owned();
    move |error| DatasetError::io("write", &path)(std::io::Error::other(error))
}

fn batch(schema: &Arc<Schema>, rows: &[DocumentRow]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let (mut row, mut line, mut of) = (UInt64Builder::new(), UInt64Builder::new(), UInt64Builder::new());
    let (mut source, mut why, mut text) = (StringBuilder::new(), StringBuilder::new(), StringBuilder::new());
    let mut hash = FixedSizeBinaryBuilder::new(HASH_BYTES);
    let width = schema.fields().len() - 7;
    let mut signals: Vec<Float32Builder> = (0..width).map(|_| Float32Builder::new()).collect();
    for document in rows {
        row.append_value(document.row);
        source.append_value(&document.source);
        line.append_value(document.line);
        why.append_value(&document.why);
        of.append_option(document.of);
        text.append_value(&document.text);
        hash.append_value(document.hash)?;
        for (index, builder) in signals.iter_mut().enumerate() {
            builder.append_option(document.signals.get(index).copied().filter(|value| !value.is_nan()));
        }
    }
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(row.finish()),
        Arc::new(source.finish()),
        Arc::new(line.finish()),
        Arc::new(why.finish()),
        Arc::new(of.finish()),
        Arc::new(text.finish()),
        Arc::new(hash.finish()),
    ];
    arrays.extend(signals.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef));
    RecordBatch::try_new(Arc::clone(schema), arrays)
}

/// Documents of a file, one after the other, in bounded memory.
pub struct Documents {
    path: PathBuf,
    /// The names of the signals.
    pub signals: Vec<String>,
    reader: ParquetRecordBatchReader,
    batch: Option<RecordBatch>,
    next: usize,
}

impl std::fmt::Debug for Documents {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Documents").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Documents {
    /// Opens [`DOCUMENTS_FILE`] or [`DROPPED_FILE`] of a folder.
    ///
    /// # Errors
    /// [`DatasetError::Io`] or [`DatasetError::Damaged`].
    pub fn open(folder: &Path, file: &str) -> Result<Self, DatasetError> {
        let path = folder.join(file);
        let opened = File::open(&path).map_err(DatasetError::io("open", &path))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(opened).map_err(DatasetError::damaged(&path))?;
        let names: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        if names.len() < 7 || names[0] != "row" || names[6] != "hash" {
            return Err(DatasetError::Damaged { path, what: "it has other columns than documents have".to_owned() });
        }
        let signals = names[7..].to_vec();
        let reader = builder.with_batch_size(READ_ROWS).build().map_err(DatasetError::damaged(&path))?;
        Ok(Self { path, signals, reader, batch: None, next: 0 })
    }

    fn row(&self, batch: &RecordBatch, at: usize) -> Option<DocumentRow> {
        let number = |column: usize| batch.column(column).as_primitive_opt::<UInt64Type>();
        let text = |column: usize| Some(batch.column(column).as_string_opt::<i32>()?.value(at).to_owned());
        let of = number(4)?;
        Some(DocumentRow {
            row: number(0)?.value(at),
            source: text(1)?,
            line: number(2)?.value(at),
            why: text(3)?,
            of: arrow::array::Array::is_valid(of, at).then(|| of.value(at)),
            text: text(5)?,
            hash: batch.column(6).as_fixed_size_binary_opt()?.value(at).try_into().ok()?,
            signals: (7..batch.num_columns())
                .map(|column| {
                    let values = batch.column(column).as_primitive_opt::<Float32Type>()?;
                    Some(if arrow::array::Array::is_valid(values, at) { values.value(at) } else { f32::NAN })
                })
                .collect::<Option<_>>()?,
        })
    }
}

impl Iterator for Documents {
    type Item = Result<DocumentRow, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(batch) = self.batch.as_ref().filter(|batch| self.next < batch.num_rows()) {
                let row = self.row(batch, self.next);
                self.next += 1;
                let what = || DatasetError::Damaged {
                    path: self.path.clone(),
                    what: "its columns have other types than documents have".to_owned(),
                };
                return Some(row.ok_or_else(what));
            }
            match self.reader.next()? {
                Ok(batch) => (self.batch, self.next) = (Some(batch), 0),
                Err(error) => return Some(Err(DatasetError::damaged(&self.path)(error))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let row = |row: u64| DocumentRow {
            row,
            source: "a.jsonl".to_owned(),
            line: row + 1,
            why: "train".to_owned(),
            of: row.is_multiple_of(3).then_some(row / 2),
            text: format!("text {row} 词"),
            hash: [row as u8; 16],
            signals: vec![row as f32, f32::NAN],
        };
        let mut writer = DocumentsWriter::create(folder.path(), DOCUMENTS_FILE, &["words", "perplexity"]).unwrap();
        for number in 0..1300 {
            writer.add(row(number)).unwrap();
        }
        writer.finish().unwrap();
        let documents = Documents::open(folder.path(), DOCUMENTS_FILE).unwrap();
        assert_eq!(documents.signals, ["words", "perplexity"]);
        let mut count = 0;
        for (number, read) in documents.enumerate() {
            let (read, wrote) = (read.unwrap(), row(number as u64));
            assert!(read.signals[1].is_nan());
            assert_eq!((read.row, &read.text, read.of, read.hash), (wrote.row, &wrote.text, wrote.of, wrote.hash));
            assert_eq!((read.line, read.why, read.signals[0]), (wrote.line, wrote.why, wrote.signals[0]));
            count += 1;
        }
        assert_eq!(count, 1300);
        std::fs::write(folder.path().join(DROPPED_FILE), b"rubbish").unwrap();
        assert!(matches!(Documents::open(folder.path(), DROPPED_FILE), Err(DatasetError::Damaged { .. })));
    }
}
