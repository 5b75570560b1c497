//! A GGUF file of Llama's kind becomes a [`PackedDecoder`], and with its vocabulary and its chat template an engine.

use std::borrow::Cow;
use std::path::Path;

use kernels::quantised::{Encoding, PackedMatrix};

use super::packed::{Layer, PackedDecoder, Sizes, Weights};
use super::{Engine, EngineConfig};
use crate::error::InferError;
use crate::formats::TensorInfo;
use crate::formats::gguf::{Gguf, Value};
use crate::formats::template::ChatTemplate;
use crate::formats::vocabulary::Vocabulary;
use crate::tokenizer::TextTokenizer;

/// No size of a model is larger; products of two still fit 64 bits.
const SIZE_MAX: usize = 1 << 28;
const LAYERS_MAX: usize = 1024;
/// The longest sequence, whatever the file says: rotary angles are kept for every position.
const CONTEXT_MAX: usize = 1 << 17;

/// A file that answers.
#[derive(Debug)]
pub struct Opened {
    /// The engine.
    pub engine: Engine,
    /// The file's own chat template, where it has one.
    pub template: Option<ChatTemplate>,
    /// The token that begins a text without a template, where one is wanted.
    pub begin: Option<u32>,
}

/// Opens a file and starts its engine. The configuration's context is cut to the model's.
///
/// # Errors
/// As [`gguf_decoder`]; [`InferError::Unfit`] when the vocabulary does not fit the weights, [`InferError::Template`] when
/// the template is none.
pub fn open_gguf(path: &Path, config: EngineConfig) -> Result<Opened, InferError> {
    let file = Gguf::open(path)?;
    let vocabulary = Vocabulary::of(&file)?;
    let decoder = gguf_decoder(&file, config.pages, config.page_positions)?;
    if vocabulary.size() != decoder.sizes().vocabulary {
        let (words, rows) = (vocabulary.size(), decoder.sizes().vocabulary);
        return Err(file.unfit(format!("it has {words} tokens, and weights for {rows}")));
    }
    let word = |key: &str| -> Result<String, InferError> {
        let token = file.size(&format!("tokenizer.ggml.{key}"))?;
        let Some(Value::Texts(words)) = file.pairs().get("tokenizer.ggml.tokens") else { return Ok(String::new()) };
        Ok(token.and_then(|token| words.get(token)).cloned().unwrap_or_default())
    };
    let template = match file.pairs().get("tokenizer.chat_template") {
        Some(Value::Text(source)) => Some(ChatTemplate::parse(source, &word("bos_token_id")?, &word("eos_token_id")?)?),
        _ => None,
    };
    let (begin, ends) = (vocabulary.begin, vocabulary.ends.clone());
    let config = EngineConfig { context: config.context.min(decoder.sizes().context), ..config };
    let engine = Engine::start(Box::new(decoder), TextTokenizer::from(vocabulary), ends, config)?;
    Ok(Opened { engine, template, begin })
}

/// Loads the decoder of a file, with a cache of so many pages.
///
/// # Errors
/// [`InferError::Unfit`] when the file is of another kind, or its parts do not fit each other.
pub fn gguf_decoder(file: &Gguf, pages: usize, page_positions: usize) -> Result<PackedDecoder, InferError> {
    if ![32, 64, 128, 256].contains(&page_positions) {
        return Err(InferError::Engine {
            what: format!("pages of {page_positions} positions; there are 32, 64, 128 or 256"),
        });
    }
    let (sizes, layers) = sizes(file)?;
    let weights = weights(file, &sizes, layers)?;
    Ok(PackedDecoder::new(sizes, weights, pages, page_positions))
}

/// Reads the sizes, and the number of layers.
fn sizes(file: &Gguf) -> Result<(Sizes, usize), InferError> {
    let architecture = file.text("general.architecture")?;
    if architecture != "llama" {
        return Err(file.unfit(format!("its general.architecture is {architecture:?}; \"llama\" is known here")));
    }
    for (key, value) in file.pairs() {
        // What would change the arithmetic is refused, and not passed over.
        if key.starts_with("llama.rope.scaling.type") && *value != Value::Text("none".to_owned()) {
            return Err(file.unfit(format!("{key} is {value:?}, which is not supported")));
        }
    }
    let size = |key: &str| -> Result<Option<usize>, InferError> {
        let key = format!("llama.{key}");
        match file.size(&key)? {
            Some(value) if value == 0 || value > SIZE_MAX => Err(file.unfit(format!("{key} is {value}"))),
            value => Ok(value),
        }
    };
    let needed = |key: &str| size(key)?.ok_or_else(|| file.unfit(format!("it has no llama.{key}")));
    let (width, heads) = (needed("embedding_length")?, needed("attention.head_count")?);
    let kv_heads = size("attention.head_count_kv")?.unwrap_or(heads);
    let dim = size("attention.key_length")?.unwrap_or(width / heads);
    let layers = needed("block_count")?;
    if layers > LAYERS_MAX || !heads.is_multiple_of(kv_heads) || dim == 0 || !dim.is_multiple_of(16) {
        let what = format!("{layers} layers, {heads} heads with {kv_heads} of keys, {dim} dimensions of a head");
        return Err(file.unfit(what));
    }
    if size("attention.value_length")?.is_some_and(|value| value != dim)
        || size("rope.dimension_count")?.is_some_and(|count| count != dim)
    {
        return Err(file.unfit("its values or rotary positions have other dimensions than its keys".to_owned()));
    }
    let embedding = tensor(file, "token_embd.weight")?;
    let vocabulary = embedding.shape.first().copied().unwrap_or(0);
    let norm_epsilon = file.number("llama.attention.layer_norm_rms_epsilon")?.unwrap_or(1e-5) as f32;
    let rope_theta = file.number("llama.rope.freq_base")?.unwrap_or(10_000.0);
    if vocabulary == 0
        || vocabulary > SIZE_MAX
        || !(norm_epsilon.is_finite() && norm_epsilon > 0.0)
        || !(rope_theta.is_finite() && rope_theta > 0.0)
    {
        return Err(file.unfit(format!("{vocabulary} tokens, epsilon {norm_epsilon}, rotary base {rope_theta}")));
    }
    let context = needed("context_length")?.min(CONTEXT_MAX);
    let feed_forward = needed("feed_forward_length")?;
    Ok((Sizes { vocabulary, width, heads, kv_heads, dim, feed_forward, norm_epsilon, rope_theta, context }, layers))
}

