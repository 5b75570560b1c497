//! GGUF, the file of llama.cpp (versions 2 and 3, little-endian): key-value pairs, a table of tensors, and their bytes.
//!
//! ```text
//! "GGUF" | version u32 | tensors u64 | pairs u64
//! pairs:    key string | type u32 | value
//! tensors:  name string | dimensions u32 | sizes u64, the fastest first | type u32 | offset u64
//! bytes:    from the next multiple of general.alignment (32) on
//! ```
//!
//! Source: the specification in ggml's documentation (gguf.md).

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use kernels::quantised::{Encoding, Format};

use super::TensorInfo;
use crate::error::InferError;
use crate::mapped::Mapped;

/// The most pairs and tensors; real files have some hundred of each.
const PAIRS_MAX: u64 = 1 << 16;
const TENSORS_MAX: u64 = 1 << 17;
/// The longest key or name, in bytes.
const NAME_BYTES_MAX: usize = 1 << 12;
/// Arrays in arrays.
const DEPTH_MAX: usize = 4;
/// The most sizes of a tensor.
const DIMENSIONS_MAX: u32 = 4;
/// The largest alignment.
const ALIGNMENT_MAX: u64 = 1 << 20;

/// A value of a pair.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An integer without sign.
    Unsigned(u64),
    /// An integer with sign.
    Signed(i64),
    /// A number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// Integers without sign.
    Unsigneds(Vec<u64>),
    /// Integers with sign.
    Signeds(Vec<i64>),
    /// Numbers.
    Floats(Vec<f32>),
    /// Truth values.
    Bools(Vec<bool>),
    /// Texts.
    Texts(Vec<String>),
    /// Arrays.
    Arrays(Vec<Value>),
}

/// An open file.
#[derive(Debug)]
pub struct Gguf {
    path: PathBuf,
    map: Mapped,
    pairs: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl Gguf {
    /// Maps a file and reads everything but the tensors' bytes.
    ///
    /// # Errors
    /// [`InferError::Io`] when it cannot be opened, [`InferError::Damaged`] when it is no such file, is cut, or holds what
    /// is not known here.
    pub fn open(path: &Path) -> Result<Self, InferError> {
        let map = Mapped::open(path).map_err(InferError::io("open", path))?;
        let (pairs, tensors) = parse(map.bytes()).map_err(InferError::damaged(path))?;
        Ok(Self { path: path.to_owned(), map, pairs, tensors })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All pairs.
    #[must_use]
    pub fn pairs(&self) -> &BTreeMap<String, Value> {
        &self.pairs
    }

    /// All tensors.
    #[must_use]
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// The bytes of a tensor, row by row.
    #[must_use]
    pub fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        // A tensor of another file may lie elsewhere.
        self.map.bytes().get(tensor.offset..tensor.offset + tensor.length).unwrap_or_default()
    }

    /// A text that has to be there.
    ///
    /// # Errors
    /// [`InferError::Unfit`] when it is not there, or is no text.
    pub fn text(&self, key: &str) -> Result<&str, InferError> {
        match self.pairs.get(key) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(self.unfit(format!("it has no text {key}"))),
        }
    }

    /// A size that may be there.
    ///
    /// # Errors
    /// [`InferError::Unfit`] when it is no integer from 0 on.
    pub fn size(&self, key: &str) -> Result<Option<usize>, InferError> {
        let wrong = || self.unfit(format!("{key} is no size"));
        match self.pairs.get(key) {
            None => Ok(None),
            Some(Value::Unsigned(value)) => usize::try_from(*value).map(Some).map_err(|_| wrong()),
            Some(Value::Signed(value)) => usize::try_from(*value).map(Some).map_err(|_| wrong()),
            Some(_) => Err(wrong()),
        }
    }

