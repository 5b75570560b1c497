//! Parquet and Arrow IPC: rows of base values.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema, UInt64Type};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::json::writer::{EncoderOptions, make_encoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use base::Value;
use base64::Engine as _;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use crate::guard::guarded;
use crate::input::{Input, Owned};
use crate::ipc::Messages;
use crate::json::whole_number;
use crate::lines::too_long;
use crate::record::{Body, Damage, Position, Reason, Row};
use crate::remote::RangeReader;
use crate::sink::{Flow, Halt, Sink, halt};

/// The rows of a batch: few, since a row may hold a whole document.
const BATCH_ROWS: usize = 256;

/// Reads Parquet, only the wanted columns.
pub(crate) fn read_parquet(input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    input.count_whole();
    match input.owned(sink.config)? {
        Owned::File(file) => read_chunks(file, sink),
        Owned::Memory(bytes) => read_chunks(bytes::Bytes::from(bytes), sink),
        Owned::Remote(ranges) => read_chunks(RemoteChunks(Mutex::new(ranges)), sink),
    }
}

fn read_chunks(chunks: impl ChunkReader + 'static, sink: &mut Sink<'_, '_>) -> Flow {
    let builder = guarded(|| ParquetRecordBatchReaderBuilder::try_new(chunks).map_err(parquet_halt))?;
    let wanted = wanted(builder.schema(), sink)?;
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.iter().copied());
    let mut reader =
        guarded(|| builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(parquet_halt))?;
    let order = order(&wanted);
    read_batches(|| guarded(|| reader.next().transpose().map_err(arrow_halt)), &order, sink)
}

/// Reads Arrow IPC. A file is a stream between two marks, and is read as one: in order, and without its
/// footer.
pub(crate) fn read_arrow(mut input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    let is_file = input.peek(6)? == b"ARROW1";
    let messages = Messages::new(input, is_file, sink.config.batch_bytes_max);
    let mut reader = guarded(|| StreamReader::try_new(messages, None).map_err(arrow_halt))?;
    let wanted = wanted(&reader.schema(), sink)?;
    read_batches(|| guarded(|| reader.next().transpose().map_err(arrow_halt)), &wanted, sink)?;
    if reader.get_mut().is_whole()? { Ok(()) } else { Err(halt(Reason::Truncated, "its end mark is missing")) }
}

/// The numbers of the wanted columns, in the wanted order.
fn wanted(schema: &Schema, sink: &Sink<'_, '_>) -> Result<Vec<usize>, Halt> {
    let names = &sink.config.columns;
    if names.is_empty() && schema.fields().len() > sink.config.columns_max {
        return Err(halt(Reason::TooMany, format!("it has more than {} columns", sink.config.columns_max)));
    }
    if names.is_empty() {
        return Ok((0..schema.fields().len()).collect());
    }
    let find = |name: &String| {
        schema.index_of(name).map_err(|_| {
            let known: Vec<&str> = schema.fields().iter().take(50).map(|field| field.name().as_str()).collect();
            halt(Reason::Syntax, format!("it has no column {name:?}, but {}", known.join(", ")))
        })
    };
    names.iter().map(find).collect()
}

/// Where the wanted columns stand in a projection, which keeps the order of the file.
fn order(wanted: &[usize]) -> Vec<usize> {
    let mut sorted: Vec<usize> = wanted.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    wanted.iter().map(|column| sorted.partition_point(|known| known < column)).collect()
}

fn read_batches(
    mut next: impl FnMut() -> Result<Option<RecordBatch>, Halt>,
    order: &[usize],
    sink: &mut Sink<'_, '_>,
) -> Flow {
    let mut number = 0_u64;
    let mut names: Option<Arc<[String]>> = None;
    loop {
        let here = Position::Record(number + 1);
        let Some(batch) = next().map_err(|halt| halt.at(here))? else { return Ok(()) };
        let schema = batch.schema();
        let columns = names
            .get_or_insert_with(|| order.iter().map(|&column| schema.field(column).name().clone()).collect())
            .clone();
        // An IPC batch has as many rows as its writer liked.
        for start in (0..batch.num_rows()).step_by(BATCH_ROWS) {
            let part = batch.slice(start, BATCH_ROWS.min(batch.num_rows() - start));
            let cells = guarded(|| {
                order
                    .iter()
                    .map(|&column| values(part.column(column), schema.field(column)))
                    .collect::<Result<Vec<_>, _>>()
            })
            .map_err(|halt| halt.at(here))?;
            let mut cells: Vec<_> = cells.into_iter().map(Vec::into_iter).collect();
            for _ in 0..part.num_rows() {
                number += 1;
                let cells: Vec<Value> = cells.iter_mut().filter_map(Iterator::next).collect();
                let position = Position::Record(number);
                let length: usize = cells.iter().filter_map(Value::as_text).map(str::len).sum();
                if length > sink.config.record_bytes_max {
                    sink.damaged(position, too_long(sink.config.record_bytes_max))?;
                } else {
                    sink.record(position, Body::Row(Row { columns: Arc::clone(&columns), cells }), 0)?;
                }
            }
        }
    }
}

