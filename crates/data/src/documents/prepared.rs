//! A document on its way through the stage, and the files that hold them between its passes: shards of Arrow, one for each
//! batch of documents, numbered in the order of the sources.
//!
//! A shard appears by one rename, so that a run that was killed goes on behind the last whole one, and so that the machines
//! of a cluster can make them.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, FixedSizeBinaryBuilder, Float32Builder, Float64Builder, RecordBatch, StringBuilder,
    UInt32Builder, UInt64Builder, cast::AsArray as _,
};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, Schema, UInt32Type, UInt64Type};
use arrow::error::ArrowError;
use arrow::ipc::reader::FileReader;
use arrow::ipc::writer::FileWriter;

use crate::error::DataError;
use crate::mend::Change;

/// Columns before the signals.
const FIXED: usize = 11;

/// A document, and what was found out about it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Prepared {
    /// Its position in all sources, from 0.
    pub(crate) row: u64,
    /// The object it came from.
    pub(crate) object: u32,
    /// The member of an archive.
    pub(crate) member: Option<String>,
    /// The line or record, from 1.
    pub(crate) line: u64,
    /// The moment to split by; NaN where there is none.
    pub(crate) moment: f64,
    /// The text as it will be used.
    pub(crate) text: String,
    /// Bytes of the text as it was read.
    pub(crate) bytes_read: u64,
    /// Why it is dropped, where it is.
    pub(crate) reason: Option<String>,
    /// What was changed.
    pub(crate) changes: Vec<Change>,
    /// The first 16 bytes of the SHA-256 of the text.
    pub(crate) hash: [u8; 16],
    /// The language, as the language model sees it.
    pub(crate) language: Option<String>,
    /// What was measured, in the order of the signals; NaN where nothing was.
    pub(crate) signals: Vec<f32>,
}

/// The columns of a shard.
pub(crate) fn schema(signals: &[&str]) -> Arc<Schema> {
    let mut fields = vec![
        Field::new("row", DataType::UInt64, false),
        Field::new("object", DataType::UInt32, false),
        Field::new("member", DataType::Utf8, true),
        Field::new("line", DataType::UInt64, false),
        Field::new("moment", DataType::Float64, true),
        Field::new("text", DataType::Utf8, false),
        Field::new("bytes_read", DataType::UInt64, false),
        Field::new("reason", DataType::Utf8, true),
        Field::new("changes", DataType::Utf8, true),
        Field::new("hash", DataType::FixedSizeBinary(16), false),
        Field::new("language", DataType::Utf8, true),
    ];
    fields.extend(signals.iter().map(|name| Field::new(*name, DataType::Float32, true)));
    Arc::new(Schema::new(fields))
}

/// Documents as a batch of Arrow.
pub(crate) fn to_batch(schema: &Arc<Schema>, documents: &[Prepared]) -> Result<RecordBatch, ArrowError> {
    let (mut row, mut object, mut line) = (UInt64Builder::new(), UInt32Builder::new(), UInt64Builder::new());
    let (mut member, mut text, mut reason) = (StringBuilder::new(), StringBuilder::new(), StringBuilder::new());
    let (mut changes, mut hash) = (StringBuilder::new(), FixedSizeBinaryBuilder::new(16));
    let mut language = StringBuilder::new();
    let (mut moment, mut bytes_read) = (Float64Builder::new(), UInt64Builder::new());
    let mut signals: Vec<Float32Builder> = (FIXED..schema.fields().len()).map(|_| Float32Builder::new()).collect();
    for document in documents {
        row.append_value(document.row);
        object.append_value(document.object);
        member.append_option(document.member.as_deref());
        line.append_value(document.line);
        moment.append_option(Some(document.moment).filter(|moment| !moment.is_nan()));
        text.append_value(&document.text);
        bytes_read.append_value(document.bytes_read);
        reason.append_option(document.reason.as_deref());
        let list = (!document.changes.is_empty()).then(|| serde_json::to_string(&document.changes));
        let list = list.transpose().map_err(|error| ArrowError::ExternalError(Box::new(error)))?;
        changes.append_option(list);
        hash.append_value(document.hash)?;
        language.append_option(document.language.as_deref());
        for (index, builder) in signals.iter_mut().enumerate() {
            builder.append_option(document.signals.get(index).copied().filter(|value| !value.is_nan()));
        }
    }
    let mut arrays: Vec<ArrayRef> = vec![
        Arc::new(row.finish()),
        Arc::new(object.finish()),
        Arc::new(member.finish()),
        Arc::new(line.finish()),
        Arc::new(moment.finish()),
        Arc::new(text.finish()),
        Arc::new(bytes_read.finish()),
        Arc::new(reason.finish()),
        Arc::new(changes.finish()),
        Arc::new(hash.finish()),
        Arc::new(language.finish()),
    ];
    arrays.extend(signals.iter_mut().map(|builder| Arc::new(builder.finish()) as ArrayRef));
    RecordBatch::try_new(Arc::clone(schema), arrays)
}

