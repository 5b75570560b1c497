//! Splitters: how a normalised text becomes the words that the model knows nothing beyond.
//!
//! Steps are applied one inside the other, each to every piece of the one before, so that nothing is stored between
//! them. A `ByteLevel` step comes last; the model then reads the bytes of a word as they are, which is the same as to
//! spell them in GPT-2's alphabet first.

use std::borrow::Cow;

use serde_json::Value;

use crate::error::TokenizerError;
use crate::json::{character, flag, list, optional_flag, text, type_of};
use crate::normalize::{is_bert_punctuation, read_pattern};
use crate::split::{Behavior, Pattern, split, split_characters};
use crate::unicode::{SPACE, WORD, classes};

/// All steps of a splitter.
#[derive(Debug, Clone, Default)]
pub(crate) struct PreTokenizer {
    steps: Vec<Step>,
    /// Whether words are bytes.
    pub byte_level: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Split { pattern: Pattern, behavior: Behavior, invert: bool },
    PrefixSpace,
    Bert,
    Whitespace,
    WhitespaceSplit,
    Punctuation(Behavior),
    Digits(Behavior),
    Delimiter(char),
    Metaspace(Metaspace),
}

/// When a word gets a mark before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prepend {
    First,
    Never,
    Always,
}

/// Spaces become visible marks, and words begin with them.
#[derive(Debug, Clone)]
pub(crate) struct Metaspace {
    pub replacement: char,
    pub prepend: Prepend,
    split: bool,
}

impl Metaspace {
    pub fn read(json: &Value) -> Result<Self, TokenizerError> {
        let add_prefix_space = optional_flag(json, "add_prefix_space")?;
        let scheme = if json["prepend_scheme"].is_null() { "always" } else { text(json, "prepend_scheme")? };
        let prepend = match (scheme, add_prefix_space) {
            ("never", _) => Prepend::Never,
            ("first", None | Some(true)) => Prepend::First,
            ("always", None | Some(true)) => Prepend::Always,
            ("first" | "always", Some(false)) => {
                return Err(TokenizerError::damaged("add_prefix_space does not match prepend_scheme"));
            }
            (other, _) => return Err(TokenizerError::unsupported(format!("the prepend_scheme {other:?}"))),
        };
        let split = optional_flag(json, "split")?.unwrap_or(true);
        Ok(Self { replacement: character(json, "replacement")?, prepend, split })
    }
}

impl PreTokenizer {
    /// Reads the splitter from its part of a file; `null` leaves a text whole.
    pub fn read(json: &Value) -> Result<Self, TokenizerError> {
        let mut new = Self::default();
        if !json.is_null() {
            new.push(json)?;
        }
        Ok(new)
    }

    /// Splits by expressions, each inside the pieces of the one before; what is left are words of bytes.
    pub fn byte_level(expressions: &[&str]) -> Result<Self, TokenizerError> {
        let step = |expression: &&str| {
            let pattern = Pattern::regex(expression)?;
            Ok(Step::Split { pattern, behavior: Behavior::Isolated, invert: false })
        };
        Ok(Self { steps: expressions.iter().map(step).collect::<Result<_, _>>()?, byte_level: true })
    }

    fn push(&mut self, json: &Value) -> Result<(), TokenizerError> {
        let name = type_of(json, "pre_tokenizer")?;
        if name == "Sequence" {
            return list(json, "pretokenizers")?.iter().try_for_each(|step| self.push(step));
        }
        if self.byte_level {
            return Err(TokenizerError::unsupported(format!("the pre_tokenizer {name:?} behind ByteLevel")));
        }
        let step = match name {
            "ByteLevel" => {
                self.byte_level = true;
                if flag(json, "add_prefix_space")? {
                    self.steps.push(Step::PrefixSpace);
                }
                if !optional_flag(json, "use_regex")?.unwrap_or(true) {
                    return Ok(());
                }
                Step::Split { pattern: Pattern::Gpt2, behavior: Behavior::Isolated, invert: false }
            }
            "Split" => Step::Split {
                pattern: read_pattern(json)?,
                behavior: Behavior::of(text(json, "behavior")?)?,
                invert: flag(json, "invert")?,
            },
            "BertPreTokenizer" => Step::Bert,
            "Whitespace" => Step::Whitespace,
            "WhitespaceSplit" => Step::WhitespaceSplit,
            "Punctuation" if json["behavior"].is_null() => Step::Punctuation(Behavior::Isolated),
            "Punctuation" => Step::Punctuation(Behavior::of(text(json, "behavior")?)?),
            "Digits" if flag(json, "individual_digits")? => Step::Digits(Behavior::Isolated),
            "Digits" => Step::Digits(Behavior::Contiguous),
            "CharDelimiterSplit" => Step::Delimiter(character(json, "delimiter")?),
            "Metaspace" => Step::Metaspace(Metaspace::read(json)?),
            other => return Err(TokenizerError::unsupported(format!("the pre_tokenizer {other:?}"))),
        };
        self.steps.push(step);
        Ok(())
    }

