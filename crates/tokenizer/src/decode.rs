//! From tokens back to text, step by step as Hugging Face's decoders do it.

use serde_json::Value;

use crate::alphabet;
use crate::error::TokenizerError;
use crate::json::{character, flag, list, number, text, type_of};
use crate::normalize::{read_pattern, replace};
use crate::pretokenize::{Metaspace, Prepend};
use crate::split::Pattern;

/// A step of decoding: it makes of a list of texts another.
#[derive(Debug)]
pub(crate) enum Decoder {
    ByteLevel,
    ByteFallback,
    Fuse,
    WordPiece { prefix: String, cleanup: bool },
    Metaspace(Metaspace),
    Replace { pattern: Pattern, content: String },
    Strip { content: char, start: usize, stop: usize },
    Suffix(String),
    Sequence(Vec<Decoder>),
}

impl Decoder {
    pub fn read(json: &Value) -> Result<Option<Self>, TokenizerError> {
        if json.is_null() {
            return Ok(None);
        }
        Ok(Some(match type_of(json, "decoder")? {
            "ByteLevel" => Self::ByteLevel,
            "ByteFallback" => Self::ByteFallback,
            "Fuse" => Self::Fuse,
            "WordPiece" => {
                Self::WordPiece { prefix: text(json, "prefix")?.to_owned(), cleanup: flag(json, "cleanup")? }
            }
            "Metaspace" => Self::Metaspace(Metaspace::read(json)?),
            "Replace" => Self::Replace { pattern: read_pattern(json)?, content: text(json, "content")?.to_owned() },
            "Strip" => Self::Strip {
                content: character(json, "content")?,
                start: number(json, "start")? as usize,
                stop: number(json, "stop")? as usize,
            },
            "BPEDecoder" => Self::Suffix(text(json, "suffix")?.to_owned()),
            "Sequence" => {
                let steps = list(json, "decoders")?.iter().map(Self::read);
                Self::Sequence(steps.filter_map(Result::transpose).collect::<Result<_, _>>()?)
            }
            other => return Err(TokenizerError::unsupported(format!("the decoder {other:?}"))),
        }))
    }

    pub fn apply(&self, mut tokens: Vec<String>) -> Result<Vec<String>, TokenizerError> {
        Ok(match self {
            Self::ByteLevel => {
                let bytes: Vec<u8> = tokens.iter().flat_map(|token| byte_level(token)).collect();
                vec![String::from_utf8_lossy(&bytes).into_owned()]
            }
            Self::ByteFallback => byte_fallback(tokens),
            Self::Fuse => vec![tokens.concat()],
            Self::WordPiece { prefix, cleanup } => {
                for (index, token) in tokens.iter_mut().enumerate() {
                    if index > 0 {
                        *token = match token.strip_prefix(prefix.as_str()) {
                            Some(rest) => rest.to_owned(),
                            None => format!(" {token}"),
                        };
                    }
                    if *cleanup {
                        *token = clean(token);
                    }
                }
                tokens
            }
            Self::Metaspace(space) => {
                for (index, token) in tokens.iter_mut().enumerate() {
                    let new = if index == 0 && space.prepend != Prepend::Never { "" } else { " " };
                    *token = token.replace(space.replacement, new);
                }
                tokens
            }
            Self::Replace { pattern, content } => {
                let replaced = tokens.iter().map(|token| Ok(replace(pattern, content, token)?.into_owned()));
                replaced.collect::<Result<_, TokenizerError>>()?
            }
            Self::Strip { content, start, stop } => {
                tokens.iter().map(|token| strip(token, *content, *start, *stop)).collect()
            }
            Self::Suffix(suffix) => {
                let last = tokens.len().saturating_sub(1);
                for (index, token) in tokens.iter_mut().enumerate() {
                    *token = token.replace(suffix.as_str(), if index == last { "" } else { " " });
                }
                tokens
            }
            Self::Sequence(steps) => {
                for step in steps {
                    tokens = step.apply(tokens)?;
                }
                tokens
            }
        })
    }
}

/// The bytes of a token of GPT-2's alphabet; another token's text.
pub(crate) fn byte_level(token: &str) -> Vec<u8> {
    alphabet::bytes(token).unwrap_or_else(|| token.as_bytes().to_vec())
}

/// The byte of `<0xNN>`.
pub(crate) fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

fn byte_fallback(tokens: Vec<String>) -> Vec<String> {
    let mut new = Vec::with_capacity(tokens.len());
    let mut bytes = Vec::new();
    let flush = |bytes: &mut Vec<u8>, new: &mut Vec<String>| {
        if bytes.is_empty() {
            return;
        }
        match String::from_utf8(std::mem::take(bytes)) {
            Ok(text) => new.push(text),
            Err(error) => new.extend(error.as_bytes().iter().map(|_| char::REPLACEMENT_CHARACTER.to_string())),
        }
    };
    for token in tokens {
        match byte_of(&token) {
            Some(byte) => bytes.push(byte),
            None => {
                flush(&mut bytes, &mut new);
                new.push(token);
            }
        }
    }
    flush(&mut bytes, &mut new);
    new
}

/// Takes away at most so many of a character at both ends.
fn strip(token: &str, content: char, start: usize, stop: usize) -> String {
    let leading = token.chars().take(start).take_while(|character| *character == content).count();
    let trailing = token.chars().rev().take(stop).take_while(|character| *character == content).count();
    let count = token.chars().count();
    token.chars().take(count.saturating_sub(trailing)).skip(leading).collect()
}

/// What the spaces between tokens do to English.
fn clean(text: &str) -> String {
    let pairs = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" do not", " don't"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
