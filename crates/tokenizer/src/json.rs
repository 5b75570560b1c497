//! Reading parts of a `tokenizer.json` with errors that name them.

use serde_json::Value;

use crate::error::TokenizerError;

/// What a part says it is.
pub(crate) fn type_of<'j>(json: &'j Value, part: &str) -> Result<&'j str, TokenizerError> {
    json["type"].as_str().ok_or_else(|| TokenizerError::damaged(format!("a {part} has no type")))
}

fn wrong(key: &str) -> TokenizerError {
    TokenizerError::damaged(format!("{key:?} is missing or of the wrong kind"))
}

pub(crate) fn flag(json: &Value, key: &str) -> Result<bool, TokenizerError> {
    json[key].as_bool().ok_or_else(|| wrong(key))
}

/// A flag that may be `null` or absent.
pub(crate) fn optional_flag(json: &Value, key: &str) -> Result<Option<bool>, TokenizerError> {
    if json[key].is_null() { Ok(None) } else { flag(json, key).map(Some) }
}

pub(crate) fn text<'j>(json: &'j Value, key: &str) -> Result<&'j str, TokenizerError> {
    json[key].as_str().ok_or_else(|| wrong(key))
}

/// A text that may be `null` or absent.
pub(crate) fn optional_text<'j>(json: &'j Value, key: &str) -> Result<Option<&'j str>, TokenizerError> {
    if json[key].is_null() { Ok(None) } else { text(json, key).map(Some) }
}

pub(crate) fn list<'j>(json: &'j Value, key: &str) -> Result<&'j [Value], TokenizerError> {
    json[key].as_array().map(Vec::as_slice).ok_or_else(|| wrong(key))
}

/// A whole number of 32 bits.
pub(crate) fn number(json: &Value, key: &str) -> Result<u32, TokenizerError> {
    json[key].as_u64().and_then(|number| u32::try_from(number).ok()).ok_or_else(|| wrong(key))
}

/// One character.
pub(crate) fn character(json: &Value, key: &str) -> Result<char, TokenizerError> {
    let mut characters = text(json, key)?.chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) => Ok(character),
        _ => Err(wrong(key)),
    }
}
