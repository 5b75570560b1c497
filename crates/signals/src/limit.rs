//! A threshold that may be off, written as a number or as `"off"`: TOML has no null.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A threshold that may be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit<T> {
    /// Nothing is checked.
    Off,
    /// The least or most that passes.
    At(T),
}

impl<T: Serialize> Serialize for Limit<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::At(value) => value.serialize(serializer),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written<T> {
    Number(T),
    Word(String),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Limit<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer) {
            Ok(Written::Number(value)) => Ok(Self::At(value)),
            Ok(Written::Word(word)) if word == "off" => Ok(Self::Off),
            _ => Err(D::Error::custom("a threshold is a number or \"off\"")),
        }
    }
}