    /// A number that may be there.
    ///
    /// # Errors
    /// [`InferError::Unfit`] when it is no number.
    pub fn number(&self, key: &str) -> Result<Option<f64>, InferError> {
        match self.pairs.get(key) {
            None => Ok(None),
            Some(Value::Float(value)) => Ok(Some(*value)),
            Some(_) => Err(self.unfit(format!("{key} is no number"))),
        }
    }

    /// An error about what is not known here.
    pub(crate) fn unsupported(&self, what: String) -> InferError {
        InferError::Unsupported { path: self.path.clone(), what }
    }

    /// An error about this file.
    pub(crate) fn unfit(&self, what: String) -> InferError {
        InferError::Unfit { path: self.path.clone(), what }
    }
}

type Parts = (BTreeMap<String, Value>, BTreeMap<String, TensorInfo>);

/// Everything but the tensors' bytes.
fn parse(bytes: &[u8]) -> Result<Parts, String> {
    let mut reader = Reader { bytes, at: 0 };
    if reader.take(4)? != b"GGUF" {
        return Err("it is no GGUF file".to_owned());
    }
    let version = reader.u32()?;
    if !(2..=3).contains(&version) {
        return Err(format!("it is GGUF of version {version}; 2 and 3 are known here"));
    }
    let (tensor_count, pair_count) = (reader.u64()?, reader.u64()?);
    if tensor_count > TENSORS_MAX || pair_count > PAIRS_MAX {
        return Err(format!("it claims {tensor_count} tensors and {pair_count} values"));
    }
    let mut pairs = BTreeMap::new();
    for _ in 0..pair_count {
        let key = reader.name()?;
        let kind = reader.u32()?;
        let value = reader.value(kind, 0)?;
        if pairs.insert(key.clone(), value).is_some() {
            return Err(format!("it has two values of {key}"));
        }
    }
    let mut found = Vec::new();
    for _ in 0..tensor_count {
        found.push(reader.tensor()?);
    }
    let alignment = match pairs.get("general.alignment") {
        None => 32,
        Some(Value::Unsigned(value)) if value.is_power_of_two() && *value <= ALIGNMENT_MAX => *value as usize,
        Some(other) => return Err(format!("general.alignment is {other:?}")),
    };
    let begin = reader.at.next_multiple_of(alignment);
    let mut tensors = BTreeMap::new();
    let mut places = HashSet::new();
    for mut tensor in found {
        let end = begin.checked_add(tensor.offset).and_then(|offset| offset.checked_add(tensor.length));
        if !tensor.offset.is_multiple_of(alignment) || end.is_none_or(|end| end > bytes.len()) {
            return Err(format!("tensor {} lies outside of the file's {} bytes", tensor.name, bytes.len()));
        }
        if tensor.length > 0 && !places.insert(tensor.offset) {
            return Err(format!("tensor {} lies where another one does", tensor.name));
        }
        tensor.offset += begin;
        let name = tensor.name.clone();
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(format!("it has two tensors {name}"));
        }
    }
    Ok((pairs, tensors))
}

