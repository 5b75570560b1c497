//! Words, sentences, lines and paragraphs of text, cut as datatrove cuts them, so that what is counted on them
//! comes out the same.
//!
//! English follows spaCy's blank English tokenizer, other languages with spaces its language-neutral one; text
//! without spaces is cut into characters. This crate knows no documents, no rules about quality and no files.

mod classes;
mod error;
mod lines;
mod rules;
mod sentences;
mod simplify;
mod tokens;
mod unspaced;

pub use classes::{
    ALPHABETIC, ALPHANUMERIC, Classes, DIGIT, PUNCTUATION, SPACE, SYMBOL, TERMINAL, UPPER_CASE, WORD, classes,
};
pub use error::WordsError;
pub use lines::{Lines, chunks, lines, paragraphs, strip, strip_end, strip_start};
pub use sentences::{SentenceState, sentence_starts};
pub use simplify::{simplify, simplify_into};
pub use tokens::{TEXT_BYTES_MAX, Token, TokenKind, tokenize};
pub use unspaced::is_unspaced;

/// How words are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Language {
    /// spaCy's English rules.
    #[default]
    English,
    /// spaCy's rules for any language (`xx`): what datatrove uses for languages it knows nothing of.
    Neutral,
    /// Each character of an unspaced script is a word; all else as `Neutral`.
    Unspaced,
}

impl Language {
    /// By ISO 639-1 or 639-3 code. Any code is taken: unknown ones are `Neutral`.
    pub fn from_code(code: &str) -> Self {
        match code {
            "en" | "eng" => Self::English,
            "zh" | "zho" | "cmn" | "yue" | "wuu" | "lzh" | "ja" | "jpn" | "th" | "tha" | "lo" | "lao" | "km"
            | "khm" | "my" | "mya" => Self::Unspaced,
            _ => Self::Neutral,
        }
    }
}

/// Calls with each word of a text, in order. A text longer than [`TEXT_BYTES_MAX`] is taken in pieces.
pub fn for_each_word<'a>(text: &'a str, language: Language, mut visit: impl FnMut(&'a str)) {
    let mut tokens = Vec::new();
    for piece in pieces(text) {
        if tokenize(piece, language, &mut tokens).is_ok() {
            for token in tokens.iter().filter(|token| token.kind != TokenKind::Space) {
                visit(token.of(piece));
            }
        }
    }
}

/// The sentences of a text, which together are the whole text, white space included.
pub fn sentences(text: &str, language: Language) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut out = Vec::new();
    for piece in pieces(text) {
        if tokenize(piece, language, &mut tokens).is_err() {
            continue;
        }
        let starts = sentence_starts(piece, &tokens);
        let ends = starts.iter().skip(1).copied().chain([piece.len()]);
        out.extend(starts.iter().zip(ends).map(|(start, end)| &piece[*start..end]));
    }
    out
}

/// A text in pieces of at most [`TEXT_BYTES_MAX`], cut behind a line if one ends there, else between characters.
fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    let mut first = true;
    std::iter::from_fn(move || {
        if text.is_empty() && !first {
            return None;
        }
        first = false;
        let mut end = text.len().min(TEXT_BYTES_MAX);
        if end < text.len() {
            end = memchr::memrchr(b'\n', &text.as_bytes()[..end]).map_or(end, |line| line + 1);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
        }
        let (piece, rest) = text.split_at(end);
        text = rest;
        Some(piece)
    })
}
