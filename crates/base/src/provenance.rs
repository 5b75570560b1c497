//! Numbers that say how they were obtained.

use serde::{Deserialize, Serialize};

/// How a number was obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provenance {
    /// Read off this run.
    Measured,
    /// Computed from a model of the work.
    Estimated,
    /// Taken from a table or a default.
    Assumed,
}

/// A number with its unit, provenance and method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// The number itself.
    pub value: f64,
    /// Its unit, such as `s`, `bytes`, `parameters`, or the empty text for a share.
    pub unit: String,
    /// Measured, estimated or assumed.
    pub provenance: Provenance,
    /// By what method, in a few words.
    pub method: String,
}

impl Measure {
    /// A measured number.
    #[must_use]
    pub fn measured(value: f64, unit: &str, method: &str) -> Self {
        Self::new(value, unit, Provenance::Measured, method)
    }

    /// An estimated number.
    #[must_use]
    pub fn estimated(value: f64, unit: &str, method: &str) -> Self {
        Self::new(value, unit, Provenance::Estimated, method)
    }

    fn new(value: f64, unit: &str, provenance: Provenance, method: &str) -> Self {
        Self { value, unit: unit.to_owned(), provenance, method: method.to_owned() }
    }
}