fn weights(file: &Gguf, sizes: &Sizes, layers: usize) -> Result<Weights, InferError> {
    let Sizes { vocabulary, width, heads, kv_heads, dim, feed_forward, .. } = *sizes;
    let matrix = |name: &str, rows: usize, columns: usize| matrix(file, name, rows, columns, None);
    let rotated = |name: &str, heads: usize| self::matrix(file, name, heads * dim, width, Some(dim));
    let mut used = 2 + usize::from(file.tensors().contains_key("output.weight"));
    let layer = |index: usize| -> Result<Layer, InferError> {
        let name = |part: &str| format!("blk.{index}.{part}.weight");
        Ok(Layer {
            attention_norm: vector(file, &name("attn_norm"), width)?,
            query: rotated(&name("attn_q"), heads)?,
            key: rotated(&name("attn_k"), kv_heads)?,
            value: matrix(&name("attn_v"), kv_heads * dim, width)?,
            output: matrix(&name("attn_output"), width, heads * dim)?,
            mlp_norm: vector(file, &name("ffn_norm"), width)?,
            gate: matrix(&name("ffn_gate"), feed_forward, width)?,
            up: matrix(&name("ffn_up"), feed_forward, width)?,
            down: matrix(&name("ffn_down"), width, feed_forward)?,
        })
    };
    let layers = (0..layers).map(layer).collect::<Result<Vec<_>, _>>()?;
    used += 9 * layers.len();
    if used != file.tensors().len() {
        return Err(file.unfit(format!("it has {} tensors, and a model of this kind {used}", file.tensors().len())));
    }
    let head = file.tensors().contains_key("output.weight");
    Ok(Weights {
        embedding: matrix("token_embd.weight", vocabulary, width)?,
        layers,
        norm: vector(file, "output_norm.weight", width)?,
        head: if head { Some(matrix("output.weight", vocabulary, width)?) } else { None },
    })
}

fn tensor<'a>(file: &'a Gguf, name: &str) -> Result<&'a TensorInfo, InferError> {
    file.tensors().get(name).ok_or_else(|| file.unfit(format!("tensor {name} is missing")))
}

fn vector(file: &Gguf, name: &str, length: usize) -> Result<Vec<f32>, InferError> {
    let tensor = tensor(file, name)?;
    if tensor.encoding != Encoding::F32 || tensor.shape != [length] {
        return Err(file.unfit(format!(
            "tensor {name} is {:?} {:?}, and should be F32 [{length}]",
            tensor.encoding, tensor.shape
        )));
    }
    let mut values = vec![0.0; length];
    tensor.encoding.dequantise(&mut values, file.bytes(tensor));
    match values.iter().position(|value| !value.is_finite()) {
        Some(place) => Err(file.unfit(format!("tensor {name} holds {} at {place}", values[place]))),
        None => Ok(values),
    }
}

/// A matrix. With `halves` its rows come in heads of so many, in which the file has the two halves of a rotated pair beside
/// each other, and we have them half a head apart, as Hugging Face does: whole rows change their places.
fn matrix(
    file: &Gguf,
    name: &str,
    rows: usize,
    columns: usize,
    halves: Option<usize>,
) -> Result<PackedMatrix, InferError> {
    let tensor = tensor(file, name)?;
    if tensor.shape != [rows, columns] {
        return Err(file.unfit(format!("tensor {name} is {:?}, and should be [{rows}, {columns}]", tensor.shape)));
    }
    let mut bytes = Cow::Borrowed(file.bytes(tensor));
    if let Some(dim) = halves {
        let row_bytes = tensor.encoding.row_bytes(columns);
        let row = |place: usize| {
            let (head, within) = (place / dim, place % dim);
            head * dim + within % (dim / 2) * 2 + within / (dim / 2)
        };
        bytes =
            Cow::Owned((0..rows).flat_map(|place| &bytes[row(place) * row_bytes..][..row_bytes]).copied().collect());
    }
    Ok(PackedMatrix::pack(tensor.encoding, rows, columns, &bytes))
}
