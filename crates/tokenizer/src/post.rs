//! What is put around the tokens of a text: special tokens at the ends, a cut, and padding.

use serde_json::Value;

use crate::error::TokenizerError;
use crate::json::{list, number, type_of};

/// Special tokens at both ends of a text.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Ends {
    pub before: Vec<u32>,
    pub behind: Vec<u32>,
}

impl Ends {
    pub fn read(json: &Value) -> Result<Self, TokenizerError> {
        if json.is_null() {
            return Ok(Self::default());
        }
        let pair = |key: &str| {
            let id = json[key][1].as_u64().and_then(|id| u32::try_from(id).ok());
            id.map(|id| vec![id])
                .ok_or_else(|| TokenizerError::damaged(format!("{key:?} of its post_processor is no token")))
        };
        match type_of(json, "post_processor")? {
            // It moves offsets only.
            "ByteLevel" => Ok(Self::default()),
            "BertProcessing" | "RobertaProcessing" => Ok(Self { before: pair("cls")?, behind: pair("sep")? }),
            "TemplateProcessing" => template(json),
            "Sequence" => {
                let mut all = Self::default();
                for step in list(json, "processors")? {
                    let step = Self::read(step)?;
                    if all != Self::default() && step != Self::default() {
                        return Err(TokenizerError::unsupported("a sequence of post_processors that both add tokens"));
                    }
                    if step != Self::default() {
                        all = step;
                    }
                }
                Ok(all)
            }
            other => Err(TokenizerError::unsupported(format!("the post_processor {other:?}"))),
        }
    }

    pub fn count(&self) -> usize {
        self.before.len() + self.behind.len()
    }
}

fn template(json: &Value) -> Result<Ends, TokenizerError> {
    let mut ends = Ends::default();
    let mut seen = false;
    for piece in list(json, "single")? {
        if let Some(sequence) = piece.get("Sequence") {
            if seen || sequence["id"].as_str() != Some("A") {
                return Err(TokenizerError::unsupported("a template that is not one text between tokens"));
            }
            seen = true;
            continue;
        }
        let name = piece["SpecialToken"]["id"].as_str();
        let name = name.ok_or_else(|| TokenizerError::damaged(format!("{piece} is no part of a template")))?;
        let special = &json["special_tokens"][name];
        let ids = special["ids"].as_array().map(Vec::as_slice);
        let ids = ids.ok_or_else(|| TokenizerError::damaged(format!("the template has no special token {name:?}")))?;
        for id in ids {
            let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let id = id.ok_or_else(|| TokenizerError::damaged(format!("{special} is no special token")))?;
            if seen { &mut ends.behind } else { &mut ends.before }.push(id);
        }
    }
    if !seen {
        return Err(TokenizerError::unsupported("a template without a text"));
    }
    Ok(ends)
}

/// The most tokens of a text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Truncation {
    pub most: usize,
    left: bool,
}

impl Truncation {
    pub fn read(json: &Value) -> Result<Option<Self>, TokenizerError> {
        if json.is_null() {
            return Ok(None);
        }
        match json["strategy"].as_str() {
            Some("LongestFirst" | "OnlyFirst") => {}
            other => return Err(TokenizerError::unsupported(format!("the truncation strategy {other:?}"))),
        }
        Ok(Some(Self { most: number(json, "max_length")? as usize, left: is_left(json)? }))
    }

    /// Cuts what lies behind `begin`, so that so many more tokens fit.
    pub fn apply(&self, begin: usize, added: usize, out: &mut Vec<u32>) {
        let most = self.most.saturating_sub(added);
        let count = out.len() - begin;
        if count <= most {
            return;
        }
        if self.left {
            out.drain(begin..begin + count - most);
        } else {
            out.truncate(begin + most);
        }
    }
}

/// What texts are filled up with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Padding {
    fixed: Option<usize>,
    multiple: usize,
    left: bool,
    token: u32,
}

impl Padding {
    pub fn read(json: &Value) -> Result<Option<Self>, TokenizerError> {
        if json.is_null() {
            return Ok(None);
        }
        let fixed = match &json["strategy"] {
            Value::String(name) if name == "BatchLongest" => None,
            fixed if fixed.get("Fixed").is_some() => Some(number(fixed, "Fixed")? as usize),
            other => return Err(TokenizerError::unsupported(format!("the padding strategy {other}"))),
        };
        // More than this is no text, and memory would not hold it.
        let large = fixed.is_some_and(|fixed| fixed > 1 << 24);
        let multiple = if json["pad_to_multiple_of"].is_null() { 1 } else { number(json, "pad_to_multiple_of")? };
        if large || multiple > 1 << 24 {
            return Err(TokenizerError::unsupported("padding to more than 16777216 tokens"));
        }
        Ok(Some(Self {
            fixed,
            multiple: multiple.max(1) as usize,
            left: is_left(json)?,
            token: number(json, "pad_id")?,
        }))
    }

    /// How many tokens a text has at the end, when the longest has so many.
    pub fn length(&self, longest: usize) -> usize {
        self.fixed.unwrap_or(longest).next_multiple_of(self.multiple)
    }

    /// Fills up what lies behind `begin`.
    pub fn apply(&self, begin: usize, length: usize, out: &mut Vec<u32>) {
        let missing = length.saturating_sub(out.len() - begin);
        let at = if self.left { begin } else { out.len() };
        out.splice(at..at, std::iter::repeat_n(self.token, missing));
    }
}

fn is_left(json: &Value) -> Result<bool, TokenizerError> {
    match json["direction"].as_str() {
        Some("Left") => Ok(true),
        Some("Right") | None => Ok(false),
        Some(other) => Err(TokenizerError::unsupported(format!("the direction {other:?}"))),
    }
}
