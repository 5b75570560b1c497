//! Rows of a `predict` dataset, in Parquet.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use base::{ColumnType, Value};
use infer::description::{Columns, Target};
use infer::preprocess::PREPROCESS_FILE;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::Split;
use crate::error::DatasetError;

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its position in all sources, from 0.
    pub id: u64,
    /// The inputs in the order of the project file.
    pub inputs: Vec<Value>,
    /// The outputs in the order of the project file.
    pub outputs: Vec<Value>,
}

/// Reads the inputs and outputs of a dataset with their fitted preprocessing.
///
/// # Errors
/// [`DatasetError::Io`] or [`DatasetError::Damaged`].
pub fn read_columns(folder: &Path) -> Result<Columns, DatasetError> {
    let path = folder.join(PREPROCESS_FILE);
    let bytes = std::fs::read(&path).map_err(DatasetError::io("read", &path))?;
    serde_json::from_slice(&bytes).map_err(DatasetError::damaged(&path))
}

/// The names and types of all columns: inputs, then outputs.
fn fields(columns: &Columns) -> Vec<(&str, ColumnType)> {
    let inputs = columns.inputs.iter().map(|input| (input.name.as_str(), input.column_type));
    let outputs = columns.outputs.iter().map(|output| {
        let column_type = match output.target {
            Target::Category { .. } => ColumnType::Category,
            Target::Binary { .. } => ColumnType::Binary,
            Target::Number { .. } => ColumnType::Number,
        };
        (output.name.as_str(), column_type)
    });
    inputs.chain(outputs).collect()
}

/// Writes the rows of a split. The bytes depend on the rows alone.
///
/// # Errors
/// [`DatasetError::Io`].
pub fn write_split(folder: &Path, split: Split, columns: &Columns, rows: &[Row]) -> Result<(), DatasetError> {
    let path = folder.join(format!("{}.parquet", split.name()));
    let fail = |error: parquet::errors::ParquetError| DatasetError::io("write", &path)(std::io::Error::other(error));
    let mut fields_of = vec![Field::new("row", DataType::UInt64, false)];
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.id)))];
    for (index, (name, column_type)) in fields(columns).into_iter().enumerate() {
        let cells = rows.iter().map(|row| match index.checked_sub(row.inputs.len()) {
            None => &row.inputs[index],
            Some(output) => &row.outputs[output],
        });
        let (data_type, array): (DataType, ArrayRef) = match column_type {
            ColumnType::Text | ColumnType::Category => {
                (DataType::Utf8, Arc::new(cells.map(Value::as_text).collect::<StringArray>()))
            }
            ColumnType::Number => (DataType::Float64, Arc::new(cells.map(Value::as_number).collect::<Float64Array>())),
            ColumnType::Binary => (DataType::Boolean, Arc::new(cells.map(Value::as_binary).collect::<BooleanArray>())),
        };
        fields_of.push(Field::new(name, data_type, true));
        arrays.push(array);
    }
    let schema = Arc::new(Schema::new(fields_of));
    let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(|error| fail(error.into()))?;
    let properties =
        WriterProperties::builder().set_compression(Compression::SNAPPY).set_created_by("modelyard".to_owned()).build();
    let file = File::create(&path).map_err(DatasetError::io("make", &path))?;
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).map_err(fail)?;
    writer.write(&batch).map_err(fail)?;
    writer.close().map_err(fail)?;
    Ok(())
}

/// The number of rows of a split, from the file's footer.
///
/// # Errors
/// [`DatasetError::Io`] or [`DatasetError::Damaged`].
pub fn count_rows(folder: &Path, split: Split) -> Result<u64, DatasetError> {
    let path = folder.join(format!("{}.parquet", split.name()));
    let file = File::open(&path).map_err(DatasetError::io("open", &path))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(DatasetError::damaged(&path))?;
    Ok(u64::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0))
}

/// Reads the rows of a split.
///
/// # Errors
/// [`DatasetError::Io`], or [`DatasetError::Damaged`] when the file does not have the columns.
pub fn read_split(folder: &Path, split: Split, columns: &Columns) -> Result<Vec<Row>, DatasetError> {
    let path = folder.join(format!("{}.parquet", split.name()));
    let file = File::open(&path).map_err(DatasetError::io("open", &path))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(DatasetError::damaged(&path))?;
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.map_err(DatasetError::damaged(&path))?;
        read_batch(&batch, columns, &mut rows).map_err(|what| DatasetError::Damaged { path: path.clone(), what })?;
    }
    Ok(rows)
}

fn read_batch(batch: &RecordBatch, columns: &Columns, rows: &mut Vec<Row>) -> Result<(), String> {
    let column = |name: &str| batch.column_by_name(name).ok_or_else(|| format!("it has no column {name:?}"));
    let ids = column("row")?.as_any().downcast_ref::<UInt64Array>().ok_or("its column row is not of numbers")?;
    let first = rows.len();
    rows.extend((0..batch.num_rows()).map(|index| Row {
        id: ids.value(index),
        inputs: Vec::with_capacity(columns.inputs.len()),
        outputs: Vec::with_capacity(columns.outputs.len()),
    }));
    for (position, (name, column_type)) in fields(columns).into_iter().enumerate() {
        let values = read_column(column(name)?.as_ref(), column_type)
            .ok_or_else(|| format!("its column {name:?} is not of type {}", column_type.name()))?;
        for (row, value) in rows[first..].iter_mut().zip(values) {
            if position < columns.inputs.len() { row.inputs.push(value) } else { row.outputs.push(value) }
        }
    }
    Ok(())
}

fn read_column(array: &dyn Array, column_type: ColumnType) -> Option<Vec<Value>> {
    let any = array.as_any();
    let values = match column_type {
        ColumnType::Text | ColumnType::Category => {
            let texts = any.downcast_ref::<StringArray>()?;
            texts.iter().map(|text| text.map_or(Value::Missing, |text| Value::Text(text.to_owned()))).collect()
        }
        ColumnType::Number => any
            .downcast_ref::<Float64Array>()?
            .iter()
            .map(|number| number.map_or(Value::Missing, Value::Number))
            .collect(),
        ColumnType::Binary => any
            .downcast_ref::<BooleanArray>()?
            .iter()
            .map(|truth| truth.map_or(Value::Missing, Value::Binary))
            .collect(),
    };
    Some(values)
}
