//! The data of a tensor as JSON has them: one array of values, or one array of arrays of one value.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};

/// One value of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Null,
    Bool(bool),
    Number(f64),
    Text(Box<str>),
}

/// All values of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cells {
    pub(crate) cells: Vec<Cell>,
    /// Whether each value stood in an array of its own.
    pub(crate) nested: bool,
}

impl Cell {
    /// What it is, for an error.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a truth value",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
        }
    }
}

/// A value, or an array of one value.
struct Element {
    cell: Cell,
    nested: bool,
}

struct ElementVisitor;

fn bare<E>(cell: Cell) -> Result<Element, E> {
    Ok(Element { cell, nested: false })
}

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a truth value, a number, a text, or an array of one of them")
    }

    fn visit_unit<E: Error>(self) -> Result<Element, E> {
        bare(Cell::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Element, E> {
        bare(Cell::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Element, E> {
        bare(Cell::Number(value as f64))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Element, E> {
        bare(Cell::Number(value as f64))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Element, E> {
        bare(Cell::Number(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Element, E> {
        bare(Cell::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Element, A::Error> {
        let inner: Option<Element> = array.next_element()?;
        let more: Option<serde::de::IgnoredAny> = array.next_element()?;
        match inner {
            Some(Element { cell, nested: false }) if more.is_none() => Ok(Element { cell, nested: true }),
            _ => Err(A::Error::custom("a row of a tensor of shape [N, 1] is an array of exactly one value")),
        }
    }
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ElementVisitor)
    }
}

/// The commas outside of strings: one less than an array's values, so that a body that would unfold into
/// far more memory than it has bytes is refused before it is read.
pub(crate) fn commas(body: &[u8]) -> usize {
    let (mut count, mut inside, mut escaped) = (0, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            b',' if !inside => count += 1,
            _ => {}
        }
    }
    count
}

struct CellsVisitor;

impl<'de> Visitor<'de> for CellsVisitor {
    type Value = Cells;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of values")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Cells, A::Error> {
        let mut all = Cells { cells: Vec::new(), nested: false };
        while let Some(Element { cell, nested }) = array.next_element()? {
            if nested != all.nested && !all.cells.is_empty() {
                return Err(A::Error::custom("some values stand in arrays of their own, and some do not"));
            }
            all.nested = nested;
            all.cells.push(cell);
        }
        Ok(all)
    }
}

impl<'de> Deserialize<'de> for Cells {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(CellsVisitor)
    }
}