/// The documents of a batch; `None` where its columns are not those of [`schema`].
pub(crate) fn from_batch(batch: &RecordBatch) -> Option<Vec<Prepared>> {
    if batch.num_columns() < FIXED {
        return None;
    }
    let strings = |column: usize| batch.column(column).as_string_opt::<i32>();
    let numbers = |column: usize| batch.column(column).as_primitive_opt::<UInt64Type>();
    let (row, line, bytes_read) = (numbers(0)?, numbers(3)?, numbers(6)?);
    let object = batch.column(1).as_primitive_opt::<UInt32Type>()?;
    let (member, text, reason, changes) = (strings(2)?, strings(5)?, strings(7)?, strings(8)?);
    let language = strings(10)?;
    let moment = batch.column(4).as_primitive_opt::<Float64Type>()?;
    let hash = batch.column(9).as_fixed_size_binary_opt()?;
    let signals = (FIXED..batch.num_columns())
        .map(|column| batch.column(column).as_primitive_opt::<Float32Type>())
        .collect::<Option<Vec<_>>>()?;
    (0..batch.num_rows())
        .map(|at| {
            let some = |strings: &arrow::array::StringArray| strings.is_valid(at).then(|| strings.value(at).to_owned());
            Some(Prepared {
                row: row.value(at),
                object: object.value(at),
                member: some(member),
                line: line.value(at),
                moment: if moment.is_valid(at) { moment.value(at) } else { f64::NAN },
                text: text.value(at).to_owned(),
                bytes_read: bytes_read.value(at),
                reason: some(reason),
                changes: match some(changes) {
                    None => Vec::new(),
                    Some(list) => serde_json::from_str(&list).ok()?,
                },
                hash: hash.value(at).try_into().ok()?,
                language: some(language),
                signals: signals
                    .iter()
                    .map(|values| if values.is_valid(at) { values.value(at) } else { f32::NAN })
                    .collect(),
            })
        })
        .collect()
}

/// Where a shard lies.
pub(crate) fn shard_path(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("shard-{index:06}.arrow"))
}

/// A name beside a file's, for as long as it is written: another one at each call.
pub(crate) fn partial_path(path: &Path) -> PathBuf {
    path.with_extension(format!("{:016x}.partial", RandomState::new().hash_one(path)))
}

/// Writes a shard.
pub(crate) fn write_shard(folder: &Path, index: usize, batch: &RecordBatch) -> Result<(), DataError> {
    let path = shard_path(folder, index);
    let partial = partial_path(&path);
    let fail = |error: ArrowError| DataError::io("write", &partial)(std::io::Error::other(error));
    let file = File::create(&partial).map_err(DataError::io("make", &partial))?;
    let mut writer = FileWriter::try_new(BufWriter::new(file), &batch.schema()).map_err(fail)?;
    writer.write(batch).map_err(fail)?;
    writer.finish().map_err(fail)?;
    writer
        .into_inner()
        .map_err(fail)?
        .into_inner()
        .map_err(|error| DataError::io("write", &partial)(error.into_error()))?
        .sync_data()
        .map_err(DataError::io("write", &partial))?;
    std::fs::rename(&partial, &path).map_err(DataError::io("rename", &partial))
}

/// Reads a shard.
pub(crate) fn read_shard(folder: &Path, index: usize) -> Result<Vec<Prepared>, DataError> {
    let path = shard_path(folder, index);
    let damaged = || {
        let hint = "Something else wrote into .yard; run the same command again.";
        // A damaged shard would stand in the way for ever.
        let _ = std::fs::remove_file(&path);
        DataError::file(&path, "it is no shard of documents, and was removed", hint)
    };
    let file = File::open(&path).map_err(DataError::io("open", &path))?;
    let reader = FileReader::try_new(std::io::BufReader::new(file), None).map_err(|_| damaged())?;
    let mut documents = Vec::new();
    for batch in reader {
        documents.extend(batch.ok().as_ref().and_then(from_batch).ok_or_else(damaged)?);
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_holds_what_was_put_into_it() {
        let folder = tempfile::tempdir().unwrap();
        let document = |row: u64| Prepared {
            row,
            object: 3,
            member: (row % 2 == 1).then(|| "a/b.txt".to_owned()),
            line: row * 2,
            moment: if row == 0 { 5.5 } else { 7.25 },
            text: format!("text {row} 词"),
            bytes_read: 99,
            reason: (row == 2).then(|| "empty".to_owned()),
            changes: vec![Change { reason: "mojibake".to_owned(), before: "Ã¶".to_owned(), after: "ö".to_owned() }],
            hash: [7; 16],
            language: (row == 1).then(|| "zh".to_owned()),
            signals: vec![row as f32, 0.5],
        };
        let documents: Vec<Prepared> = (0..5).map(document).collect();
        let batch = to_batch(&schema(&["a", "b"]), &documents).unwrap();
        write_shard(folder.path(), 4, &batch).unwrap();
        assert_eq!(read_shard(folder.path(), 4).unwrap(), documents);
        std::fs::write(shard_path(folder.path(), 5), b"ARROW1").unwrap();
        assert!(read_shard(folder.path(), 5).is_err());
        assert!(!shard_path(folder.path(), 5).exists());
    }
}
