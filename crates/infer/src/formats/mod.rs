//! Files of models that other programs write: named tensors in mapped memory, and what is said about them.
//!
//! A file is not trusted: every size is held against the length of the file before anything is allocated or read, and
//! what does not fit is an error with the file's name.

pub mod gguf;
pub mod llama2c;
pub mod safetensors;
pub mod template;
pub(crate) mod tokenizer_json;
pub mod vocabulary;

use kernels::quantised::Encoding;

/// A tensor in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name in the file.
    pub name: String,
    /// Its sizes, the slowest first.
    pub shape: Vec<usize>,
    /// How its elements are written.
    pub encoding: Encoding,
    /// Where it begins in the file, in bytes.
    offset: usize,
    /// How many bytes it has.
    length: usize,
}
