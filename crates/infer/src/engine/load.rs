//! Files of other programs become a [`PackedDecoder`], and with their vocabularies and chat templates an engine.
//!
//! [`open`] takes a GGUF file, a folder of Hugging Face's, or a file of llama2.c's. Each says what it is as a `Plan`;
//! `plan` lists the architectures as data, `shelf` takes the tensors, `rope` scales rotary positions.

pub(crate) mod config;
mod gguf;
mod plan;
mod rope;
pub(crate) mod shelf;

use std::collections::BTreeMap;
use std::path::Path;

use kernels::quantised::Format;

use self::config::Config;
use self::plan::{ARCHITECTURES, Plan};
use self::shelf::{Shelf, Tensor};
use super::packed::PackedDecoder;
use super::{Engine, EngineConfig, Forward};
use crate::error::InferError;
use crate::formats::gguf::{Gguf, Value};
use crate::formats::llama2c::Checkpoint;
use crate::formats::safetensors::{Safetensors, read_json};
use crate::formats::template::ChatTemplate;
use crate::formats::tokenizer_json::template_of;
use crate::formats::vocabulary::Vocabulary;
use crate::tokenizer::TextTokenizer;

/// The largest `config.json`.
pub(crate) const CONFIG_BYTES_MAX: u64 = 8 << 20;

/// How weights that a file holds as numbers (f32, f16, bf16) are kept. Blocks of GGUF files stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Packing {
    /// As the same numbers: f16 stays f16, bf16 stays bf16, and f32 becomes f16 where no bit is lost. Rows that meet bf16
    /// are rounded to bf16, as everyone who runs such models does; those that meet the others are not.
    #[default]
    Exact,
    /// Rounded to blocks: smaller, faster, and other numbers. Matrices whose columns are no whole blocks become `Q8_0`, or
    /// stay as they are where they are no multiple of 32.
    Blocks(Format),
}

/// A model that answers.
#[derive(Debug)]
pub struct Opened {
    /// What it calls itself, or what its file is called.
    pub name: String,
    /// The engine.
    pub engine: Engine,
    /// The model's own chat template, where it has one.
    pub template: Option<ChatTemplate>,
    /// The token that begins a text without a template, where one is wanted.
    pub begin: Option<u32>,
    /// The tokens that end a text.
    pub ends: Vec<u32>,
    /// The longest sequence of the model; the engine's may be shorter.
    pub context_length: usize,
    /// The bytes that the cache of keys and values takes once it is full.
    pub cache_bytes: usize,
}

/// A model without a thread.
struct Parts {
    name: String,
    decoder: PackedDecoder,
    vocabulary: Vocabulary,
    template: Option<ChatTemplate>,
}

/// Opens a GGUF file, a folder of Hugging Face's, or a file of llama2.c's (with `tokenizer.bin` beside it), and starts its
/// engine. The configuration's context is cut to the model's.
///
/// # Errors
/// [`InferError::Io`] and [`InferError::Damaged`] when files are missing, cut, or none; [`InferError::Unsupported`]
/// when its architecture is not known here, or it asks for what is not; [`InferError::Unfit`] when its parts do not fit
/// each other; [`InferError::Template`] when the chat template is none.
pub fn open(path: &Path, config: EngineConfig, packing: Packing) -> Result<Opened, InferError> {
    open_with_draft(path, None, config, packing)
}

