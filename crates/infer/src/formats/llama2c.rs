//! llama2.c's files: a checkpoint (`legacy`, version 0) and its `tokenizer.bin`.
//!
//! ```text
//! checkpoint: width, feed_forward, layers, heads, kv_heads, vocabulary, context: i32 each; a vocabulary below 0 has a
//!             head of its own | f32 tensors: embedding; attention norms, wq, wk, wv, wo, MLP norms, w1, w2, w3, each of
//!             all layers; final norm; cosines and sines [context, dim/2], no longer read | head
//! tokenizer:  longest token i32 | for each token: score f32, length i32, bytes
//! ```
//!
//! Source: `export.py` and `run.c` of the project llama2.c (MIT licence).

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use kernels::quantised::Encoding;

use super::safetensors::{Numbers, read_bytes};
use super::vocabulary::{Encoder, SPACE, SentencePiece, Vocabulary, piece_bytes};
use crate::error::InferError;
use crate::mapped::Mapped;

/// Bytes of the header.
const HEADER_BYTES: usize = 28;
/// No size is larger.
const SIZE_MAX: usize = 1 << 28;
/// The largest tokenizer, and its longest token.
const TOKENIZER_BYTES_MAX: u64 = 64 << 20;

/// The sizes of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Elements of a row of the residual stream.
    pub width: usize,
    /// Elements between gate and down.
    pub feed_forward: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Tokens.
    pub vocabulary: usize,
    /// The longest sequence.
    pub context: usize,
    /// The embedding is the head.
    pub tied: bool,
}

/// An open checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    map: Mapped,
    header: Header,
}

impl Checkpoint {
    /// Maps a file and checks its sizes.
    ///
    /// # Errors
    /// [`InferError::Io`] when it cannot be opened, [`InferError::Damaged`] when it is no such file, or is cut.
    pub fn open(path: &Path) -> Result<Self, InferError> {
        let map = Mapped::open(path).map_err(InferError::io("open", path))?;
        let header = parse(map.bytes()).map_err(InferError::damaged(path))?;
        Ok(Self { path: path.to_owned(), map, header })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its sizes.
    #[must_use]
    pub fn header(&self) -> Header {
        self.header
    }

    /// The tensors, by Hugging Face's names; the pairs of rotary positions lie beside each other.
    pub(crate) fn tensors(&self) -> Numbers<'_> {
        let mut all = Numbers::new();
        let mut rest = self.map.bytes().get(HEADER_BYTES..).unwrap_or_default();
        for (name, shape) in layout(&self.header) {
            let length = 4 * shape.iter().product::<usize>();
            // `parse` has seen that all are there.
            let (bytes, behind) = rest.split_at(length.min(rest.len()));
            rest = behind;
            if !name.is_empty() {
                all.insert(name, (shape, Encoding::F32, Cow::Borrowed(bytes)));
            }
        }
        all
    }
}

/// The tensors of a file in their order; those without a name are not needed.
fn layout(header: &Header) -> Vec<(String, Vec<usize>)> {
    let Header { width, feed_forward, layers, heads, kv_heads, vocabulary, context, tied } = *header;
    let dim = width / heads;
    let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![vocabulary, width])];
    let parts: [(&str, Vec<usize>); 9] = [
        ("input_layernorm", vec![width]),
        ("self_attn.q_proj", vec![width, width]),
        ("self_attn.k_proj", vec![kv_heads * dim, width]),
        ("self_attn.v_proj", vec![kv_heads * dim, width]),
        ("self_attn.o_proj", vec![width, width]),
        ("post_attention_layernorm", vec![width]),
        ("mlp.gate_proj", vec![feed_forward, width]),
        ("mlp.down_proj", vec![width, feed_forward]),
        ("mlp.up_proj", vec![feed_forward, width]),
    ];
    for (part, shape) in parts {
        all.extend((0..layers).map(|layer| (format!("model.layers.{layer}.{part}.weight"), shape.clone())));
    }
    all.push(("model.norm.weight".to_owned(), vec![width]));
    all.extend([(String::new(), vec![context, dim / 2]), (String::new(), vec![context, dim / 2])]);
    if !tied {
        all.push(("lm_head.weight".to_owned(), vec![vocabulary, width]));
    }
    all
}

