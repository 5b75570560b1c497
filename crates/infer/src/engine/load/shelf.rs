//! The tensors of a file on their way into a decoder: each is taken out once and checked, and none may be left over.
//!
//! Whatever the file's format is, a tensor is a name, sizes, an encoding and bytes; [`Matrix`] changes whole rows and
//! columns of it as an architecture asks for, and packs it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use kernels::f16::F16;
use kernels::parallel;
use kernels::quantised::{Encoding, Format, PackedMatrix};

use super::Packing;
use crate::error::InferError;

/// A tensor of a file.
#[derive(Debug, Clone)]
pub(crate) struct Tensor<'a> {
    /// Its sizes, the slowest first.
    pub(crate) shape: Vec<usize>,
    pub(crate) encoding: Encoding,
    /// Row by row.
    pub(crate) bytes: Cow<'a, [u8]>,
}

/// All that are left.
#[derive(Debug)]
pub(crate) struct Shelf<'a> {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor<'a>>,
    packing: Packing,
}

impl<'a> Shelf<'a> {
    /// `path` stands in messages.
    pub(crate) fn new(path: PathBuf, tensors: BTreeMap<String, Tensor<'a>>, packing: Packing) -> Self {
        Self { path, tensors, packing }
    }

    /// Whether there is such a tensor.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The sizes of a tensor.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| &tensor.shape[..])
    }

    /// Takes a vector of finite numbers.
    pub(crate) fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, InferError> {
        self.floats(name, &[length])
    }

    /// Takes finite numbers of these sizes, row by row.
    pub(crate) fn floats(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, InferError> {
        let tensor = self.take(name, shape)?;
        let mut values = vec![0.0; shape.iter().product()];
        tensor.encoding.dequantise(&mut values, &tensor.bytes);
        match values.iter().position(|value| !value.is_finite()) {
            Some(place) => Err(self.unfit(format!("tensor {name} holds {} at {place}", values[place]))),
            None => Ok(values),
        }
    }

    /// Takes a matrix.
    pub(crate) fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Matrix<'a>, InferError> {
        let Tensor { encoding, bytes, .. } = self.take(name, &[rows, columns])?;
        Ok(Matrix { name: name.to_owned(), encoding, rows, columns, bytes })
    }

    /// Takes a matrix whose file has rows and columns the other way around.
    pub(crate) fn transposed(&mut self, name: &str, rows: usize, columns: usize) -> Result<Matrix<'a>, InferError> {
        let matrix = self.matrix(name, columns, rows)?;
        self.only_numbers(&matrix)?;
        let size = matrix.encoding.block_bytes();
        let mut bytes = vec![0; matrix.bytes.len()];
        for row in 0..rows {
            for column in 0..columns {
                let from = (column * rows + row) * size;
                bytes[(row * columns + column) * size..][..size].copy_from_slice(&matrix.bytes[from..from + size]);
            }
        }
        Ok(Matrix { rows, columns, bytes: bytes.into(), ..matrix })
    }

    /// A matrix with its rows and columns in heads of `to` instead of `from` elements, the new ones zero.
    pub(crate) fn padded(
        &self,
        matrix: Matrix<'a>,
        rows: Option<[usize; 2]>,
        columns: Option<[usize; 2]>,
    ) -> Result<Matrix<'a>, InferError> {
        let same = |heads: Option<[usize; 2]>| heads.is_none_or(|[from, to]| from == to);
        if same(rows) && same(columns) {
            return Ok(matrix);
        }
        self.only_numbers(&matrix)?;
        let size = matrix.encoding.block_bytes();
        let place = |index: usize, heads: Option<[usize; 2]>| match heads {
            Some([from, to]) => index / from * to + index % from,
            None => index,
        };
        let grown = |count: usize, heads: Option<[usize; 2]>| heads.map_or(count, |[from, to]| count / from * to);
        let (new_rows, new_columns) = (grown(matrix.rows, rows), grown(matrix.columns, columns));
        let mut bytes = vec![0; new_rows * new_columns * size];
        for row in 0..matrix.rows {
            for column in 0..matrix.columns {
                let to = (place(row, rows) * new_columns + place(column, columns)) * size;
                let from = (row * matrix.columns + column) * size;
                bytes[to..to + size].copy_from_slice(&matrix.bytes[from..from + size]);
            }
        }
        Ok(Matrix { rows: new_rows, columns: new_columns, bytes: bytes.into(), ..matrix })
    }

    /// Packs a matrix.
    pub(crate) fn pack(&self, matrix: Matrix<'_>) -> PackedMatrix {
        matrix.pack(self.packing)
    }

    /// Nothing may be left but tensors whose names end like one of `spare`.
    pub(crate) fn finish(self, spare: &[&str]) -> Result<(), InferError> {
        match self.tensors.keys().find(|name| !spare.iter().any(|end| name.ends_with(end))) {
            Some(name) => Err(self.unfit(format!("tensor {name} is not part of a model of this architecture"))),
            None => Ok(()),
        }
    }

    /// An error about the file.
    pub(crate) fn unfit(&self, what: String) -> InferError {
        InferError::Unfit { path: self.path.clone(), what }
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor<'a>, InferError> {
        let tensor = self.tensors.remove(name).ok_or_else(|| self.unfit(format!("tensor {name} is missing")))?;
        let bytes = shape.last().map_or(1, |columns| *columns);
        let count = shape.iter().product::<usize>();
        let whole = bytes.is_multiple_of(tensor.encoding.block_elements());
        let length = count / tensor.encoding.block_elements() * tensor.encoding.block_bytes();
        if tensor.shape != shape || !whole || tensor.bytes.len() != length {
            return Err(self.unfit(format!("tensor {name} is {:?}, and should be {shape:?}", tensor.shape)));
        }
        Ok(tensor)
    }

    /// Blocks hold neighbours together that would have to part.
    fn only_numbers(&self, matrix: &Matrix<'_>) -> Result<(), InferError> {
        if let Encoding::Blocks(format) = matrix.encoding {
            let what = format!("tensor {} is in {format:?}, and its elements have to change their places", matrix.name);
            return Err(self.unfit(what));
        }
        Ok(())
    }
}

