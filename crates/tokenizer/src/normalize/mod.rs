//! Normalisers: what is done to a text before it is split.
//!
//! The results are those of Hugging Face's, down to the version of Unicode: decomposition by the same tables.
//! Alignment with the original text is not kept; nothing here needs it.

mod bert;
mod precompiled;

use std::borrow::Cow;
use std::sync::OnceLock;

use serde_json::Value;
use unicode_normalization_alignments::UnicodeNormalization;
use unicode_normalization_alignments::char::{canonical_combining_class, is_combining_mark};

use crate::error::TokenizerError;
use crate::json::{flag, list, optional_flag, text, type_of};
use crate::split::Pattern;
pub(crate) use bert::{Bert, is_bert_punctuation};
use precompiled::Precompiled;

/// A step of normalisation.
#[derive(Debug, Clone)]
pub(crate) enum Normalizer {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
    Nmt,
    Lowercase,
    Strip { left: bool, right: bool },
    StripAccents,
    Prepend(String),
    Replace { pattern: Pattern, content: String },
    Bert(Bert),
    Precompiled(Box<Precompiled>),
    Sequence(Vec<Normalizer>),
}

impl Normalizer {
    /// Reads the step from its part of a file; `null` is no step.
    pub fn read(json: &Value) -> Result<Option<Self>, TokenizerError> {
        if json.is_null() {
            return Ok(None);
        }
        Ok(Some(match type_of(json, "normalizer")? {
            "NFC" => Self::Nfc,
            "NFD" => Self::Nfd,
            "NFKC" => Self::Nfkc,
            "NFKD" => Self::Nfkd,
            "Nmt" => Self::Nmt,
            "Lowercase" => Self::Lowercase,
            "StripAccents" => Self::StripAccents,
            "Strip" => Self::Strip { left: flag(json, "strip_left")?, right: flag(json, "strip_right")? },
            "Prepend" => Self::Prepend(text(json, "prepend")?.to_owned()),
            "Replace" => Self::Replace { pattern: read_pattern(json)?, content: text(json, "content")?.to_owned() },
            "BertNormalizer" => Self::Bert(Bert {
                clean_text: flag(json, "clean_text")?,
                handle_chinese_chars: flag(json, "handle_chinese_chars")?,
                strip_accents: optional_flag(json, "strip_accents")?,
                lowercase: flag(json, "lowercase")?,
            }),
            "Precompiled" => Self::Precompiled(Box::new(Precompiled::read(text(json, "precompiled_charsmap")?)?)),
            "Sequence" => {
                let steps = list(json, "normalizers")?.iter().map(Self::read);
                Self::Sequence(steps.filter_map(Result::transpose).collect::<Result<_, _>>()?)
            }
            other => return Err(TokenizerError::unsupported(format!("the normalizer {other:?}"))),
        }))
    }

    /// The text, normalised.
    pub fn apply<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, TokenizerError> {
        Ok(match self {
            Self::Nfc if is_nfc_for_sure(text) => Cow::Borrowed(text),
            Self::Nfd | Self::Nfkc | Self::Nfkd if text.is_ascii() => Cow::Borrowed(text),
            Self::Nfc => Cow::Owned(text.nfc().map(|(character, _)| character).collect()),
            Self::Nfd => Cow::Owned(text.nfd().map(|(character, _)| character).collect()),
            Self::Nfkc => Cow::Owned(text.nfkc().map(|(character, _)| character).collect()),
            Self::Nfkd => Cow::Owned(text.nfkd().map(|(character, _)| character).collect()),
            Self::Nmt => Cow::Owned(text.chars().filter_map(nmt).collect()),
            Self::Lowercase if text.is_ascii() => Cow::Owned(text.to_ascii_lowercase()),
            Self::Lowercase => Cow::Owned(text.chars().flat_map(char::to_lowercase).collect()),
            Self::Strip { left, right } => {
                let text = if *left { text.trim_start() } else { text };
                Cow::Borrowed(if *right { text.trim_end() } else { text })
            }
            Self::StripAccents if text.is_ascii() => Cow::Borrowed(text),
            Self::StripAccents => Cow::Owned(text.chars().filter(|character| !is_combining_mark(*character)).collect()),
            Self::Prepend(_) if text.is_empty() => Cow::Borrowed(text),
            Self::Prepend(what) => Cow::Owned(format!("{what}{text}")),
            Self::Replace { pattern, content } => replace(pattern, content, text)?,
            Self::Bert(bert) => Cow::Owned(bert.apply(text)),
            Self::Precompiled(map) => Cow::Owned(map.apply(text)),
            Self::Sequence(steps) => {
                let mut text = Cow::Borrowed(text);
                for step in steps {
                    text = match text {
                        Cow::Borrowed(text) => step.apply(text)?,
                        Cow::Owned(text) => Cow::Owned(step.apply(&text)?.into_owned()),
                    };
                }
                text
            }
        })
    }
}

