//! Models: from a word to the numbers of its tokens.

pub(crate) mod bpe;
mod cache;
mod pairs;
mod unigram;
mod wordpiece;

use serde_json::Value;

use crate::error::TokenizerError;
use crate::json::type_of;
use crate::vocabulary::Vocabulary;
use bpe::Bpe;
use cache::Cache;
pub(crate) use unigram::Unigram;
use wordpiece::WordPiece;

/// A model of any kind.
#[derive(Debug)]
pub(crate) enum Model {
    Bpe(Bpe),
    WordPiece(WordPiece),
    Unigram(Unigram),
}

/// Buffers of one thread; they carry nothing from one word to the next but what the cache remembers.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    cache: Cache,
    bpe: bpe::Buffers,
    unigram: unigram::Buffers,
}

impl Model {
    /// Reads the model and its vocabulary. `byte_level`: the words that will come are bytes.
    pub fn read(json: &Value, byte_level: bool) -> Result<(Self, Vocabulary), TokenizerError> {
        // Old files leave the type out; what else there is tells it.
        let name = match json["type"].is_null() {
            true if json["merges"].is_array() => "BPE",
            _ => type_of(json, "model")?,
        };
        if byte_level && name != "BPE" {
            return Err(TokenizerError::unsupported(format!("the pre_tokenizer ByteLevel before the model {name:?}")));
        }
        Ok(match name {
            "BPE" => {
                let vocabulary = Vocabulary::of_map(&json["vocab"])?;
                (Self::Bpe(Bpe::read(json, &vocabulary, byte_level)?), vocabulary)
            }
            "WordPiece" => {
                let vocabulary = Vocabulary::of_map(&json["vocab"])?;
                (Self::WordPiece(WordPiece::read(json, &vocabulary)?), vocabulary)
            }
            "Unigram" => {
                let (model, vocabulary) = Unigram::read(json)?;
                (Self::Unigram(model), vocabulary)
            }
            other => return Err(TokenizerError::unsupported(format!("the model {other:?}"))),
        })
    }

    /// Appends the tokens of a word.
    #[inline]
    pub fn encode(&self, word: &str, scratch: &mut Scratch, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
        if let Self::Bpe(bpe) = self
            && let Some(mark) = bpe.cuts_at()
        {
            let mut rest = word;
            while let Some(cut) = next_cut(rest, mark) {
                let (piece, behind) = rest.split_at(cut);
                self.encode_piece(piece, scratch, out)?;
                rest = behind;
            }
            return self.encode_piece(rest, scratch, out);
        }
        self.encode_piece(word, scratch, out)
    }

    #[inline]
    fn encode_piece(&self, word: &str, scratch: &mut Scratch, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let key = cache::key(word.as_bytes());
        if let Some(key) = key
            && scratch.cache.get(key, out)
        {
            return Ok(());
        }
        let begin = out.len();
        match self {
            Self::Bpe(bpe) => bpe.encode(word, &mut scratch.bpe, out),
            Self::WordPiece(pieces) => pieces.encode(word, out),
            Self::Unigram(unigram) => unigram.encode(word, &mut scratch.unigram, out)?,
        }
        if let Some(key) = key {
            scratch.cache.set(key, &out[begin..]);
        }
        Ok(())
    }
}

/// Where the next mark stands that has none before it, and text.
#[inline]
fn next_cut(text: &str, mark: &str) -> Option<usize> {
    let (text, mark) = (text.as_bytes(), mark.as_bytes());
    let is_mark = |index: usize| text.get(index..index + mark.len()) == Some(mark);
    let mut index = 0;
    while index < text.len() && is_mark(index) {
        index += mark.len();
    }
    // A mark begins with a byte that few characters begin with, and none has inside.
    while index < text.len() {
        if text[index] == mark[0] && index > 0 && is_mark(index) {
            return Some(index);
        }
        index += 1;
    }
    None
}