/// The same with a smaller model of the same tokens that guesses ahead ([`Engine::start_with_draft`]).
///
/// # Errors
/// As [`open`]; [`InferError::Engine`] when the draft has other tokens.
pub fn open_with_draft(
    path: &Path,
    draft: Option<&Path>,
    config: EngineConfig,
    packing: Packing,
) -> Result<Opened, InferError> {
    let parts = if path.is_dir() {
        open_folder(path, config, packing)?
    } else if is_gguf(path)? {
        open_file(path, config, packing)?
    } else {
        open_checkpoint(path, config, packing)?
    };
    let Parts { name, decoder, vocabulary, template } = parts;
    let context_length = decoder.sizes().context;
    let cache_bytes = decoder.cache_bytes();
    let (begin, ends) = (vocabulary.begin, vocabulary.ends.clone());
    let longest = context_length.min(config.pages * config.page_positions);
    let config = EngineConfig { context: config.context.min(longest), ..config };
    let draft = draft.map(|draft| open_decoder(draft, packing, config.pages, config.page_positions)).transpose()?;
    let config = EngineConfig {
        context: draft.as_ref().map_or(config.context, |draft| config.context.min(draft.sizes().context)),
        ..config
    };
    let cache_bytes = cache_bytes + draft.as_ref().map_or(0, PackedDecoder::cache_bytes);
    let draft = draft.map(|draft| Box::new(draft) as Box<dyn Forward + Send>);
    let tokenizer = TextTokenizer::from(vocabulary);
    let engine = Engine::start_with_draft(Box::new(decoder), draft, tokenizer, ends.clone(), config)?;
    Ok(Opened { name, engine, template, begin, ends, context_length, cache_bytes })
}

/// [`open`] with the weights as they are.
///
/// # Errors
/// As [`open`].
pub fn open_gguf(path: &Path, config: EngineConfig) -> Result<Opened, InferError> {
    open(path, config, Packing::Exact)
}

/// The decoder of whatever [`open`] opens, without an engine.
///
/// # Errors
/// As [`open`].
pub fn open_decoder(
    path: &Path,
    packing: Packing,
    pages: usize,
    page_positions: usize,
) -> Result<PackedDecoder, InferError> {
    if path.is_dir() {
        folder_decoder(path, packing, pages, page_positions)
    } else if is_gguf(path)? {
        file_decoder(&Gguf::open(path)?, packing, pages, page_positions)
    } else {
        checkpoint_decoder(&Checkpoint::open(path)?, packing, pages, page_positions)
    }
}

/// Loads the decoder of a GGUF file, with a cache of so many pages.
///
/// # Errors
/// [`InferError::Unsupported`] when the file is of another kind, [`InferError::Unfit`] when its parts do not fit each other.
pub fn gguf_decoder(file: &Gguf, pages: usize, page_positions: usize) -> Result<PackedDecoder, InferError> {
    file_decoder(file, Packing::Exact, pages, page_positions)
}

fn open_file(path: &Path, config: EngineConfig, packing: Packing) -> Result<Parts, InferError> {
    let file = Gguf::open(path)?;
    // Words and weights have nothing to do with each other, and each takes its time.
    let (vocabulary, decoder) = std::thread::scope(|scope| {
        let vocabulary = scope.spawn(|| Vocabulary::of(&file));
        let decoder = file_decoder(&file, packing, config.pages, config.page_positions);
        let vocabulary = vocabulary.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (vocabulary, decoder)
    });
    let (vocabulary, decoder) = (vocabulary?, decoder?);
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
    let name = match file.pairs().get("general.name") {
        Some(Value::Text(name)) if !name.trim().is_empty() => name.trim().to_owned(),
        _ => name_of(path),
    };
    Ok(Parts { name, decoder, vocabulary, template })
}

fn file_decoder(
    file: &Gguf,
    packing: Packing,
    pages: usize,
    page_positions: usize,
) -> Result<PackedDecoder, InferError> {
    decoder(&gguf::plan(file)?, gguf::shelf(file, packing), pages, page_positions)
}

fn open_folder(folder: &Path, config: EngineConfig, packing: Packing) -> Result<Parts, InferError> {
    let decoder = folder_decoder(folder, packing, config.pages, config.page_positions)?;
    let vocabulary = Vocabulary::of_folder(folder, decoder.sizes().vocabulary)?;
    let template = template_of(folder)?;
    Ok(Parts { name: name_of(folder), decoder, vocabulary, template })
}

