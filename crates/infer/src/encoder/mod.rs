//! Encoders of BERT's kind: texts in, vectors out, as sentence-transformers computes them.
//!
//! [`Encoder::open`] reads a folder of Hugging Face's or a GGUF file; [`Encoder::embed`] takes any number of texts. Sequences are put
//! behind each other without padding, and attention keeps to each of them: what a text gives does not depend on who else
//! is embedded. Weights and what meets them are bf16, as PyTorch's `bfloat16` computes, sums, norms and the residual
//! stream f32.

mod forward;
mod gguf;
mod pooling;

use std::path::Path;

use kernels::gemm::Activation;
use serde_json::Value as Json;
use tokenizers::{Tokenizer, TruncationParams};

use crate::engine::Packing;
use crate::engine::load::config::Config;
use crate::engine::load::{CONFIG_BYTES_MAX, name_of, shelf_of};
use crate::error::InferError;
use crate::formats::gguf::Gguf;
use crate::formats::safetensors::{Safetensors, read_json};
use crate::formats::tokenizer_json::read_tokenizer;
use crate::formats::vocabulary::Vocabulary;
use forward::{Network, Sizes};
use pooling::Pooling;

/// No size of a model is larger.
const SIZE_MAX: usize = 1 << 24;
const LAYERS_MAX: usize = 256;
/// The longest text that is looked at, for each token that a model takes: what lies behind is cut off in any case, and
/// the tokenizer takes time for every byte.
const BYTES_A_TOKEN_MAX: usize = 256;

/// Architectures, each with what its tensors' names may begin with and whether positions begin behind the padding's.
const ARCHITECTURES: [(&str, &str, bool); 3] =
    [("BertModel", "bert.", false), ("RobertaModel", "roberta.", true), ("XLMRobertaModel", "roberta.", true)];

/// An encoder ready to embed; it may be shared among threads.
pub struct Encoder {
    name: String,
    words: Words,
    network: Network,
    pooling: Pooling,
    tokens_max: usize,
}

/// How texts become tokens.
enum Words {
    /// By a file of the crate's own, with the tokens at both ends, cut to the most that there may be.
    Whole(Box<Tokenizer>),
    /// By a vocabulary of words and pieces, with these tokens at both ends.
    Pieces { vocabulary: Vocabulary, ends: [u32; 2] },
}

/// What became of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// Its vector.
    pub vector: Vec<f32>,
    /// Tokens that were computed, those that begin and end every text among them.
    pub tokens: usize,
    /// Whether the text had more tokens than the model takes, and its end was cut off.
    pub truncated: bool,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Encoder")
            .field("name", &self.name)
            .field("width", &self.width())
            .finish_non_exhaustive()
    }
}

impl Encoder {
    /// Whether a folder or a file says that it holds such a model; [`Encoder::open`] finds out whether it can be used.
    #[must_use]
    pub fn knows(path: &Path) -> bool {
        if path.is_file() {
            let file = Gguf::open(path);
            return file.is_ok_and(|file| file.text("general.architecture").is_ok_and(|name| name == "bert"));
        }
        let Ok(json) = read_json(&path.join("config.json"), CONFIG_BYTES_MAX) else { return false };
        let classes = json["architectures"].as_array().map(Vec::as_slice).unwrap_or_default();
        classes.iter().any(|class| ARCHITECTURES.iter().any(|(name, ..)| class.as_str() == Some(name)))
    }

    /// Opens a GGUF file of the architecture `bert`, or a folder: `config.json`, `tokenizer.json`, weights, and where
    /// they are there sentence-transformers'
    /// `modules.json`, pooling and longest text. Without them a vector is the mean over all tokens, of length 1.
    ///
    /// # Errors
    /// [`InferError::Io`] and [`InferError::Damaged`] when files are missing, cut, or none; [`InferError::Unsupported`]
    /// when the architecture or a setting is not known here, [`InferError::Unfit`] when files do not fit each other.
    pub fn open(path: &Path) -> Result<Self, InferError> {
        if path.is_dir() { Self::open_folder(path) } else { gguf::open(path) }
    }

