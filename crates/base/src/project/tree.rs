//! A TOML document as a tree in which every key and value knows its place in the text.

use std::ops::Range;

use serde_json::{Map, Number, Value as Json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostics;

/// A value and its place (byte offsets) in the text.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// A string, number or truth value.
    Leaf(Json),
    Array(Vec<Node>),
    /// Entries in the order of the text; the range is the key's place.
    Table(Vec<(String, Range<usize>, Node)>),
}

/// Parses a text; syntax errors go to `found`, and what could be read comes back.
pub(super) fn parse(text: &str, found: &mut Diagnostics) -> Node {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        found.push(span, "", error.message().trim().to_lowercase(), None);
    }
    Node { span: 0..0, kind: table_of(table.get_ref(), found) }
}

fn table_of(table: &DeTable<'_>, found: &mut Diagnostics) -> Kind {
    let entries =
        table.iter().map(|(key, value)| (key.get_ref().to_string(), key.span(), node_of(value, found))).collect();
    Kind::Table(entries)
}

fn node_of(value: &Spanned<DeValue<'_>>, found: &mut Diagnostics) -> Node {
    let span = value.span();
    let kind = match value.get_ref() {
        DeValue::String(text) => Kind::Leaf(Json::String(text.to_string())),
        DeValue::Boolean(truth) => Kind::Leaf(Json::Bool(*truth)),
        DeValue::Datetime(time) => Kind::Leaf(Json::String(time.to_string())),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) => Kind::Leaf(Json::Number(number.into())),
            Err(_) => {
                found.push(span.clone(), "", "this integer does not fit in 64 bits".to_owned(), None);
                Kind::Leaf(Json::Number(0.into()))
            }
        },
        DeValue::Float(float) => match float.as_str().parse::<f64>().ok().and_then(Number::from_f64) {
            Some(number) => Kind::Leaf(Json::Number(number)),
            None => {
                found.push(span.clone(), "", "only finite numbers have a meaning here".to_owned(), None);
                Kind::Leaf(Json::Number(0.into()))
            }
        },
        DeValue::Array(items) => Kind::Array(items.iter().map(|item| node_of(item, found)).collect()),
        DeValue::Table(table) => table_of(table, found),
    };
    Node { span, kind }
}

impl Node {
    /// A tree without places, for values that came from elsewhere.
    pub(super) fn from_json(json: &Json) -> Self {
        let kind = match json {
            Json::Object(map) => {
                Kind::Table(map.iter().map(|(key, value)| (key.clone(), 0..0, Self::from_json(value))).collect())
            }
            Json::Array(items) => Kind::Array(items.iter().map(Self::from_json).collect()),
            leaf => Kind::Leaf(leaf.clone()),
        };
        Self { span: 0..0, kind }
    }

    /// The same tree as JSON.
    pub(super) fn to_json(&self) -> Json {
        match &self.kind {
            Kind::Leaf(json) => json.clone(),
            Kind::Array(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Kind::Table(entries) => Json::Object(
                entries.iter().map(|(key, _, node)| (key.clone(), node.to_json())).collect::<Map<String, Json>>(),
            ),
        }
    }

    /// The place of a dotted key, or of the nearest table above it that the text has.
    pub(super) fn place(&self, path: &str) -> Range<usize> {
        let mut here = self;
        let mut span = self.span.clone();
        for part in path.split('.') {
            match &here.kind {
                Kind::Table(entries) => match entries.iter().find(|(key, _, _)| key == part) {
                    Some((_, key, node)) => {
                        span = if matches!(node.kind, Kind::Leaf(_)) { node.span.clone() } else { key.clone() };
                        here = node;
                    }
                    None => break,
                },
                Kind::Array(items) => match part.parse::<usize>().ok().and_then(|index| items.get(index)) {
                    Some(node) => {
                        span = node.span.clone();
                        here = node;
                    }
                    None => break,
                },
                Kind::Leaf(_) => break,
            }
        }
        span
    }
}
