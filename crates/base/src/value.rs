//! One cell of a table, and the type of a column.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The type of a column of a `predict` project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// Free text.
    Text,
    /// A number.
    Number,
    /// One of a set of names.
    Category,
    /// True or false.
    Binary,
}

/// One cell. A `Category` column holds `Text`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Nothing stood there.
    Missing,
    /// A truth value.
    Binary(bool),
    /// A finite number.
    Number(f64),
    /// Text, or the name of a category.
    Text(String),
}

impl Value {
    /// The text, for text and categories.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The number, for numbers.
    #[must_use]
    pub fn as_number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// The truth value, for binary cells.
    #[must_use]
    pub fn as_binary(&self) -> Option<bool> {
        if let Self::Binary(binary) = self { Some(*binary) } else { None }
    }

    /// Whether nothing stood there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }
}

impl ColumnType {
    /// The name as the project file writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Number => "number",
            Self::Category => "category",
            Self::Binary => "binary",
        }
    }
}