/// A column as base values.
fn values(array: &ArrayRef, field: &arrow::datatypes::Field) -> Result<Vec<Value>, Halt> {
    use DataType as T;
    let to = |kind: &DataType| cast(array, kind).map_err(arrow_halt);
    Ok(match array.data_type() {
        T::Null => vec![Value::Missing; array.len()],
        T::Boolean => array.as_boolean().iter().map(|truth| truth.map_or(Value::Missing, Value::Binary)).collect(),
        T::UInt64 => array
            .as_primitive::<UInt64Type>()
            .iter()
            .map(|number| number.map_or(Value::Missing, |number| whole_number(i128::from(number))))
            .collect(),
        kind if kind.is_integer() => to(&T::Int64)?
            .as_primitive::<Int64Type>()
            .iter()
            .map(|number| number.map_or(Value::Missing, |number| whole_number(i128::from(number))))
            .collect(),
        T::Float16 | T::Float32 | T::Float64 => {
            to(&T::Float64)?.as_primitive::<Float64Type>().iter().map(float).collect()
        }
        T::Utf8 => array.as_string::<i32>().iter().map(text).collect(),
        T::LargeUtf8 => array.as_string::<i64>().iter().map(text).collect(),
        T::Utf8View => array.as_string_view().iter().map(text).collect(),
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => {
            to(&T::LargeBinary)?.as_binary::<i64>().iter().map(binary).collect()
        }
        T::Dictionary(_, inner) => values(&to(inner)?, field)?,
        kind if kind.is_nested() => nested(array, field)?,
        _ => {
            // Dates, times and decimals, as ISO 8601 and as they are written.
            let options = FormatOptions::default();
            let shown = ArrayFormatter::try_new(array.as_ref(), &options).map_err(arrow_halt)?;
            let mut cells = Vec::with_capacity(array.len());
            for row in 0..array.len() {
                cells.push(match array.is_valid(row) {
                    true => Value::Text(shown.value(row).try_to_string().map_err(arrow_halt)?),
                    false => Value::Missing,
                });
            }
            cells
        }
    })
}

fn float(number: Option<f64>) -> Value {
    match number {
        Some(number) if number.is_finite() => Value::Number(number),
        Some(number) if number.is_infinite() => Value::Text(number.to_string()),
        _ => Value::Missing,
    }
}

fn text(text: Option<&str>) -> Value {
    text.map_or(Value::Missing, |text| Value::Text(text.to_owned()))
}

/// Bytes that are text are text, others are base64.
fn binary(bytes: Option<&[u8]>) -> Value {
    bytes.map_or(Value::Missing, |bytes| {
        Value::Text(match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => base64::engine::general_purpose::STANDARD.encode(bytes),
        })
    })
}

/// Lists and structures as JSON writes them.
fn nested(array: &ArrayRef, field: &arrow::datatypes::Field) -> Result<Vec<Value>, Halt> {
    let options = EncoderOptions::default();
    let field = Arc::new(field.clone());
    let mut encoder = make_encoder(&field, array.as_ref(), &options).map_err(arrow_halt)?;
    let mut cells = Vec::with_capacity(array.len());
    let mut json = Vec::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            cells.push(Value::Missing);
            continue;
        }
        json.clear();
        encoder.encode(row, &mut json);
        cells.push(Value::Text(String::from_utf8_lossy(&json).into_owned()));
    }
    Ok(cells)
}

fn arrow_halt(error: ArrowError) -> Halt {
    match error {
        ArrowError::IoError(what, error) => {
            let damage = crate::input::damage_of(&error);
            if damage.reason == Reason::Corrupt { halt(Reason::Corrupt, what) } else { damage.into() }
        }
        ArrowError::ExternalError(inner) => match inner.downcast::<ParquetError>() {
            Ok(error) => parquet_halt(*error),
            Err(other) => halt(Reason::Corrupt, other.to_string()),
        },
        ArrowError::NotYetImplemented(what) => halt(Reason::Unsupported, what),
        other => halt(Reason::Corrupt, other.to_string()),
    }
}

fn parquet_halt(error: ParquetError) -> Halt {
    match error {
        ParquetError::EOF(what) => halt(Reason::Truncated, what),
        ParquetError::NYI(what) => halt(Reason::Unsupported, what),
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(error) => Halt::from(*error),
            Err(other) => match other.downcast::<Damage>() {
                Ok(damage) => (*damage).into(),
                Err(other) => halt(Reason::Corrupt, other.to_string()),
            },
        },
        other => halt(Reason::Corrupt, other.to_string()),
    }
}

/// Ranges of a remote object, as Parquet asks for them.
struct RemoteChunks(Mutex<RangeReader>);

impl RemoteChunks {
    fn at(&self, start: u64) -> parquet::errors::Result<RangeReader> {
        let mut ranges = self.0.lock().map_or_else(|poisoned| poisoned.into_inner().clone(), |ranges| ranges.clone());
        ranges.seek(SeekFrom::Start(start)).map_err(|error| ParquetError::External(Box::new(error)))?;
        Ok(ranges)
    }
}

impl Length for RemoteChunks {
    fn len(&self) -> u64 {
        self.0.lock().map_or_else(|poisoned| poisoned.into_inner().size, |ranges| ranges.size)
    }
}

impl ChunkReader for RemoteChunks {
    type T = RangeReader;

    fn get_read(&self, start: u64) -> parquet::errors::Result<RangeReader> {
        self.at(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<bytes::Bytes> {
        let mut bytes = vec![0; length];
        self.at(start)?.read_exact(&mut bytes).map_err(|error| ParquetError::External(Box::new(error)))?;
        Ok(bytes.into())
    }
}

/// A file is its own chunks.
const _: fn() = || {
    fn is_chunks<T: ChunkReader>() {}
    is_chunks::<File>();
};
