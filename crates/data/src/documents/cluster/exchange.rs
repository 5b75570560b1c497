//! The files between the process that reads and the workers that prepare: one Parquet file for each batch, with one row, and
//! `job.json`, which says what is to be done with it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, Float64Array, ListArray, RecordBatch, StringArray, StructArray,
    UInt32Array, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Schema, UInt32Type, UInt64Type};
use arrow::error::ArrowError;
use base::Digest;
use base::project::ProjectFile;
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
use serde::{Deserialize, Serialize};

use super::super::gather::{Raw, RawBatch};
use crate::error::DataError;

const JOB_FILE: &str = "job.json";
/// The folder of the exchange in that of the stage.
const FOLDER: &str = "exchange";

/// What is to be done with the batches.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    /// What the prepared documents depend on; a worker that finds another identity sees other files, or is another program.
    pub(super) identity: Digest,
    /// The project, with the settings of this call.
    pub(super) project: ProjectFile,
}

/// The folder of the exchange.
pub(super) fn folder(stage: &Path) -> PathBuf {
    stage.join(FOLDER)
}

impl Job {
    pub(super) fn write(&self, stage: &Path) -> Result<(), DataError> {
        let folder = folder(stage);
        std::fs::create_dir_all(&folder).map_err(DataError::io("make", &folder))?;
        let path = folder.join(JOB_FILE);
        let text = serde_json::to_string(self).map_err(|error| DataError::engine(&path)(error))?;
        std::fs::write(&path, text).map_err(DataError::io("write", &path))
    }

    pub(super) fn read(stage: &Path) -> Result<Self, DataError> {
        let path = folder(stage).join(JOB_FILE);
        let text = std::fs::read_to_string(&path).map_err(DataError::io("read", &path))?;
        let hint = "Driver and workers must be the same yard, and see the project's folder under the same path.";
        serde_json::from_str(&text).map_err(|error| DataError::file(&path, error.to_string(), hint))
    }
}

/// The columns of a document that was read.
fn document_fields() -> Fields {
    Fields::from(vec![
        Field::new("object", DataType::UInt32, false),
        Field::new("member", DataType::Utf8, true),
        Field::new("line", DataType::UInt64, false),
        Field::new("text", DataType::Utf8, false),
        Field::new("moment", DataType::Float64, true),
        Field::new("held_out", DataType::Boolean, false),
        Field::new("damage", DataType::Utf8, true),
        Field::new("damage_message", DataType::Utf8, true),
        Field::new("replaced", DataType::UInt32, false),
    ])
}

/// The columns of a batch's file: its number, the position of its first document in all sources, its documents.
pub(super) fn schema() -> Arc<Schema> {
    let item = Field::new_list_field(DataType::Struct(document_fields()), false);
    Arc::new(Schema::new(vec![
        Field::new("index", DataType::UInt64, false),
        Field::new("first_row", DataType::UInt64, false),
        Field::new("documents", DataType::List(Arc::new(item)), false),
    ]))
}

/// A batch as one row of [`schema`].
fn to_row(batch: &RawBatch) -> Result<RecordBatch, ArrowError> {
    let documents = &batch.documents;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from_iter_values(documents.iter().map(|raw| raw.object))),
        Arc::new(documents.iter().map(|raw| raw.member.as_deref()).collect::<StringArray>()),
        Arc::new(UInt64Array::from_iter_values(documents.iter().map(|raw| raw.line))),
        Arc::new(StringArray::from_iter_values(documents.iter().map(|raw| &raw.text))),
        Arc::new(documents.iter().map(|raw| Some(raw.moment).filter(|at| !at.is_nan())).collect::<Float64Array>()),
        Arc::new(documents.iter().map(|raw| Some(raw.held_out)).collect::<BooleanArray>()),
        Arc::new(
            documents.iter().map(|raw| raw.damage.as_ref().map(|(code, _)| code.as_str())).collect::<StringArray>(),
        ),
        Arc::new(
            documents.iter().map(|raw| raw.damage.as_ref().map(|(_, what)| what.as_str())).collect::<StringArray>(),
        ),
        Arc::new(UInt32Array::from_iter_values(documents.iter().map(|raw| raw.replaced))),
    ];
    let structs = StructArray::try_new(document_fields(), columns, None)?;
    let item = Arc::new(Field::new_list_field(structs.data_type().clone(), false));
    let list = ListArray::try_new(item, OffsetBuffer::from_lengths([documents.len()]), Arc::new(structs), None)?;
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(UInt64Array::from(vec![batch.index as u64])),
            Arc::new(UInt64Array::from(vec![batch.first_row])),
            Arc::new(list),
        ],
    )
}