fn parse(bytes: &[u8]) -> Result<Header, String> {
    let Some((numbers, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return Err("it is no model file that is known here: GGUF, or llama2.c's".to_owned());
    };
    let number = |index: usize| {
        let at = 4 * index;
        i64::from(i32::from_le_bytes([numbers[at], numbers[at + 1], numbers[at + 2], numbers[at + 3]]))
    };
    let vocabulary = number(5);
    let sizes = [number(0), number(1), number(2), number(3), number(4), vocabulary.abs(), number(6)];
    let sizes = sizes.map(|size| usize::try_from(size).ok().filter(|size| (1..=SIZE_MAX).contains(size)));
    let [Some(width), Some(feed_forward), Some(layers), Some(heads), Some(kv_heads), Some(words), Some(context)] =
        sizes
    else {
        return Err("it is no model file that is known here: GGUF, or llama2.c's".to_owned());
    };
    let header =
        Header { width, feed_forward, layers, heads, kv_heads, vocabulary: words, context, tied: vocabulary > 0 };
    // A size that is too large is found out before anything is made of it.
    let dim = width / heads;
    if layers > 1024 || !width.is_multiple_of(heads) || !heads.is_multiple_of(kv_heads) || !dim.is_multiple_of(2) {
        return Err(format!("it has {layers} layers and {heads} heads with {kv_heads} of keys for a width of {width}"));
    }
    let wanted = layout(&header).iter().try_fold(HEADER_BYTES, |sum, (_, shape)| {
        let count = shape.iter().try_fold(4_usize, |count, size| count.checked_mul(*size))?;
        sum.checked_add(count)
    });
    if wanted != Some(bytes.len()) {
        return Err(format!("it has {} bytes, and its sizes {header:?} ask for {wanted:?}", bytes.len()));
    }
    Ok(header)
}

impl Vocabulary {
    /// Reads `tokenizer.bin` for a model of `size` tokens.
    ///
    /// # Errors
    /// [`InferError::Io`] when it cannot be read, [`InferError::Damaged`] when it does not hold that many tokens.
    pub fn of_llama2c(path: &Path, size: usize) -> Result<Self, InferError> {
        let bytes = read_bytes(path, TOKENIZER_BYTES_MAX)?;
        let words = parse_tokenizer(&bytes, size).map_err(InferError::damaged(path))?;
        Ok(Self::of_pieces(&words))
    }

    /// A vocabulary of words with their scores: three tokens for what is unknown and for both ends of a text, 256 for
    /// bytes, and words with spaces in them.
    fn of_pieces(words: &[(String, f32)]) -> Self {
        let mut pieces =
            SentencePiece { tokens: HashMap::new(), bytes: vec![None; 256], unknown: Some(0), space_before: true };
        let mut bytes = Vec::new();
        for (token, (word, score)) in (0..).zip(words) {
            let word = word.replace(' ', SPACE);
            let own = if token < 3 { Vec::new() } else { piece_bytes(&word) };
            if token >= 3 && word.starts_with("<0x") && own.len() == 1 && word.len() == 6 {
                pieces.bytes[own[0] as usize] = Some(token);
            } else if token >= 3 {
                pieces.tokens.entry(word).or_insert((token, *score));
            }
            bytes.push(own);
        }
        let encoder = Encoder::SentencePiece(pieces);
        // Its models begin every text with token 1, which ends it as well.
        Self { bytes, encoder, user: Vec::new(), control: Vec::new(), begin: Some(1), ends: vec![1, 2] }
    }
}

fn parse_tokenizer(bytes: &[u8], size: usize) -> Result<Vec<(String, f32)>, String> {
    let early = || "it ends too early".to_owned();
    let (_, mut rest) = bytes.split_first_chunk::<4>().ok_or_else(early)?;
    let mut words = Vec::new();
    while words.len() < size {
        let (score, behind) = rest.split_first_chunk::<4>().ok_or_else(early)?;
        let (length, behind) = behind.split_first_chunk::<4>().ok_or_else(early)?;
        let length = usize::try_from(i32::from_le_bytes(*length)).map_err(|error| error.to_string())?;
        let (word, behind) = behind.split_at_checked(length).ok_or_else(early)?;
        rest = behind;
        let score = f32::from_le_bytes(*score);
        if !score.is_finite() {
            return Err(format!("token {} has the score {score}", words.len()));
        }
        words.push((String::from_utf8_lossy(word).into_owned(), score));
    }
    if words.len() < 259 || !rest.is_empty() {
        return Err(format!("it has {} bytes behind {} tokens; there are at least 259", rest.len(), words.len()));
    }
    Ok(words)
}

#[cfg(test)]
mod tests;
