//! Reading columns of a source through DataFusion, one batch after the other.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use base::Value;
use base::project::DataFormat;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::object_store::ObjectStoreExt as _;
use datafusion::object_store::memory::InMemory;
use datafusion::prelude::{CsvReadOptions, DataFrame, ParquetReadOptions, SessionConfig, SessionContext, ident};
use futures::StreamExt as _;

use super::source::{MARK, Source, TEXT_DELIMITER};
use crate::error::DataError;

/// Reads `columns` of a source; `each` gets every row in the order of the file, and says whether to go
/// on.
pub(crate) fn read(
    source: &Source,
    columns: &[String],
    mut each: impl FnMut(Vec<Value>) -> Result<bool, DataError>,
) -> Result<(), DataError> {
    if let Some(held) = &source.held {
        return held.each(source, columns, each);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(DataError::io("start a runtime for", &source.path))?;
    runtime.block_on(async {
        let frame = open(source).await?;
        let known: Vec<String> = frame.schema().fields().iter().map(|field| field.name().clone()).collect();
        for column in columns {
            if !known.contains(column) {
                return Err(DataError::Column { column: column.clone(), path: source.path.clone(), known });
            }
        }
        let frame = frame.select(columns.iter().map(ident)).map_err(refused(source))?;
        let mut stream = frame.execute_stream().await.map_err(refused(source))?;
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(refused(source))?;
            let cells = cells(&batch, columns, &source.path)?;
            for row in 0..batch.num_rows() {
                if !each(cells.iter().map(|column| column.value(row)).collect())? {
                    return Ok(());
                }
            }
        }
        Ok(())
    })
}

/// The columns of a Parquet file.
pub(crate) fn parquet_columns(source: &Source) -> Result<Vec<String>, DataError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(DataError::io("start a runtime for", &source.path))?;
    let frame = runtime.block_on(open(source))?;
    Ok(frame.schema().fields().iter().map(|field| field.name().clone()).collect())
}

/// The number of rows of a Parquet file.
pub(crate) fn parquet_rows(source: &Source) -> Result<u64, DataError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(DataError::io("start a runtime for", &source.path))?;
    let count = runtime.block_on(async { open(source).await?.count().await.map_err(refused(source)) })?;
    Ok(count as u64)
}

async fn open(source: &Source) -> Result<DataFrame, DataError> {
    // One partition keeps the rows in the order of the file.
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    let path = address(source, &context).await?;
    let texts =
        Schema::new(source.columns.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect::<Vec<_>>());
    let delimited = CsvReadOptions::new().schema(&texts).file_extension("");
    let frame = match source.format {
        DataFormat::Csv => context.read_csv(path, delimited.has_header(true).newlines_in_values(true)).await,
        DataFormat::Tsv => {
            context.read_csv(path, delimited.has_header(true).delimiter(b'\t').newlines_in_values(true)).await
        }
        DataFormat::Text => {
            let options = delimited.has_header(false).delimiter(TEXT_DELIMITER).quote(0).terminator(Some(b'\n'));
            context.read_csv(path, options).await
        }
        DataFormat::Jsonl => {
            let options =
                datafusion::prelude::JsonReadOptions::default().file_extension("").schema_infer_max_records(usize::MAX);
            context.read_json(path, options).await
        }
        // `scan` has refused the others.
        _ => context.read_parquet(path, ParquetReadOptions::default().file_extension("")).await,
    };
    frame.map_err(refused(source))
}

/// Where DataFusion finds a source. JSON with a byte order mark, which DataFusion does not read, lies
/// in memory without it.
async fn address(source: &Source, context: &SessionContext) -> Result<String, DataError> {
    if source.format != DataFormat::Jsonl || !source.mark {
        return file_url(&source.path);
    }
    let mut bytes = std::fs::read(&source.path).map_err(DataError::io("read", &source.path))?;
    bytes.drain(..MARK.len().min(bytes.len()));
    let (memory, root) = (InMemory::new(), "memory://rows");
    memory.put(&"rows.jsonl".into(), bytes.into()).await.map_err(refused(source))?;
    let url = ObjectStoreUrl::parse(root).map_err(refused(source))?;
    context.register_object_store(url.as_ref(), Arc::new(memory));
    Ok(format!("{root}/rows.jsonl"))
}

/// A file's URL: in a plain path DataFusion would take `*`, `?` and `[` for patterns.
fn file_url(path: &Path) -> Result<String, DataError> {
    let whole = std::fs::canonicalize(path).map_err(DataError::io("find", path))?;
    let text = whole.to_str().ok_or_else(|| {
        DataError::file(path, "its name or a folder's above it is no UTF-8 text", "Rename it, or move it elsewhere.")
    })?;
    let mut url = "file://".to_owned();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    Ok(url)
}

/// What DataFusion refuses in Parquet is a damaged file; other formats were scanned before.
fn refused<E: std::fmt::Display>(source: &Source) -> impl FnOnce(E) -> DataError {
    let (path, parquet) = (source.path.clone(), source.format == DataFormat::Parquet);
    move |error| {
        if parquet {
            let what = format!("it is damaged or cut ({error})");
            return DataError::file(&path, what, "Copy or write the file again.");
        }
        DataError::engine(&path)(error)
    }
}

/// One column of a batch, brought to one of three types.
enum Cells {
    Texts(StringArray),
    Numbers(Float64Array),
    Truths(BooleanArray),
}

impl Cells {
    fn value(&self, row: usize) -> Value {
        match self {
            Self::Texts(array) if array.is_valid(row) => Value::Text(array.value(row).to_owned()),
            Self::Numbers(array) if array.is_valid(row) => Value::Number(array.value(row)),
            Self::Truths(array) if array.is_valid(row) => Value::Binary(array.value(row)),
            _ => Value::Missing,
        }
    }
}

fn cells(batch: &RecordBatch, columns: &[String], path: &Path) -> Result<Vec<Cells>, DataError> {
    batch.columns().iter().zip(columns).map(|(array, name)| one_column(array, name, path)).collect()
}

fn one_column(array: &ArrayRef, name: &str, path: &Path) -> Result<Cells, DataError> {
    let unfit = || {
        let what = format!("the column {name:?} holds {}, which is no text, number or truth value", array.data_type());
        DataError::file(path, what, "Leave the column out, or write it as text.")
    };
    let to = |data_type: &DataType| -> Result<Arc<dyn Array>, DataError> {
        cast(array, data_type).map_err(DataError::engine(path))
    };
    match array.data_type() {
        DataType::Boolean => array.as_any().downcast_ref().cloned().map(Cells::Truths).ok_or_else(unfit),
        kind if kind.is_numeric() => {
            to(&DataType::Float64)?.as_any().downcast_ref().cloned().map(Cells::Numbers).ok_or_else(unfit)
        }
        kind if kind.is_nested() => Err(unfit()),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => Err(unfit()),
        // Text of any width, dates and times, which become ISO 8601.
        _ => to(&DataType::Utf8)?.as_any().downcast_ref().cloned().map(Cells::Texts).ok_or_else(unfit),
    }
}