/// The documents of one row; `None` where the columns are others.
pub(super) fn from_row(index: u64, first_row: u64, documents: &dyn arrow::array::Array) -> Option<RawBatch> {
    let structs = documents.as_struct_opt()?;
    let column = |name: &str| structs.column_by_name(name);
    let strings = |name: &str| column(name)?.as_string_opt::<i32>();
    let (member, text) = (strings("member")?, strings("text")?);
    let (damage, message) = (strings("damage")?, strings("damage_message")?);
    let object = column("object")?.as_primitive_opt::<UInt32Type>()?;
    let replaced = column("replaced")?.as_primitive_opt::<UInt32Type>()?;
    let line = column("line")?.as_primitive_opt::<UInt64Type>()?;
    let moment = column("moment")?.as_primitive_opt::<Float64Type>()?;
    let held_out = column("held_out")?.as_boolean_opt()?;
    let some = |strings: &StringArray, at: usize| strings.is_valid(at).then(|| strings.value(at).to_owned());
    let documents = (0..structs.len())
        .map(|at| Raw {
            object: object.value(at),
            member: some(member, at),
            line: line.value(at),
            text: text.value(at).to_owned(),
            moment: if moment.is_valid(at) { moment.value(at) } else { f64::NAN },
            held_out: held_out.value(at),
            damage: some(damage, at).zip(some(message, at)),
            replaced: replaced.value(at),
        })
        .collect();
    Some(RawBatch { index: usize::try_from(index).ok()?, first_row, documents })
}

/// Writes the file of a batch.
pub(super) fn write(stage: &Path, batch: &RawBatch) -> Result<PathBuf, DataError> {
    let path = folder(stage).join(format!("batch-{:06}.parquet", batch.index));
    let row = to_row(batch).map_err(|error| DataError::engine(&path)(error))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .build();
    let file = File::create(&path).map_err(DataError::io("make", &path))?;
    let fail = |error: &dyn std::fmt::Display| DataError::io("write", &path)(std::io::Error::other(error.to_string()));
    let mut writer = ArrowWriter::try_new(file, row.schema(), Some(properties)).map_err(|error| fail(&error))?;
    writer.write(&row).map_err(|error| fail(&error))?;
    let file = writer.into_inner().map_err(|error| fail(&error))?;
    file.sync_data().map_err(DataError::io("write", &path))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_comes_back_from_its_row_as_it_was() {
        let raw = |at: u32| Raw {
            object: at,
            member: (at == 1).then(|| "a.zip/b.txt".to_owned()),
            line: 7 + u64::from(at),
            text: format!("文本 {at}"),
            moment: f64::from(at) + 0.5,
            held_out: at == 2,
            damage: (at == 0).then(|| ("bad_json".to_owned(), "no object".to_owned())),
            replaced: at,
        };
        let batch = RawBatch { index: 12, first_row: 5000, documents: (0..3).map(raw).collect() };
        let row = to_row(&batch).unwrap();
        let list = row.column(2).as_list::<i32>();
        let back = from_row(12, 5000, &list.value(0)).unwrap();
        assert_eq!(format!("{back:?}"), format!("{batch:?}"));
        assert!(from_row(0, 0, row.column(0)).is_none());
    }
}
