//! Files of weights in the safetensors format, and matrices in `f32` or in eight bits.
//!
//! A file is read once, tensor by tensor, into memory of its own. It is not mapped: a file that is
//! overwritten or cut under a running server would kill it, and every weight has to be looked at anyway.
//! Sizes in the header are held against the length of the file before anything is allocated.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, View};

use crate::error::InferError;

/// The largest header that is read; a header has about 150 bytes a tensor.
const HEADER_BYTES_MAX: u64 = 16 << 20;
/// The ending of the name of a tensor that holds the scales of another.
pub const SCALE: &str = ".scale";

/// A named array, as a file of weights holds it, row by row.
#[derive(Debug, Clone, PartialEq)]
pub enum Tensor {
    /// 32-bit floating point.
    F32 {
        /// Its sizes, the slowest first.
        shape: Vec<usize>,
        /// Its elements.
        values: Vec<f32>,
    },
    /// Eight-bit integers.
    I8 {
        /// Its sizes, the slowest first.
        shape: Vec<usize>,
        /// Its elements.
        values: Vec<i8>,
    },
}

impl Tensor {
    /// A tensor of 32-bit floating point.
    ///
    /// # Panics
    /// When there are not as many values as the shape says.
    #[must_use]
    pub fn f32(shape: Vec<usize>, values: Vec<f32>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "elements of a tensor of shape {shape:?}");
        Self::F32 { shape, values }
    }

    /// Its sizes, the slowest first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32 { shape, .. } | Self::I8 { shape, .. } => shape,
        }
    }

    /// Its elements, if they are 32-bit floating point.
    #[must_use]
    pub fn as_f32(&self) -> Option<&[f32]> {
        if let Self::F32 { values, .. } = self { Some(values) } else { None }
    }

    /// How much memory its elements take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::F32 { values, .. } => 4 * values.len() as u64,
            Self::I8 { values, .. } => values.len() as u64,
        }
    }

    /// The kind of its elements and its shape, as messages show them.
    pub(crate) fn kind(&self) -> String {
        let kind = if matches!(self, Self::F32 { .. }) { "F32" } else { "I8" };
        format!("{kind} {:?}", self.shape())
    }
}

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        if matches!(self, Tensor::F32 { .. }) { Dtype::F32 } else { Dtype::I8 }
    }

    fn shape(&self) -> &[usize] {
        Tensor::shape(self)
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(match self {
            Tensor::F32 { values, .. } => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Tensor::I8 { values, .. } => values.iter().map(|value| value.cast_unsigned()).collect(),
        })
    }

    fn data_len(&self) -> usize {
        Tensor::bytes(self) as usize
    }
}