/// A place in the file. Nothing is taken that is not there.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| format!("it ends too early, at byte {}", self.at))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, String> {
        self.array().map(u64::from_le_bytes)
    }

    /// A count of things of at least so many bytes each.
    fn count(&mut self, bytes_each: usize) -> Result<usize, String> {
        let count = self.u64()?;
        let most = (self.bytes.len() - self.at) / bytes_each.max(1);
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= most)
            .ok_or_else(|| format!("it claims {count} elements at byte {}, more than there is room for", self.at))
    }

    fn text(&mut self) -> Result<String, String> {
        let length = self.count(1)?;
        let bytes = self.take(length)?;
        // Some vocabularies hold bytes that are no text.
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn name(&mut self) -> Result<String, String> {
        let name = self.text()?;
        if name.len() > NAME_BYTES_MAX {
            return Err(format!("it has a name of {} bytes", name.len()));
        }
        Ok(name)
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value, String> {
        Ok(match kind {
            0 => Value::Unsigned(u64::from(self.array::<1>()?[0])),
            1 => Value::Signed(i64::from(i8::from_le_bytes(self.array()?))),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.array()?))),
            3 => Value::Signed(i64::from(i16::from_le_bytes(self.array()?))),
            4 => Value::Unsigned(u64::from(self.u32()?)),
            5 => Value::Signed(i64::from(i32::from_le_bytes(self.array()?))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.array()?))),
            7 => Value::Bool(self.truth()?),
            8 => Value::Text(self.text()?),
            9 => self.values(depth + 1)?,
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => return Err(format!("it has a value of the unknown type {other}")),
        })
    }

    fn truth(&mut self) -> Result<bool, String> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(format!("a truth value is {other}")),
        }
    }

    fn values(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEPTH_MAX {
            return Err("its arrays are too deep".to_owned());
        }
        let kind = self.u32()?;
        let bytes_each = match kind {
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => 12,
            _ => 1,
        };
        let count = self.count(bytes_each)?;
        Ok(match kind {
            0 | 2 | 4 | 10 => Value::Unsigneds(self.list(count, kind, |value| match value {
                Value::Unsigned(value) => Some(value),
                _ => None,
            })?),
            1 | 3 | 5 | 11 => Value::Signeds(self.list(count, kind, |value| match value {
                Value::Signed(value) => Some(value),
                _ => None,
            })?),
            6 | 12 => Value::Floats(self.list(count, kind, |value| match value {
                Value::Float(value) => Some(value as f32),
                _ => None,
            })?),
            7 => Value::Bools((0..count).map(|_| self.truth()).collect::<Result<_, _>>()?),
            8 => Value::Texts((0..count).map(|_| self.text()).collect::<Result<_, _>>()?),
            9 => Value::Arrays((0..count).map(|_| self.values(depth + 1)).collect::<Result<_, _>>()?),
            other => return Err(format!("it has an array of the unknown type {other}")),
        })
    }

    fn list<T>(&mut self, count: usize, kind: u32, of: impl Fn(Value) -> Option<T>) -> Result<Vec<T>, String> {
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            all.extend(of(self.value(kind, 0)?));
        }
        Ok(all)
    }

    /// A line of the table, with its place as the file says it.
    fn tensor(&mut self) -> Result<TensorInfo, String> {
        let name = self.name()?;
        let dimensions = self.u32()?;
        if dimensions > DIMENSIONS_MAX {
            return Err(format!("tensor {name} has {dimensions} dimensions"));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(usize::try_from(self.u64()?).map_err(|error| error.to_string())?);
        }
        shape.reverse();
        let kind = self.u32()?;
        let encoding =
            encoding(kind).ok_or_else(|| format!("tensor {name} is of the type {kind}, which is not known here"))?;
        let offset = usize::try_from(self.u64()?).map_err(|error| error.to_string())?;
        let columns = shape.last().copied().unwrap_or(1);
        if !columns.is_multiple_of(encoding.block_elements()) {
            return Err(format!("tensor {name} has rows of {columns} elements, which are no whole blocks"));
        }
        let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
        let length = count.and_then(|count| (count / encoding.block_elements()).checked_mul(encoding.block_bytes()));
        let length = length.ok_or_else(|| format!("tensor {name} has impossible sizes {shape:?}"))?;
        Ok(TensorInfo { name, shape, encoding, offset, length })
    }
}

/// How a type of GGML's is written.
fn encoding(kind: u32) -> Option<Encoding> {
    Some(match kind {
        0 => Encoding::F32,
        1 => Encoding::F16,
        2 => Encoding::Blocks(Format::Q4_0),
        3 => Encoding::Blocks(Format::Q4_1),
        8 => Encoding::Blocks(Format::Q8_0),
        12 => Encoding::Blocks(Format::Q4_K),
        13 => Encoding::Blocks(Format::Q5_K),
        14 => Encoding::Blocks(Format::Q6_K),
        30 => Encoding::Bf16,
        _ => return None,
    })
}

#[cfg(test)]
pub(crate) mod tests;
