//! Safetensors, the files of Hugging Face's folders: one, or several with an index, mapped and distrusted.
//!
//! ```text
//! header's length u64 | header: JSON, {name: {dtype, shape, data_offsets}} | bytes, without gaps
//! ```
//!
//! Source: the format's own description in the crate `safetensors`, whose checks are used: tensors follow each other
//! without gaps or overlaps, each as long as its sizes say.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use kernels::quantised::Encoding;
use safetensors::tensor::{Dtype, Metadata};
use serde_json::Value as Json;

use crate::error::InferError;
use crate::mapped::Mapped;

/// The largest header; it has about 150 bytes a tensor.
const HEADER_BYTES_MAX: u64 = 64 << 20;
/// The largest index, and the most files of a model.
const INDEX_BYTES_MAX: u64 = 64 << 20;
const FILES_MAX: usize = 1 << 10;
/// The names of a model's files.
const ONE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A tensor of a folder.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    file: usize,
    shape: Vec<usize>,
    dtype: Dtype,
    /// Its bytes in the file.
    begin: usize,
    end: usize,
}

/// A tensor, as it stands in its file.
#[derive(Debug)]
pub struct View<'a> {
    /// Its sizes, the slowest first.
    pub shape: &'a [usize],
    /// How its elements are written, if it is a way that is known here: F32, F16 or BF16.
    pub encoding: Option<Encoding>,
    /// The name of the way.
    pub dtype: String,
    /// Its bytes, row by row.
    pub bytes: &'a [u8],
}

/// The weights of a folder.
#[derive(Debug)]
pub struct Safetensors {
    path: PathBuf,
    files: Vec<Mapped>,
    tensors: BTreeMap<String, Place>,
}

impl Safetensors {
    /// Maps the files of a folder and reads their headers.
    ///
    /// # Errors
    /// [`InferError::Io`] when a file cannot be opened, [`InferError::Damaged`] when one is cut or is none, and when the
    /// index does not fit its files.
    pub fn open(folder: &Path) -> Result<Self, InferError> {
        let index = folder.join(INDEX);
        if folder.join(ONE).exists() || !index.exists() {
            let path = folder.join(ONE);
            if !path.exists() && folder.join("pytorch_model.bin").exists() {
                let what = format!("it has pytorch_model.bin alone, a program more than a file; known here: {ONE}");
                return Err(InferError::Unsupported { path: folder.to_owned(), what });
            }
            let file = Mapped::open(&path).map_err(InferError::io("open", &path))?;
            let tensors = parse(file.bytes(), 0).map_err(InferError::damaged(&path))?;
            return Ok(Self { path, files: vec![file], tensors });
        }
        let map = read_index(&index)?;
        let mut names: Vec<&String> = map.values().collect();
        names.sort();
        names.dedup();
        if names.len() > FILES_MAX {
            return Err(InferError::damaged(&index)(format!("it names {} files", names.len())));
        }
        let (mut files, mut tensors) = (Vec::new(), BTreeMap::new());
        for (number, name) in names.iter().enumerate() {
            let path = folder.join(name);
            let file = Mapped::open(&path).map_err(InferError::io("open", &path))?;
            for (tensor, place) in parse(file.bytes(), number).map_err(InferError::damaged(&path))? {
                if map.get(&tensor) != Some(name) {
                    return Err(InferError::damaged(&path)(format!("the index does not place tensor {tensor} in it")));
                }
                tensors.insert(tensor, place);
            }
            files.push(file);
        }
        match map.keys().find(|tensor| !tensors.contains_key(*tensor)) {
            Some(tensor) => Err(InferError::damaged(&index)(format!("tensor {tensor} is not in its file"))),
            None => Ok(Self { path: index, files, tensors }),
        }
    }