/// A matrix of a file.
#[derive(Debug, Clone)]
pub(crate) struct Matrix<'a> {
    name: String,
    encoding: Encoding,
    rows: usize,
    columns: usize,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Matrix<'a> {
    /// Some of its rows.
    pub(crate) fn rows(&self, rows: Range<usize>) -> Matrix<'a> {
        let row_bytes = self.encoding.row_bytes(self.columns);
        let range = rows.start * row_bytes..rows.end * row_bytes;
        let bytes = match &self.bytes {
            Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[range]),
            Cow::Owned(bytes) => Cow::Owned(bytes[range].to_vec()),
        };
        Matrix { name: self.name.clone(), bytes, rows: rows.len(), ..*self }
    }

    /// The same with the rows of every head of `dim` in another order: of the first `turned`, in which the file has the
    /// two elements of a rotated pair beside each other, all first ones come before all second ones, as Hugging Face
    /// has them.
    pub(crate) fn halves(self, dim: usize, turned: usize) -> Matrix<'a> {
        let row_bytes = self.encoding.row_bytes(self.columns);
        let from = |place: usize| match place % dim {
            within if within < turned => place - within + within % (turned / 2) * 2 + within / (turned / 2),
            _ => place,
        };
        let mut bytes = Vec::with_capacity(self.bytes.len());
        (0..self.rows).for_each(|place| bytes.extend_from_slice(&self.bytes[from(place) * row_bytes..][..row_bytes]));
        Matrix { bytes: bytes.into(), ..self }
    }

    fn pack(self, packing: Packing) -> PackedMatrix {
        let Self { encoding, rows, columns, ref bytes, .. } = self;
        let format = match packing {
            Packing::Blocks(format) if columns.is_multiple_of(format.block_elements()) => Some(format),
            Packing::Blocks(_) if columns.is_multiple_of(32) => Some(Format::Q8_0),
            _ => None,
        };
        match (encoding, format) {
            (Encoding::F32 | Encoding::F16 | Encoding::Bf16, Some(format)) => {
                let row_bytes = format.row_bytes(columns);
                let mut blocks = vec![0; rows * row_bytes];
                parallel::chunks(&mut blocks, row_bytes, |row, to| {
                    let mut values = vec![0.0; columns];
                    let from = row * encoding.row_bytes(columns);
                    encoding.dequantise(&mut values, &bytes[from..from + encoding.row_bytes(columns)]);
                    format.quantise(to, &values);
                });
                PackedMatrix::pack(Encoding::Blocks(format), rows, columns, &blocks)
            }
            (Encoding::F32, None) => match halved(bytes) {
                Some(bytes) => PackedMatrix::pack(Encoding::F16, rows, columns, &bytes),
                None => PackedMatrix::pack(encoding, rows, columns, bytes),
            },
            _ => PackedMatrix::pack(encoding, rows, columns, bytes),
        }
    }
}

/// The same numbers in f16, if each of them is one.
fn halved(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut halves = Vec::with_capacity(bytes.len() / 2);
    for number in bytes.as_chunks::<4>().0 {
        let value = f32::from_le_bytes(*number);
        let half = F16::from_f32(value);
        if half.to_f32().to_bits() != value.to_bits() {
            return None;
        }
        halves.extend(half.0.to_le_bytes());
    }
    Some(halves)
}
