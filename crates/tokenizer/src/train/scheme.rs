//! What can be trained, and the `tokenizer.json` of it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{TrainerConfig, VOCABULARY_MAX};
use crate::error::TokenizerError;
use crate::split::{DEEPSEEK3, DIGITS3, HAN_KANA, LLAMA3, QWEN2};

/// A model with the steps around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "model", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Scheme {
    /// BPE, of bytes or of characters.
    Bpe {
        /// What words begin as.
        alphabet: Alphabet,
    },
    /// BERT's WordPiece.
    WordPiece {
        /// Whether texts are lower-cased and lose their accents.
        lowercase: bool,
    },
    /// Kudo's Unigram model over NFKC, with SentencePiece's marks for spaces.
    Unigram {
        /// The most characters of a token.
        max_piece_length: usize,
    },
}

/// What BPE joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Alphabet {
    /// Bytes: nothing is ever unknown.
    Bytes {
        /// How texts are split into words.
        split: SplitPattern,
    },
    /// Characters, with SentencePiece's marks for spaces; the first special token stands for unknown characters.
    Characters,
}

/// How a text is split before BPE of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SplitPattern {
    /// GPT-2's: English contractions, letters, numbers and signs, each with a space before it.
    Gpt2,
    /// Llama 3's: at most three digits together, line ends with the signs before them.
    Llama3,
    /// Qwen's: as Llama 3's, with single digits.
    Qwen2,
    /// DeepSeek-V3's: as Llama 3's, and Chinese and Japanese stand apart from other letters.
    #[default]
    DeepSeek3,
}

impl Default for Scheme {
    fn default() -> Self {
        Self::Bpe { alphabet: Alphabet::Bytes { split: SplitPattern::default() } }
    }
}

/// The mark of a space.
const MARK: &str = "\u{2581}";

fn metaspace() -> Value {
    json!({ "type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": true })
}

impl Scheme {
    pub(super) fn normalizer(&self) -> Value {
        match self {
            Self::Bpe { .. } => Value::Null,
            Self::WordPiece { lowercase } => json!({
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": lowercase,
            }),
            Self::Unigram { .. } => json!({ "type": "NFKC" }),
        }
    }

    pub(super) fn pre_tokenizer(&self) -> Value {
        let byte_level = |use_regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex });
        let split = |expressions: &[&str]| {
            let split = |expression: &&str| json!({ "type": "Split", "pattern": { "Regex": expression }, "behavior": "Isolated", "invert": false });
            let steps: Vec<Value> = expressions.iter().map(split).chain([byte_level(false)]).collect();
            json!({ "type": "Sequence", "pretokenizers": steps })
        };
        match self {
            Self::Bpe { alphabet: Alphabet::Characters } | Self::Unigram { .. } => metaspace(),
            Self::WordPiece { .. } => json!({ "type": "BertPreTokenizer" }),
            Self::Bpe { alphabet: Alphabet::Bytes { split: pattern } } => match pattern {
                SplitPattern::Gpt2 => byte_level(true),
                SplitPattern::Llama3 => split(&[LLAMA3]),
                SplitPattern::Qwen2 => split(&[QWEN2]),
                SplitPattern::DeepSeek3 => split(&[DIGITS3, HAN_KANA, DEEPSEEK3]),
            },
        }
    }

    fn decoder(&self) -> Value {
        match self {
            Self::Bpe { alphabet: Alphabet::Bytes { .. } } => {
                json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true })
            }
            Self::WordPiece { .. } => json!({ "type": "WordPiece", "prefix": "##", "cleanup": true }),
            _ => metaspace(),
        }
    }

    /// BERT's tokens at both ends, where they are special tokens.
    fn post_processor(&self, special: &[String]) -> Value {
        let id = |token: &str| special.iter().position(|other| other == token);
        let (Self::WordPiece { .. }, Some(cls), Some(sep)) = (self, id("[CLS]"), id("[SEP]")) else {
            return Value::Null;
        };
        let token = |name: &str, kind: u32| json!({ "SpecialToken": { "id": name, "type_id": kind } });
        let text = |name: &str, kind: u32| json!({ "Sequence": { "id": name, "type_id": kind } });
        json!({
            "type": "TemplateProcessing",
            "single": [token("[CLS]", 0), text("A", 0), token("[SEP]", 0)],
            "pair": [token("[CLS]", 0), text("A", 0), token("[SEP]", 0), text("B", 1), token("[SEP]", 1)],
            "special_tokens": {
                "[CLS]": { "id": "[CLS]", "ids": [cls], "tokens": ["[CLS]"] },
                "[SEP]": { "id": "[SEP]", "ids": [sep], "tokens": ["[SEP]"] },
            },
        })
    }
}

/// Refuses what cannot be met.
pub(super) fn check(config: &TrainerConfig) -> Result<(), TokenizerError> {
    if !(1..=VOCABULARY_MAX).contains(&config.vocabulary_size) {
        let what = format!("a vocabulary has 1 to {VOCABULARY_MAX} tokens, not {}", config.vocabulary_size);
        return Err(TokenizerError::settings(what, "32000 tokens are usual."));
    }
    let special = &config.special_tokens;
    let mut seen = std::collections::BTreeSet::new();
    if let Some(token) = special.iter().find(|token| token.is_empty() || !seen.insert(token.as_str())) {
        let what = format!("the special token {token:?} is empty or there twice");
        return Err(TokenizerError::settings(what, "Name each special token once."));
    }
    let unknown = match &config.scheme {
        Scheme::Bpe { alphabet: Alphabet::Bytes { .. } } => {
            let least = 256 + special.len();
            if config.vocabulary_size < least {
                let what =
                    format!("all bytes and the special tokens are {least} tokens, more than the vocabulary may have");
                return Err(TokenizerError::settings(what, "Ask for a larger vocabulary."));
            }
            return Ok(());
        }
        Scheme::WordPiece { .. } => "[UNK]",
        Scheme::Unigram { max_piece_length: 1..=64 } => "<unk>",
        Scheme::Unigram { max_piece_length } => {
            let what = format!("a piece has 1 to 64 characters, not {max_piece_length}");
            return Err(TokenizerError::settings(what, "16 characters are usual."));
        }
        Scheme::Bpe { .. } => special.first().map_or("<unk>", String::as_str),
    };
    if special.iter().any(|token| token == unknown) {
        return Ok(());
    }
    let what = format!("this model wants a token for what is unknown, {unknown:?}");
    Err(TokenizerError::settings(what, format!("Name {unknown:?} among the special tokens.")))
}

/// The whole file, as Hugging Face's library writes it.
pub(super) fn file(config: &TrainerConfig, model: &Value) -> String {
    let added: Vec<Value> = config
        .special_tokens
        .iter()
        .enumerate()
        .map(|(id, token)| {
            json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            })
        })
        .collect();
    let scheme = &config.scheme;
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": scheme.normalizer(), "pre_tokenizer": scheme.pre_tokenizer(),
        "post_processor": scheme.post_processor(&config.special_tokens), "decoder": scheme.decoder(), "model": model,
    })
    .to_string()
}