    /// The file, or the index of all files.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All tensors, by their names.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, View<'_>)> {
        self.tensors.iter().map(|(name, place)| {
            let bytes = self.files.get(place.file).map_or(&[][..], Mapped::bytes);
            let encoding = match place.dtype {
                Dtype::F32 => Some(Encoding::F32),
                Dtype::F16 => Some(Encoding::F16),
                Dtype::BF16 => Some(Encoding::Bf16),
                _ => None,
            };
            let bytes = bytes.get(place.begin..place.end).unwrap_or_default();
            (name.as_str(), View { shape: &place.shape, encoding, dtype: place.dtype.to_string(), bytes })
        })
    }

    /// The tensors whose elements can be computed with, without `prefix` where their names begin with it. Those of other
    /// types may be left out where their names end like one of `spare`.
    ///
    /// # Errors
    /// [`InferError::Unsupported`] when another one is of another type.
    pub(crate) fn numbers<'a>(&'a self, prefix: &str, spare: &[&str]) -> Result<Numbers<'a>, InferError> {
        let mut all = BTreeMap::new();
        for (name, View { shape, encoding, dtype, bytes }) in self.tensors() {
            let Some(encoding) = encoding else {
                if spare.iter().any(|end| name.ends_with(end)) {
                    continue;
                }
                let what = format!("tensor {name} holds {dtype}; known here: F32, F16, BF16");
                return Err(InferError::Unsupported { path: self.path.clone(), what });
            };
            let short = name.strip_prefix(prefix).unwrap_or(name).to_owned();
            if all.insert(short, (shape.to_vec(), encoding, Cow::Borrowed(bytes))).is_some() {
                let what = format!("it has tensor {name} with and without {prefix:?} before it");
                return Err(InferError::Unfit { path: self.path.clone(), what });
            }
        }
        Ok(all)
    }
}

/// Sizes, encoding and bytes of tensors.
pub(crate) type Numbers<'a> = BTreeMap<String, (Vec<usize>, Encoding, Cow<'a, [u8]>)>;

/// The header of a file.
fn parse(bytes: &[u8], file: usize) -> Result<BTreeMap<String, Place>, String> {
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or("it has no header")?;
    let length = u64::from_le_bytes(*length);
    if length > HEADER_BYTES_MAX || length > rest.len() as u64 {
        return Err(format!("its header claims {length} bytes, the file has {}", bytes.len()));
    }
    let (header, data) = rest.split_at(length as usize);
    let metadata: Metadata = serde_json::from_slice(header).map_err(|error| error.to_string())?;
    if metadata.data_len() != data.len() {
        return Err(format!("its header describes {} bytes, and there are {}", metadata.data_len(), data.len()));
    }
    let begin = 8 + header.len();
    let mut tensors = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        let (from, to) = info.data_offsets;
        let place = Place { file, shape: info.shape.clone(), dtype: info.dtype, begin: begin + from, end: begin + to };
        tensors.insert(name, place);
    }
    Ok(tensors)
}

/// Which tensor is in which file.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>, InferError> {
    let json = read_json(path, INDEX_BYTES_MAX)?;
    let wrong = |what: String| InferError::damaged(path)(what);
    let map = json["weight_map"].as_object().ok_or_else(|| wrong("it has no weight_map".to_owned()))?;
    let mut files = BTreeMap::new();
    for (tensor, file) in map {
        let file = file.as_str().ok_or_else(|| wrong(format!("the file of tensor {tensor} is {file}")))?;
        let plain = |name: &str| {
            let mut parts = Path::new(name).components();
            matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) && !name.contains(['/', '\\'])
        };
        if !plain(file) {
            return Err(wrong(format!("{file:?} is no name of a file beside it")));
        }
        files.insert(tensor.clone(), file.to_owned());
    }
    Ok(files)
}

/// Reads a JSON file of at most so many bytes.
pub(crate) fn read_json(path: &Path, bytes_max: u64) -> Result<Json, InferError> {
    let bytes = read_bytes(path, bytes_max)?;
    serde_json::from_slice(&bytes).map_err(InferError::damaged(path))
}

/// Reads a file of at most so many bytes.
pub(crate) fn read_bytes(path: &Path, bytes_max: u64) -> Result<Vec<u8>, InferError> {
    let length = std::fs::metadata(path).map_err(InferError::io("open", path))?.len();
    if length > bytes_max {
        return Err(InferError::damaged(path)(format!("it has {length} bytes, more than {bytes_max}")));
    }
    std::fs::read(path).map_err(InferError::io("read", path))
}

#[cfg(test)]
mod tests;