/// The pattern of a `Replace` or `Split`.
pub(crate) fn read_pattern(json: &Value) -> Result<Pattern, TokenizerError> {
    let pattern = &json["pattern"];
    if let Some(literal) = pattern["String"].as_str() {
        if literal.is_empty() {
            return Err(TokenizerError::unsupported("an empty pattern"));
        }
        return Ok(Pattern::Literal(literal.to_owned()));
    }
    let expression = pattern["Regex"].as_str();
    Pattern::regex(expression.ok_or_else(|| TokenizerError::damaged("a pattern is neither String nor Regex"))?)
}

/// The text with every match replaced.
pub(crate) fn replace<'t>(pattern: &Pattern, content: &str, text: &'t str) -> Result<Cow<'t, str>, TokenizerError> {
    if let Pattern::Literal(literal) = pattern
        && !text.contains(literal.as_str())
    {
        return Ok(Cow::Borrowed(text));
    }
    let mut new = String::with_capacity(text.len() + text.len() / 2);
    pattern.pieces(text, &mut |piece, matched| new.push_str(if matched { content } else { piece }))?;
    Ok(Cow::Owned(new))
}

/// Whether all characters are such that they neither decompose nor compose with anything: most texts.
fn is_nfc_for_sure(text: &str) -> bool {
    text.is_ascii() || {
        let table = composed();
        text.chars().all(|character| {
            let code = u32::from(character) as usize;
            code < 0x300 || table.get(code / 64).is_some_and(|bits| bits >> (code % 64) & 1 == 1)
        })
    }
}

/// A bit for each character that is a starter, is its own composition, and is never the second of one (the quick check of
/// Unicode's Annex 15, from the crate's own tables). Planes behind the second are few and go the long way.
fn composed() -> &'static [u64] {
    static TABLE: OnceLock<Vec<u64>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = vec![0; 0x3_0000 / 64];
        let mut set = |character: char, value: bool| {
            let code = u32::from(character) as usize;
            if let Some(bits) = table.get_mut(code / 64) {
                *bits = *bits & !(1_u64 << (code % 64)) | u64::from(value) << (code % 64);
            }
        };
        for character in '\0'..'\u{30000}' {
            let mut composition = std::iter::once(character).nfc().map(|(character, _)| character);
            let own = composition.next() == Some(character) && composition.next().is_none();
            set(character, own && canonical_combining_class(character) == 0);
        }
        for character in '\0'..='\u{30000}' {
            std::iter::once(character).nfd().skip(1).for_each(|(second, _)| set(second, false));
        }
        table
    })
}

fn nmt(character: char) -> Option<char> {
    match u32::from(character) {
        1..=8 | 0x0b | 0x0e..=0x1f | 0x7f | 0x8f | 0x9f => None,
        9 | 10 | 12 | 13 | 0x1680 | 0x200b..=0x200f | 0x2028 | 0x2029 | 0x2581 | 0xfeff | 0xfffd => Some(' '),
        _ => Some(character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_surely_composed_is_left_alone_by_the_crate() {
        let sure: Vec<char> = ('\0'..=char::MAX).filter(|c| is_nfc_for_sure(&c.to_string())).collect();
        assert!(sure.len() > 150_000);
        for window in sure.windows(2) {
            let text: String = window.iter().collect();
            assert_eq!(text.nfc().map(|(c, _)| c).collect::<String>(), text);
        }
        // Nothing in the set is ever the second half of a composition.
        let seconds: std::collections::BTreeSet<char> =
            ('\0'..=char::MAX).filter_map(|c| c.to_string().nfd().nth(1).map(|(c, _)| c)).collect();
        assert!(sure.iter().all(|c| !seconds.contains(c)));
    }
}