/// Writes a file of weights atomically. The same tensors give the same bytes.
///
/// # Errors
/// [`InferError::Io`] when the file cannot be written.
pub fn write(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<(), InferError> {
    let bytes = safetensors::serialize(tensors, None)
        .map_err(|error| InferError::io("write", path)(std::io::Error::other(error.to_string())))?;
    base::files::write_atomically(path, &bytes).map_err(InferError::io("write", path))
}

/// Reads a file of weights.
///
/// # Errors
/// [`InferError::Io`] when the file cannot be read, [`InferError::Damaged`] when it is cut off, is no
/// safetensors file, or holds elements other than `F32` and `I8`.
pub fn read(path: &Path) -> Result<BTreeMap<String, Tensor>, InferError> {
    let mut file = File::open(path).map_err(InferError::io("open", path))?;
    let length = file.metadata().map_err(InferError::io("read", path))?.len();
    let metadata = read_header(&mut file, path, length)?;
    let mut tensors = BTreeMap::new();
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else { continue };
        let count = info.shape.iter().product();
        let shape = info.shape.clone();
        let tensor = match info.dtype {
            Dtype::F32 => Tensor::F32 { shape, values: read_f32(&mut file, path, count)? },
            Dtype::I8 => Tensor::I8 { shape, values: read_i8(&mut file, path, count)? },
            other => return Err(InferError::damaged(path)(format!("tensor {name} holds {other}, not F32 or I8"))),
        };
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// The header, after its sizes have been held against the file's length.
fn read_header(file: &mut File, path: &Path, length: u64) -> Result<Metadata, InferError> {
    let mut size = [0; 8];
    fill(file, path, &mut size)?;
    let size = u64::from_le_bytes(size);
    if size > HEADER_BYTES_MAX || size > length.saturating_sub(8) {
        return Err(InferError::damaged(path)(format!("its header claims {size} bytes, the file has {length}")));
    }
    let mut header = vec![0; size as usize];
    fill(file, path, &mut header)?;
    // This checks that the tensors lie one after the other, each as long as its shape says.
    let metadata: Metadata = serde_json::from_slice(&header).map_err(InferError::damaged(path))?;
    let wanted = 8 + size + metadata.data_len() as u64;
    if wanted != length {
        return Err(InferError::damaged(path)(format!("it has {length} bytes, its header describes {wanted}")));
    }
    Ok(metadata)
}

fn read_f32(file: &mut File, path: &Path, count: usize) -> Result<Vec<f32>, InferError> {
    let mut values = reserve(path, count)?;
    let mut buffer = vec![0; (4 * count).min(256 << 10)];
    while values.len() < count {
        let bytes = buffer.len().min(4 * (count - values.len()));
        fill(file, path, &mut buffer[..bytes])?;
        let (numbers, _) = buffer[..bytes].as_chunks::<4>();
        values.extend(numbers.iter().map(|number| f32::from_le_bytes(*number)));
    }
    Ok(values)
}

fn read_i8(file: &mut File, path: &Path, count: usize) -> Result<Vec<i8>, InferError> {
    let mut bytes = reserve(path, count)?;
    bytes.resize(count, 0);
    fill(file, path, &mut bytes)?;
    Ok(bytes.into_iter().map(u8::cast_signed).collect())
}

fn reserve<T>(path: &Path, count: usize) -> Result<Vec<T>, InferError> {
    let mut values = Vec::new();
    values.try_reserve_exact(count).map_err(|_| InferError::io("read", path)(ErrorKind::OutOfMemory.into()))?;
    Ok(values)
}

/// Reads exactly as many bytes as the buffer has.
fn fill(file: &mut File, path: &Path, buffer: &mut [u8]) -> Result<(), InferError> {
    file.read_exact(buffer).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => InferError::damaged(path)("it ends too early"),
        _ => InferError::io("read", path)(error),
    })
}

/// A matrix of two dimensions in eight bits, with one scale a row: `w = scale · q` and
/// `scale = max|row| / 127`. A row of zeros has scale 0. Nothing for any other tensor.
#[must_use]
pub fn quantise(tensor: &Tensor) -> Option<(Tensor, Tensor)> {
    let Tensor::F32 { shape, values } = tensor else { return None };
    let [rows, columns] = shape[..] else { return None };
    let mut quantised = Vec::with_capacity(values.len());
    let mut scales = Vec::with_capacity(rows);
    for row in 0..rows {
        let row = &values[row * columns..(row + 1) * columns];
        let scale = row.iter().fold(0.0_f32, |largest, value| largest.max(value.abs())) / 127.0;
        // A row so small that its scale is 0 becomes a row of zeros.
        let inverse = if scale > 0.0 { 1.0 / f64::from(scale) } else { 0.0 };
        quantised.extend(row.iter().map(|value| (f64::from(*value) * inverse).round().clamp(-127.0, 127.0) as i8));
        scales.push(scale);
    }
    Some((Tensor::I8 { shape: shape.clone(), values: quantised }, Tensor::F32 { shape: vec![rows], values: scales }))
}

/// The same tensors with every matrix quantised to `NAME` and `NAME.scale`; see [`quantise`].
#[must_use]
pub fn quantise_matrices(tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let mut all = BTreeMap::new();
    for (name, tensor) in tensors {
        if let Some((quantised, scales)) = quantise(tensor) {
            all.insert(name.clone(), quantised);
            all.insert(format!("{name}{SCALE}"), scales);
        } else {
            all.insert(name.clone(), tensor.clone());
        }
    }
    all
}

