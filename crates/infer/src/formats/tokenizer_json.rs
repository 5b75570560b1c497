//! Hugging Face's `tokenizer.json` with its neighbours, as a [`Vocabulary`]: encoding is the crate `tokenizers`' own,
//! decoding ours, so that a stream never shows half a character.

use std::path::Path;

use serde_json::Value as Json;
use tokenizers::Tokenizer;

use super::safetensors::{read_bytes, read_json};
use super::template::ChatTemplate;
use super::vocabulary::{Encoder, Vocabulary, byte_level_bytes, piece_bytes};
use crate::error::InferError;

/// The largest tokenizer, and the largest of the other files.
const TOKENIZER_BYTES_MAX: u64 = 64 << 20;
const JSON_BYTES_MAX: u64 = 8 << 20;
/// The most tokens.
const TOKENS_MAX: u32 = 1 << 24;

/// Reads `tokenizer.json`, without what it cuts off or fills up.
pub(crate) fn read_tokenizer(path: &Path) -> Result<(Tokenizer, Json), InferError> {
    let bytes = read_bytes(path, TOKENIZER_BYTES_MAX)?;
    let damaged = |what: String| InferError::damaged(path)(what);
    // The crate panics on some of what is not JSON.
    let json: Json = serde_json::from_slice(&bytes).map_err(InferError::damaged(path))?;
    let mut tokenizer = Tokenizer::from_bytes(&bytes).map_err(|error| damaged(error.to_string()))?;
    tokenizer.with_truncation(None).map_err(|error| damaged(error.to_string()))?;
    tokenizer.with_padding(None);
    // And on some of what is JSON once it is used: a template that names a token that there is not, for one.
    let used = || tokenizer.encode_fast("a", true).map(drop);
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(used)) {
        Ok(Ok(())) => Ok((tokenizer, json)),
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(_) => Err(damaged("it cannot be used".to_owned())),
    }
}

impl Vocabulary {
    /// Reads the vocabulary of a folder whose model has rows for `size` tokens. Tokens that the tokenizer lacks have no
    /// text.
    ///
    /// # Errors
    /// [`InferError::Io`] and [`InferError::Damaged`] when a file is missing or none; [`InferError::Unfit`] when there are
    /// more tokens than rows, or what ends a text is no token.
    pub fn of_folder(folder: &Path, size: usize) -> Result<Self, InferError> {
        let path = folder.join("tokenizer.json");
        let (plain, json) = read_tokenizer(&path)?;
        let unfit = |what: String| InferError::Unfit { path: path.clone(), what };
        let mut bytes = vec![Vec::new(); size];
        let byte_level = json["decoder"].to_string().contains("\"ByteLevel\"");
        let words = plain.get_vocab(true);
        for (word, token) in &words {
            let Some(place) = bytes.get_mut(*token as usize) else {
                return Err(unfit(format!("token {word:?} has the number {token}, and the model has {size} tokens")));
            };
            *place = if byte_level { byte_level_bytes(word) } else { piece_bytes(word) };
        }
        let (mut user, mut control) = (Vec::new(), Vec::new());
        for (token, added) in plain.get_added_tokens_decoder() {
            if let Some(place) = bytes.get_mut(token as usize) {
                *place = if added.special { Vec::new() } else { added.content.as_bytes().to_vec() };
            }
            if added.special { &mut control } else { &mut user }.push((added.content, token));
        }
        let roles = Box::new(plain.clone());
        let mut plain = Box::new(plain);
        plain.set_encode_special_tokens(true);
        let begins = roles.encode_fast("", true);
        let begins = begins.map_err(|error| unfit(format!("it cannot be used: {error}")))?;
        let mut vocabulary = Self {
            bytes,
            begin: begins.get_ids().first().copied(),
            ends: Vec::new(),
            encoder: Encoder::Whole { plain, roles },
            user,
            control,
        };
        let special = read_optional(&folder.join("tokenizer_config.json"))?;
        let number = |key: &str| special_word(&special, key).and_then(|word| words.get(&word).copied());
        match special["add_bos_token"].as_bool() {
            Some(false) => vocabulary.begin = None,
            Some(true) => vocabulary.begin = number("bos_token").or(vocabulary.begin),
            None => {}
        }
        // What a model ends with and not begins with is no begin.
        vocabulary.begin = vocabulary.begin.filter(|token| number("bos_token").is_none_or(|begin| begin == *token));
        vocabulary.ends.extend(number("eos_token"));
        for name in ["generation_config.json", "config.json"] {
            let json = read_optional(&folder.join(name))?;
            let found = match &json["eos_token_id"] {
                Json::Null => Vec::new(),
                Json::Array(all) => all.clone(),
                one => vec![one.clone()],
            };
            for token in found {
                let token =
                    token.as_u64().and_then(|token| u32::try_from(token).ok()).filter(|token| *token < TOKENS_MAX);
                let known = token.filter(|token| (*token as usize) < size);
                let known = known.ok_or_else(|| InferError::Unfit {
                    path: folder.join(name),
                    what: format!("its eos_token_id {} is no token of the model", json["eos_token_id"]),
                })?;
                vocabulary.ends.push(known);
            }
        }
        vocabulary.add_usual_ends();
        Ok(vocabulary)
    }
}

/// The chat template of a folder, where it has one.
pub(crate) fn template_of(folder: &Path) -> Result<Option<ChatTemplate>, InferError> {
    let special = read_optional(&folder.join("tokenizer_config.json"))?;
    let path = folder.join("chat_template.jinja");
    let source = if path.exists() {
        let bytes = read_bytes(&path, JSON_BYTES_MAX)?;
        Some(String::from_utf8(bytes).map_err(InferError::damaged(&path))?)
    } else {
        match &special["chat_template"] {
            Json::String(source) => Some(source.clone()),
            Json::Array(all) => {
                let default = all.iter().find(|one| one["name"] == "default").or(all.first());
                default.and_then(|one| one["template"].as_str()).map(str::to_owned)
            }
            _ => None,
        }
    };
    let word = |key: &str| special_word(&special, key).unwrap_or_default();
    source.map(|source| ChatTemplate::parse(&source, &word("bos_token"), &word("eos_token"))).transpose()
}

/// The word of a special token, which stands alone or as the content of an object.
fn special_word(json: &Json, key: &str) -> Option<String> {
    json[key].as_str().or_else(|| json[key]["content"].as_str()).map(str::to_owned)
}

/// A JSON file, or null where there is none.
fn read_optional(path: &Path) -> Result<Json, InferError> {
    if path.exists() { read_json(path, JSON_BYTES_MAX) } else { Ok(Json::Null) }
}