fn folder_decoder(
    folder: &Path,
    packing: Packing,
    pages: usize,
    page_positions: usize,
) -> Result<PackedDecoder, InferError> {
    let path = folder.join("config.json");
    let json = read_json(&path, CONFIG_BYTES_MAX)?;
    let files = Safetensors::open(folder)?;
    // GPT-2's names stand in files with and without this.
    let tensors = files.numbers("transformer.", &[".attn.bias", ".attn.masked_bias"])?;
    let shelf = shelf_of(files.path(), tensors, packing);
    let plan = config::plan(&Config { path: &path, json: &json }, &shelf)?;
    decoder(&plan, shelf, pages, page_positions)
}

fn open_checkpoint(path: &Path, config: EngineConfig, packing: Packing) -> Result<Parts, InferError> {
    let file = Checkpoint::open(path)?;
    let decoder = checkpoint_decoder(&file, packing, config.pages, config.page_positions)?;
    let vocabulary = Vocabulary::of_llama2c(&path.with_file_name("tokenizer.bin"), decoder.sizes().vocabulary)?;
    Ok(Parts { name: name_of(path), decoder, vocabulary, template: None })
}

/// The plan of llama2.c's only architecture.
fn checkpoint_decoder(
    file: &Checkpoint,
    packing: Packing,
    pages: usize,
    page_positions: usize,
) -> Result<PackedDecoder, InferError> {
    let [architecture, ..] = ARCHITECTURES;
    let names = architecture.names(false);
    let shelf = shelf_of(file.path(), file.tensors(), packing);
    let header = file.header();
    let dim = header.width / header.heads;
    let plan = Plan {
        architecture,
        names,
        sizes: super::packed::Sizes {
            vocabulary: header.vocabulary,
            width: header.width,
            heads: header.heads,
            kv_heads: header.kv_heads,
            dim: attention_dim(dim),
            feed_forward: header.feed_forward,
            norm: architecture.norm,
            norm_epsilon: 1e-5,
            mlp: architecture.mlp,
            scale: 1.0 / (dim as f32).sqrt(),
            context: header.context,
        },
        dim,
        windows: vec![None; header.layers],
        rotary: Some(rope::Scaling::None.rotary(dim, 10_000.0)),
        neighbours: true,
        biases: [false; 3],
        tied: header.tied,
    };
    plan.check().map_err(|what| shelf.unfit(what))?;
    decoder(&plan, shelf, pages, page_positions)
}

pub(crate) fn shelf_of<'a>(
    path: &Path,
    tensors: crate::formats::safetensors::Numbers<'a>,
    packing: Packing,
) -> Shelf<'a> {
    let tensors: BTreeMap<_, _> =
        tensors.into_iter().map(|(name, (shape, encoding, bytes))| (name, Tensor { shape, encoding, bytes })).collect();
    Shelf::new(path.to_owned(), tensors, packing)
}

fn decoder(plan: &Plan, shelf: Shelf<'_>, pages: usize, page_positions: usize) -> Result<PackedDecoder, InferError> {
    if ![32, 64, 128, 256].contains(&page_positions) {
        return Err(InferError::Engine {
            what: format!("pages of {page_positions} positions; there are 32, 64, 128 or 256"),
        });
    }
    let weights = plan.weights(shelf)?;
    Ok(PackedDecoder::new(plan.sizes, weights, pages, page_positions))
}

/// The dimensions of a head that attention takes for so many.
fn attention_dim(dim: usize) -> usize {
    dim.next_multiple_of(16)
}

fn is_gguf(path: &Path) -> Result<bool, InferError> {
    use std::io::Read as _;
    let mut magic = [0; 4];
    let mut file = std::fs::File::open(path).map_err(InferError::io("open", path))?;
    match file.read_exact(&mut magic) {
        Ok(()) => Ok(&magic == b"GGUF"),
        // A file that is cut off is told apart by its name.
        Err(_) => Ok(path.extension().is_some_and(|end| end == "gguf")),
    }
}

/// What a file or folder is called.
pub(crate) fn name_of(path: &Path) -> String {
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    name.map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests;