    fn open_folder(folder: &Path) -> Result<Self, InferError> {
        let path = folder.join("config.json");
        let json = read_json(&path, CONFIG_BYTES_MAX)?;
        let config = Config { path: &path, json: &json };
        let classes = json["architectures"].as_array().map(Vec::as_slice).unwrap_or_default();
        let known = |class: &Json| ARCHITECTURES.into_iter().find(|(name, ..)| class.as_str() == Some(name));
        let Some((_, prefix, behind_padding)) = classes.iter().find_map(known) else {
            let names = ARCHITECTURES.map(|(name, ..)| name).join(", ");
            let what = format!("its architectures are {}; encoders that are known here: {names}", Json::from(classes));
            return Err(config.unsupported(what));
        };
        let sizes = sizes(&config, behind_padding)?;
        let files = Safetensors::open(folder)?;
        let spare = ["position_ids", "token_type_ids"];
        let shelf = shelf_of(files.path(), files.numbers(prefix, &spare)?, Packing::Exact);
        let network = Network::new(sizes, shelf)?;
        let tokenizer_path = folder.join("tokenizer.json");
        let (tokenizer, _) = read_tokenizer(&tokenizer_path)?;
        let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0) as usize;
        if largest >= sizes.vocabulary {
            let what = format!("it has token {largest}, and the model has {}", sizes.vocabulary);
            return Err(InferError::Unfit { path: tokenizer_path, what });
        }
        let (pooling, longest) = pooling::read(folder)?;
        let tokens_max = longest.unwrap_or(usize::MAX).min(sizes.positions - sizes.first_position);
        let mut tokenizer = tokenizer;
        let ends = tokenizer.encode_fast("", true).map_or(0, |encoding| encoding.len());
        if tokens_max <= ends {
            return Err(config.unfit(format!("it takes {tokens_max} tokens, and {ends} stand at the ends of a text")));
        }
        let truncation = TruncationParams { max_length: tokens_max, ..TruncationParams::default() };
        tokenizer
            .with_truncation(Some(truncation))
            .map_err(|error| InferError::Tokenizer { verb: "set", what: error.to_string() })?;
        Ok(Self { name: name_of(folder), words: Words::Whole(Box::new(tokenizer)), network, pooling, tokens_max })
    }

    /// What its folder is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Elements of a vector.
    #[must_use]
    pub fn width(&self) -> usize {
        self.network.sizes().width
    }

    /// The number of tokens that there are.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        self.network.sizes().vocabulary
    }

    /// The most tokens of a text.
    #[must_use]
    pub fn tokens_max(&self) -> usize {
        self.tokens_max
    }

    /// The vectors of texts, in their order.
    ///
    /// # Errors
    /// [`InferError::Tokenizer`] when the tokenizer fails, which no text should make it do;
    /// [`InferError::NotFinite`] when the model's weights overflow.
    pub fn embed<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Embedding>, InferError> {
        let (mut sequences, mut truncated) = (Vec::with_capacity(texts.len()), Vec::with_capacity(texts.len()));
        for text in texts {
            let (tokens, cut) = self.tokens(text.as_ref())?;
            sequences.push(tokens);
            truncated.push(cut);
        }
        let vectors = self.embed_tokens(&sequences)?;
        let all = vectors.into_iter().zip(&sequences).zip(truncated);
        Ok(all.map(|((vector, tokens), truncated)| Embedding { vector, tokens: tokens.len(), truncated }).collect())
    }

    /// The tokens of a text as the model takes it, and whether its end was cut off.
    ///
    /// # Errors
    /// As [`Encoder::embed`].
    pub fn tokens(&self, text: &str) -> Result<(Vec<u32>, bool), InferError> {
        let most = self.tokens_max.saturating_mul(BYTES_A_TOKEN_MAX);
        let (text, long) =
            if text.len() > most { (&text[..text.floor_char_boundary(most)], true) } else { (text, false) };
        match &self.words {
            Words::Whole(tokenizer) => {
                let encoding = tokenizer.encode_fast(text, true);
                let encoding =
                    encoding.map_err(|error| InferError::Tokenizer { verb: "use", what: error.to_string() })?;
                Ok((encoding.get_ids().to_vec(), long || !encoding.get_overflowing().is_empty()))
            }
            Words::Pieces { vocabulary, ends: [first, last] } => {
                let mut tokens = vec![*first];
                tokens.extend(vocabulary.encode(text, false)?);
                let cut = tokens.len() >= self.tokens_max;
                tokens.truncate(self.tokens_max - 1);
                tokens.push(*last);
                Ok((tokens, long || cut))
            }
        }
    }

    /// The vectors of sequences of tokens, with those that begin and end a text. One without tokens, which a tokenizer
    /// gives that adds none, has a vector of zeros.
    ///
    /// # Errors
    /// [`InferError::NotFinite`] when the model's weights overflow.
    ///
    /// # Panics
    /// When a sequence is longer than [`Encoder::tokens_max`], or a token is none.
    pub fn embed_tokens(&self, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, InferError> {
        assert!(sequences.iter().all(|tokens| tokens.len() <= self.tokens_max), "lengths of sequences");
        let some: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).filter(|tokens| !tokens.is_empty()).collect();
        let mut found = self.network.run(&some, self.pooling).into_iter();
        let nothing = || vec![0.0; self.width()];
        let vectors: Vec<_> = sequences
            .iter()
            .map(|tokens| if tokens.is_empty() { nothing() } else { found.next().unwrap_or_else(nothing) })
            .collect();
        let finite = vectors.iter().flatten().all(|value| value.is_finite());
        if finite { Ok(vectors) } else { Err(InferError::NotFinite { output: "the embedding".to_owned() }) }
    }
}

