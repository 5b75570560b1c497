//! The name of a registered model: `name`, `name@3` or `name@champion`.

use std::fmt;
use std::str::FromStr;

/// What stands behind the `@` of a version's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pointer {
    /// `@3`: that version.
    Number(u32),
    /// `@champion`: whatever the alias points to.
    Alias(String),
}

/// `name@3` or `name@alias`; a bare `name` means `name@champion`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionName {
    /// The model's name.
    pub name: String,
    /// Which of its versions.
    pub pointer: Pointer,
}

/// The text does not name a version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to read a version from {text:?}: expected name@3 or name@alias")]
pub struct NotAVersion {
    /// What stood there.
    pub text: String,
}

impl FromStr for VersionName {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let error = || NotAVersion { text: text.chars().take(80).collect() };
        let (name, pointer) = text.split_once('@').unwrap_or((text, "champion"));
        if !is_name(name) {
            return Err(error());
        }
        let pointer = if pointer.bytes().all(|b| b.is_ascii_digit()) && !pointer.is_empty() {
            Pointer::Number(pointer.parse().ok().filter(|n| *n > 0).ok_or_else(error)?)
        } else if is_name(pointer) {
            Pointer::Alias(pointer.to_owned())
        } else {
            return Err(error());
        };
        Ok(Self { name: name.to_owned(), pointer })
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pointer {
            Pointer::Number(number) => write!(f, "{}@{number}", self.name),
            Pointer::Alias(alias) => write!(f, "{}@{alias}", self.name),
        }
    }
}

/// Whether a text can name a model, an alias or a project: 1 to 64 letters, digits, `-`, `_` or `.`,
/// the first a lower-case letter or a digit. Letters are ASCII, because the name stands in image
/// tags and URLs.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    first && text.len() <= 64 && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_are_read() {
        assert_eq!("a@3".parse::<VersionName>().unwrap().pointer, Pointer::Number(3));
        assert_eq!("a".parse::<VersionName>().unwrap().to_string(), "a@champion");
        assert_eq!("a@blue".parse::<VersionName>().unwrap().to_string(), "a@blue");
    }

    #[test]
    fn rubbish_is_refused() {
        for text in ["", "@", "a@", "a@0", "A@1", "../x@1", "a@99999999999", "a b"] {
            assert!(text.parse::<VersionName>().is_err(), "{text}");
        }
    }
}
