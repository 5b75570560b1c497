//! The type of a column, inferred from its values where the project file does not say it.
//!
//! Looked at are the first [`ROWS_LOOKED_AT`] rows. In this order:
//! 1. truth values of the file itself, or exactly two distinct values that are one of the known pairs
//!    (`true`/`false`, `yes`/`no`, `y`/`n`, `t`/`f`, `1`/`0`, `是`/`否`, in any case) → binary;
//! 2. every value reads as a finite number → number;
//! 3. an output, or few distinct values (at most 20, each seen twice on average; or at most one in
//!    twenty rows) of at most 100 characters → category;
//! 4. anything else → text.
//!
//! Missing are: nothing; an empty text; and, unless the column is free text, one of
//! [`infer::clean::MISSING_WORDS`].

use std::collections::BTreeSet;

use base::{ColumnType, Value};
use infer::clean::{BINARY_PAIRS, is_missing_word, read_number};

/// How many rows are looked at.
pub(crate) const ROWS_LOOKED_AT: usize = 10_000;
const LABEL_CHARACTERS_MAX: usize = 100;

/// A column's type, and what else reading its cells needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Typed {
    /// The type.
    pub column_type: ColumnType,
    /// Why it has that type.
    pub why: String,
    /// Of a binary column: how false and true are written.
    pub labels: Option<[String; 2]>,
}

/// The type of a column from its first values, or the type that the project file gives.
pub(crate) fn infer(name: &str, given: Option<ColumnType>, output: bool, values: &[Value]) -> Result<Typed, String> {
    let texts: Vec<String> = values.iter().filter_map(shown).collect();
    let distinct: BTreeSet<&str> = texts.iter().map(String::as_str).collect();
    let native = values.iter().any(|value| matches!(value, Value::Binary(_)));
    let pair = known_pair(&distinct);
    let typed = |column_type, why: &str| Typed { column_type, why: why.to_owned(), labels: None };
    let binary = |labels: [String; 2], why: &str| Typed {
        column_type: ColumnType::Binary,
        why: why.to_owned(),
        labels: Some(labels),
    };
    if let Some(column_type) = given {
        return Ok(match column_type {
            ColumnType::Binary => binary(binary_labels(name, &distinct, native, pair)?, "given"),
            other => typed(other, "given"),
        });
    }
    if distinct.is_empty() {
        return if output {
            Err(format!("the column {name:?} is empty"))
        } else {
            Ok(typed(ColumnType::Text, "every value is missing"))
        };
    }
    if native {
        return Ok(binary(["false".to_owned(), "true".to_owned()], "truth values in the file"));
    }
    if let Some(labels) = pair {
        return Ok(binary(labels, "two known names for true and false"));
    }
    if texts.iter().all(|text| read_number(text).is_some()) {
        return Ok(typed(ColumnType::Number, "every value looked at is a number"));
    }
    let short = distinct.iter().all(|text| text.chars().count() <= LABEL_CHARACTERS_MAX);
    let few = (distinct.len() <= 20 && distinct.len() * 2 <= texts.len()) || distinct.len() * 20 <= texts.len();
    if output {
        if distinct.len() * 2 > texts.len() && distinct.len() > 50 {
            return Err(format!(
                "the column {name:?} has {} distinct values in {} rows, which looks like free text",
                distinct.len(),
                texts.len()
            ));
        }
        return Ok(typed(ColumnType::Category, "an output that is no number"));
    }
    Ok(if few && short {
        typed(ColumnType::Category, "few distinct values")
    } else {
        typed(ColumnType::Text, "many distinct values")
    })
}

fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Missing => None,
        Value::Binary(truth) => Some(truth.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Text(text) => Some(text.trim()).filter(|text| !is_missing_word(text)).map(str::to_owned),
    }
}

fn known_pair(distinct: &BTreeSet<&str>) -> Option<[String; 2]> {
    let mut both = distinct.iter();
    let (Some(a), Some(b), None) = (both.next(), both.next(), both.next()) else { return None };
    for [no, yes] in BINARY_PAIRS {
        for (first, second) in [(a, b), (b, a)] {
            if first.to_lowercase() == no && second.to_lowercase() == yes {
                return Some([(*first).to_owned(), (*second).to_owned()]);
            }
        }
    }
    None
}

fn binary_labels(
    name: &str,
    distinct: &BTreeSet<&str>,
    native: bool,
    pair: Option<[String; 2]>,
) -> Result<[String; 2], String> {
    if native {
        return Ok(["false".to_owned(), "true".to_owned()]);
    }
    if let Some(pair) = pair {
        return Ok(pair);
    }
    let both: Vec<&&str> = distinct.iter().collect();
    match both.as_slice() {
        [a, b] => Ok([(**a).to_owned(), (**b).to_owned()]),
        _ => Err(format!("the column {name:?} is given as binary, and has {} distinct values", distinct.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(texts: &[&str]) -> Vec<Value> {
        texts.iter().map(|text| Value::Text((*text).to_owned())).collect()
    }

    fn kind(texts: &[&str], output: bool) -> ColumnType {
        infer("c", None, output, &values(texts)).unwrap().column_type
    }

    #[test]
    fn types_follow_the_rules() {
        assert_eq!(kind(&["1", "2.5", "", "NA", "-3e2"], false), ColumnType::Number);
        assert_eq!(kind(&["1", "0", "0", "1"], false), ColumnType::Binary);
        assert_eq!(kind(&["Yes", "no", "no", "?"], false), ColumnType::Binary);
        assert_eq!(kind(&["de", "fr", "de", "fr", "cn", "cn"], false), ColumnType::Category);
        assert_eq!(kind(&["one thing", "another thing", "a third"], false), ColumnType::Text);
        assert_eq!(kind(&["a", "b", "c"], true), ColumnType::Category);
        assert_eq!(kind(&["inf", "1"], false), ColumnType::Text);
        assert!(infer("c", None, true, &values(&["", "NA"])).is_err());
    }

    #[test]
    fn binary_labels_keep_their_writing() {
        let typed = infer("c", None, false, &values(&["是", "否", "是"])).unwrap();
        assert_eq!(typed.labels, Some(["否".to_owned(), "是".to_owned()]));
        let typed = infer("c", Some(ColumnType::Binary), true, &values(&[">50K", "<=50K"])).unwrap();
        assert_eq!(typed.labels, Some(["<=50K".to_owned(), ">50K".to_owned()]));
        assert!(infer("c", Some(ColumnType::Binary), false, &values(&["a", "b", "c"])).is_err());
        assert_eq!(
            infer("c", None, false, &[Value::Binary(true), Value::Missing]).unwrap().column_type,
            ColumnType::Binary
        );
    }
}