/// A matrix as the engine computes with it.
#[derive(Debug, PartialEq)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    elements: Elements,
}

#[derive(Debug, PartialEq)]
enum Elements {
    F32(Vec<f32>),
    Int8 { values: Vec<i8>, scales: Vec<f32> },
}

impl Matrix {
    /// A matrix of 32-bit floating point.
    ///
    /// # Panics
    /// When there are not `rows · columns` values.
    #[must_use]
    pub fn f32(rows: usize, columns: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), rows * columns);
        Self { rows, columns, elements: Elements::F32(values) }
    }

    /// A matrix of eight bits with one scale a row.
    ///
    /// # Panics
    /// When there are not `rows · columns` values and `rows` scales.
    #[must_use]
    pub fn int8(rows: usize, columns: usize, values: Vec<i8>, scales: Vec<f32>) -> Self {
        assert_eq!((values.len(), scales.len()), (rows * columns, rows));
        Self { rows, columns, elements: Elements::Int8 { values, scales } }
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// `y[n] = self · x[n]` for every vector of `x` (each of `columns` elements).
    pub fn multiply(&self, y: &mut [f32], x: &[f32]) {
        match &self.elements {
            Elements::F32(values) => kernels::linear(y, values, x, None, self.columns),
            Elements::Int8 { values, scales } => kernels::linear_int8(y, values, scales, x, self.columns),
        }
    }

    /// `y += Σ value · row(index)` over `(index, value)` pairs in their order.
    pub fn add_rows(&self, y: &mut [f32], pairs: &[(u32, f32)]) {
        match &self.elements {
            Elements::F32(values) => kernels::add_rows(y, values, pairs),
            Elements::Int8 { values, scales } => kernels::add_rows_int8(y, values, scales, pairs),
        }
    }
}

/// The tensors of a file on their way into a model: each is taken out once and checked; none may be
/// left over.
pub(crate) struct Shelf<'a> {
    tensors: BTreeMap<String, Tensor>,
    path: &'a Path,
    int8: bool,
}

impl<'a> Shelf<'a> {
    /// `path` stands in messages; with `int8`, matrices are quantised.
    pub fn new(tensors: BTreeMap<String, Tensor>, path: &'a Path, int8: bool) -> Self {
        Self { tensors, path, int8 }
    }

    /// Takes a vector.
    pub fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, InferError> {
        match self.take(name)? {
            Tensor::F32 { shape, values } if shape == [length] => {
                if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                    return Err(self.unfit(format!("tensor {name} holds {} at {index}", values[index])));
                }
                Ok(values)
            }
            other => Err(self.unfit(format!("tensor {name} is {}, and should be F32 [{length}]", other.kind()))),
        }
    }

    /// Takes a matrix, with its scales if it is quantised.
    pub fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Matrix, InferError> {
        match self.take(name)? {
            Tensor::F32 { shape, values } if !self.int8 && shape == [rows, columns] => {
                if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                    return Err(self.unfit(format!("tensor {name} holds {} at {index}", values[index])));
                }
                Ok(Matrix::f32(rows, columns, values))
            }
            Tensor::I8 { shape, values } if self.int8 && shape == [rows, columns] => {
                let scales = self.vector(&format!("{name}{SCALE}"), rows)?;
                Ok(Matrix::int8(rows, columns, values, scales))
            }
            other => {
                let kind = if self.int8 { "I8" } else { "F32" };
                let wanted = format!("{kind} [{rows}, {columns}]");
                Err(self.unfit(format!("tensor {name} is {}, and should be {wanted}", other.kind())))
            }
        }
    }

    /// Nothing may be left.
    pub fn finish(self) -> Result<(), InferError> {
        match self.tensors.keys().next() {
            Some(name) => Err(self.unfit(format!("tensor {name} is not part of this model"))),
            None => Ok(()),
        }
    }

    fn take(&mut self, name: &str) -> Result<Tensor, InferError> {
        self.tensors.remove(name).ok_or_else(|| self.unfit(format!("tensor {name} is missing")))
    }

    fn unfit(&self, what: String) -> InferError {
        InferError::Unfit { path: self.path.to_owned(), what }
    }
}