fn sizes(config: &Config<'_>, behind_padding: bool) -> Result<Sizes, InferError> {
    let json = config.json;
    let kind = &json["position_embedding_type"];
    if !kind.is_null() && kind != "absolute" {
        return Err(config.unsupported(format!("position_embedding_type is {kind}; known here: absolute")));
    }
    if json["is_decoder"] == true || !json["quantization_config"].is_null() {
        return Err(config.unsupported("it is a decoder, or quantised, which is not known here".to_owned()));
    }
    let activation = match json["hidden_act"].as_str() {
        Some("gelu") => Activation::GeluExact,
        Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast") => Activation::Gelu,
        Some("relu") => Activation::Relu,
        Some("silu" | "swish") => Activation::Silu,
        _ => {
            let known = "gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu, silu";
            return Err(config.unsupported(format!("hidden_act is {}; known here: {known}", json["hidden_act"])));
        }
    };
    let padding = config.size(&["pad_token_id"])?.unwrap_or(0);
    let sizes = Sizes {
        vocabulary: config.needed(&["vocab_size"])?,
        width: config.needed(&["hidden_size"])?,
        heads: config.needed(&["num_attention_heads"])?,
        feed_forward: config.needed(&["intermediate_size"])?,
        layers: config.needed(&["num_hidden_layers"])?,
        positions: config.needed(&["max_position_embeddings"])?,
        first_position: if behind_padding { padding.saturating_add(1) } else { 0 },
        kinds: config.size(&["type_vocab_size"])?.unwrap_or(2),
        activation,
        epsilon: config.number(&["layer_norm_eps"])?.unwrap_or(1e-12) as f32,
    };
    possible(&sizes).map_err(|what| config.unfit(what))?;
    Ok(sizes)
}

/// Sizes that can be.
fn possible(sizes: &Sizes) -> Result<(), String> {
    let Sizes { vocabulary, width, heads, feed_forward, layers, positions, kinds, epsilon, .. } = *sizes;
    let all = [vocabulary, width, heads, feed_forward, layers, positions, kinds];
    let fits = all.iter().all(|size| (1..=SIZE_MAX).contains(size)) && layers <= LAYERS_MAX;
    if !fits
        || !width.is_multiple_of(heads)
        || sizes.first_position >= positions
        || !epsilon.is_finite()
        || epsilon < 0.0
    {
        return Err(format!("its sizes are impossible: {sizes:?}"));
    }
    Ok(())
}