    /// Gives the words of a text in order; none is empty. `at_start`: nothing stood before it in the original.
    pub fn words(&self, text: &str, at_start: bool, emit: &mut dyn FnMut(&str)) -> Result<(), TokenizerError> {
        if text.is_empty() {
            return Ok(());
        }
        run(&self.steps, text, at_start, emit)
    }
}

fn run(steps: &[Step], text: &str, at_start: bool, emit: &mut dyn FnMut(&str)) -> Result<(), TokenizerError> {
    let Some((step, rest)) = steps.split_first() else {
        emit(text);
        return Ok(());
    };
    if rest.is_empty() {
        return step.apply(text, at_start, emit);
    }
    let mut result = Ok(());
    step.apply(text, at_start, &mut |piece| {
        if result.is_ok() {
            // A piece of a text that the step wrote anew begins elsewhere in memory: only the first step can prepend.
            let first = at_start && std::ptr::eq(piece.as_ptr(), text.as_ptr());
            result = run(rest, piece, first, emit);
        }
    })?;
    result
}

impl Step {
    fn apply(&self, text: &str, at_start: bool, emit: &mut dyn FnMut(&str)) -> Result<(), TokenizerError> {
        match self {
            Self::Split { pattern, behavior, invert } => return split(pattern, *behavior, *invert, text, emit),
            Self::PrefixSpace if text.starts_with(' ') => emit(text),
            Self::PrefixSpace => emit(&format!(" {text}")),
            Self::Bert => bert(text, emit),
            Self::Whitespace => words_and_signs(text, emit),
            Self::WhitespaceSplit => text.split_whitespace().for_each(emit),
            Self::Punctuation(behavior) => split_characters(is_bert_punctuation, *behavior, text, emit),
            Self::Digits(behavior) => split_characters(char::is_numeric, *behavior, text, emit),
            Self::Delimiter(delimiter) => {
                text.split(*delimiter).filter(|piece| !piece.is_empty()).for_each(emit);
            }
            Self::Metaspace(space) => {
                let mark = space.replacement;
                let replaced = if text.contains(' ') {
                    Cow::Owned(text.replace(' ', mark.encode_utf8(&mut [0; 4])))
                } else {
                    Cow::Borrowed(text)
                };
                let wanted = space.prepend == Prepend::Always || space.prepend == Prepend::First && at_start;
                let marked = if wanted && !replaced.starts_with(mark) {
                    Cow::Owned(format!("{mark}{replaced}"))
                } else {
                    replaced
                };
                if space.split {
                    at_marks(&marked, mark, emit);
                } else {
                    emit(&marked);
                }
            }
        }
        Ok(())
    }
}

/// Words that begin with a mark, if any has one.
fn at_marks(text: &str, mark: char, emit: &mut dyn FnMut(&str)) {
    let mut begin = 0;
    for (index, _) in text.match_indices(mark) {
        if begin < index {
            emit(&text[begin..index]);
        }
        begin = index;
    }
    if begin < text.len() {
        emit(&text[begin..]);
    }
}

/// Cut at spaces, which go, and around punctuation.
fn bert(text: &str, emit: &mut dyn FnMut(&str)) {
    let mut begin = 0;
    for (index, character) in text.char_indices() {
        let space = character.is_whitespace();
        if !space && !is_bert_punctuation(character) {
            continue;
        }
        if begin < index {
            emit(&text[begin..index]);
        }
        begin = index + character.len_utf8();
        if !space {
            emit(&text[index..begin]);
        }
    }
    if begin < text.len() {
        emit(&text[begin..]);
    }
}

/// The matches of `\w+|[^\w\s]+`.
fn words_and_signs(text: &str, emit: &mut dyn FnMut(&str)) {
    let table = classes();
    let kind = |character: char| {
        let class = table.of(u32::from(character));
        if class & WORD != 0 { 2 } else { u8::from(class & SPACE == 0) }
    };
    let (mut begin, mut open) = (0, 0);
    for (index, character) in text.char_indices() {
        let kind = kind(character);
        if kind != open {
            if open != 0 {
                emit(&text[begin..index]);
            }
            (begin, open) = (index, kind);
        }
    }
    if open != 0 {
        emit(&text[begin..]);
    }
}
