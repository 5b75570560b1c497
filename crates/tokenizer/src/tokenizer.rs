//! A whole tokenizer: text in, numbers out, and back.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use serde_json::Value;

use crate::added::{Added, Piece};
use crate::decode::{Decoder, byte_level, byte_of};
use crate::error::TokenizerError;
use crate::model::bpe::Bpe;
use crate::model::{Model, Scratch};
use crate::normalize::Normalizer;
use crate::post::{Ends, Padding, Truncation};
use crate::pretokenize::PreTokenizer;
use crate::vocabulary::Vocabulary;

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 128 << 20;

/// A tokenizer as a `tokenizer.json` describes it. Encoding gives the numbers that Hugging Face's library gives; a part
/// that is not built here is an error when the file is read, never another number. It may be shared among threads.
#[derive(Debug)]
pub struct Tokenizer {
    json: String,
    added: Added,
    normalizer: Option<Normalizer>,
    pre_tokenizer: PreTokenizer,
    model: Model,
    vocabulary: Vocabulary,
    ends: Ends,
    decoder: Option<Decoder>,
    truncation: Option<Truncation>,
    padding: Option<Padding>,
    /// One more than the largest number.
    size: usize,
    /// Buffers that no thread uses at the moment.
    scratches: Mutex<Vec<Scratch>>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TokenizerError::Io`]; [`TokenizerError::Damaged`] when it is none or contradicts itself;
    /// [`TokenizerError::Unsupported`] names a part that is not built here.
    pub fn load(path: &Path) -> Result<Self, TokenizerError> {
        let size = std::fs::metadata(path).map_err(TokenizerError::io("read", path))?.len();
        if size > FILE_BYTES_MAX {
            return Err(TokenizerError::damaged(format!("it has {size} bytes, more than {FILE_BYTES_MAX}")));
        }
        let json = std::fs::read_to_string(path).map_err(TokenizerError::io("read", path))?;
        Self::from_json(json)
    }

    /// Reads a tokenizer from the contents of its file.
    ///
    /// # Errors
    /// As [`Tokenizer::load`].
    pub fn from_json(json: String) -> Result<Self, TokenizerError> {
        let file: Value = serde_json::from_str(&json).map_err(|error| TokenizerError::damaged(error.to_string()))?;
        if !file.is_object() {
            return Err(TokenizerError::damaged("it is no map"));
        }
        match file["version"].as_str() {
            Some("1.0") => {}
            None if file["version"].is_null() => {}
            other => return Err(TokenizerError::unsupported(format!("the version {other:?}"))),
        }
        let normalizer = Normalizer::read(&file["normalizer"])?;
        let pre_tokenizer = PreTokenizer::read(&file["pre_tokenizer"])?;
        let (model, vocabulary) = Model::read(&file["model"], pre_tokenizer.byte_level)?;
        let tokens = file["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
        let added = Added::read(tokens, &vocabulary, normalizer.as_ref())?;
        let ends = Ends::read(&file["post_processor"])?;
        let truncation = Truncation::read(&file["truncation"])?;
        if truncation.is_some_and(|truncation| truncation.most < ends.count()) {
            return Err(TokenizerError::damaged("its truncation leaves no room for the tokens at the ends"));
        }
        let size = added.iter().map(|(id, _)| id as usize + 1).max().unwrap_or(0).max(vocabulary.size());
        Ok(Self {
            added,
            normalizer,
            pre_tokenizer,
            model,
            vocabulary,
            ends,
            decoder: Decoder::read(&file["decoder"])?,
            truncation,
            padding: Padding::read(&file["padding"])?,
            size,
            scratches: Mutex::default(),
            json,
        })
    }

    /// A byte-level BPE tokenizer of its parts, as GGUF files have them: tokens in the order of their numbers (of equal ones
    /// the first counts), merges with a space between their two tokens, and the expressions that cut a text into words, each inside
    /// the pieces of the one before. `whole`: a word that is a token is that token, whatever the merges say. It has no file:
    /// [`Tokenizer::to_json`] is empty.
    ///
    /// # Errors
    /// [`TokenizerError::Damaged`] for a merge that is none or names no tokens; [`TokenizerError::Unsupported`] for an
    /// expression that is none.
    pub fn byte_level(
        tokens: &[String],
        merges: &[String],
        expressions: &[&str],
        whole: bool,
    ) -> Result<Self, TokenizerError> {
        let vocabulary = Vocabulary::of_words(tokens)?;
        let model = Model::Bpe(Bpe::of_bytes(merges, whole, &vocabulary)?);
        Ok(Self {
            json: String::new(),
            added: Added::default(),
            normalizer: None,
            pre_tokenizer: PreTokenizer::byte_level(expressions)?,
            model,
            size: vocabulary.size(),
            vocabulary,
            ends: Ends::default(),
            decoder: None,
            truncation: None,
            padding: None,
            scratches: Mutex::default(),
        })
    }

    /// The contents of its file.
    #[must_use]
    pub fn to_json(&self) -> &str {
        &self.json
    }

    /// Writes its file, `tokenizer.json` by custom: all of it or nothing.
    ///
    /// # Errors
    /// [`TokenizerError::Io`].
    pub fn save(&self, path: &Path) -> Result<(), TokenizerError> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let written = std::fs::write(&temporary, &self.json).and_then(|()| std::fs::rename(&temporary, path));
        written.map_err(TokenizerError::io("write", path))
    }

    /// Forgets the cut and the padding that the file asks for.
    #[must_use]
    pub fn without_limits(mut self) -> Self {
        (self.truncation, self.padding) = (None, None);
        self
    }

    /// Whether special tokens that are spelled in a text are those tokens (as in a template) or only text (as when
    /// strangers write). They are tokens unless this says otherwise.
    #[must_use]
    pub fn with_special_tokens_in_text(mut self, are_tokens: bool) -> Self {
        self.added.special_is_text = !are_tokens;
        self
    }

    /// Appends the tokens of a text to `out`; `add_special`: with the tokens that the file puts at both ends.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`] when a character has no token and none stands for what is unknown, or when an
    /// expression of the file gives up on the text.
    pub fn encode(&self, text: &str, add_special: bool, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let begin = out.len();
        self.encode_unpadded(text, add_special, out)?;
        if let Some(padding) = &self.padding {
            padding.apply(begin, padding.length(out.len() - begin), out);
        }
        Ok(())
    }

    /// The tokens of many texts, in their order, on all threads of rayon's pool.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_batch<S: AsRef<str> + Sync>(
        &self,
        texts: &[S],
        add_special: bool,
    ) -> Result<Vec<Vec<u32>>, TokenizerError> {
        let encode = |text: &S| {
            let mut out = Vec::new();
            self.encode_unpadded(text.as_ref(), add_special, &mut out).map(|()| out)
        };
        let mut all: Vec<Vec<u32>> = texts.par_iter().map(encode).collect::<Result<_, _>>()?;
        if let Some(padding) = &self.padding {
            let length = padding.length(all.iter().map(Vec::len).max().unwrap_or(0));
            all.iter_mut().for_each(|out| padding.apply(0, length, out));
        }
        Ok(all)
    }

    fn encode_unpadded(&self, text: &str, add_special: bool, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
        if add_special {
            out.extend_from_slice(&self.ends.before);
        }
        let begin = out.len();
        let mut scratch = self.scratches.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let result = self.encode_text(text, &mut scratch, out);
        self.scratches.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
        result?;
        if let Some(truncation) = &self.truncation {
            truncation.apply(begin, if add_special { self.ends.count() } else { 0 }, out);
        }
        if add_special {
            out.extend_from_slice(&self.ends.behind);
        }
        Ok(())
    }

    fn encode_text(&self, text: &str, scratch: &mut Scratch, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let mut result = Ok(());
        self.added.split_original(text, &mut |piece| match piece {
            Piece::Token(id) => out.push(id),
            Piece::Text(text, first) if result.is_ok() => result = self.encode_section(text, first, scratch, out),
            Piece::Text(..) => {}
        });
        result
    }

    /// The tokens of a text that holds no token to be found before normalisation.
    fn encode_section(
        &self,
        text: &str,
        first: bool,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let text = match &self.normalizer {
            Some(normalizer) => normalizer.apply(text)?,
            None => Cow::Borrowed(text),
        };
        let mut result = Ok(());
        self.added.split_normalized(&text, &mut |piece| match piece {
            Piece::Token(id) => out.push(id),
            Piece::Text(text, begins) if result.is_ok() => {
                result = self.encode_words(text, first && begins, scratch, out);
            }
            Piece::Text(..) => {}
        });
        result
    }

    fn encode_words(
        &self,
        text: &str,
        first: bool,
        scratch: &mut Scratch,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let mut result = Ok(());
        self.pre_tokenizer.words(text, first, &mut |word| {
            if result.is_ok() {
                result = self.model.encode(word, scratch, out);
            }
        })?;
        result
    }

    /// The text of tokens; numbers without a token are left out, and with `skip_special` special tokens too.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`] when an expression of the file gives up.
    pub fn decode(&self, tokens: &[u32], skip_special: bool) -> Result<String, TokenizerError> {
        let names = tokens.iter().filter_map(|id| match self.added.name(*id) {
            Some(name) if skip_special && name.special => None,
            Some(name) => Some(name.decoded.as_str()),
            None => self.vocabulary.token(*id),
        });
        match &self.decoder {
            Some(Decoder::ByteLevel) => {
                let bytes: Vec<u8> = names.flat_map(byte_level).collect();
                Ok(String::from_utf8(bytes)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
            }
            Some(decoder) => Ok(decoder.apply(names.map(str::to_owned).collect())?.concat()),
            None => Ok(names.collect::<Vec<_>>().join(" ")),
        }
    }

    /// The bytes that a token stands for inside a text: of byte-level tokens the bytes, of SentencePiece's a space for
    /// its mark. Special tokens and numbers without a token stand for none.
    #[must_use]
    pub fn token_bytes(&self, token: u32) -> Vec<u8> {
        if let Some(name) = self.added.name(token) {
            return if name.special { Vec::new() } else { name.content.as_bytes().to_vec() };
        }
        let Some(name) = self.vocabulary.token(token) else { return Vec::new() };
        if self.pre_tokenizer.byte_level {
            return byte_level(name);
        }
        byte_of(name).map_or_else(|| name.replace('\u{2581}', " ").into_bytes(), |byte| vec![byte])
    }

    /// The number of a token by its name, as the file spells it.
    #[must_use]
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.added.id(token).or_else(|| self.vocabulary.id(token))
    }

    /// The name of a token, as the file spells it.
    #[must_use]
    pub fn id_to_token(&self, id: u32) -> Option<&str> {
        self.added.name(id).map(|name| name.content.as_str()).or_else(|| self.vocabulary.token(id))
    }

    /// One more than the largest number of a token: what an embedding has rows.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        self.size
    }
}
