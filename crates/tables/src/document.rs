//! The file of expectations: TOML with a comment on each proposal, written for a person to edit.
//!
//! Read strictly: unknown keys, wrong types and impossible values are errors with the line and a hint.
//! Writing keeps the order of columns and keys; comments of a file that was read are not kept, so a file
//! that a person edited is not written again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use base::ColumnType;
use regex::RegexBuilder;
use serde::Deserialize;
use toml::Spanned;

use crate::error::TablesError;
use crate::expectations::{ColumnExpectations, Comparison, Distribution, Expectations, ForeignKey, Method};

/// The version of the format.
pub const FORMAT: u32 = 1;
/// The largest file that is read.
const BYTES_MAX: usize = 16 << 20;
/// The most memory one pattern may compile to.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// The keys of a column that a warning can be asked for.
pub(crate) const KEYS: [&str; 13] = [
    "type",
    "missing_share_max",
    "min",
    "max",
    "whole",
    "unique",
    "values",
    "length_min",
    "length_max",
    "pattern",
    "foreign_key",
    "newest_days_max",
    "distribution",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: Spanned<u32>,
    #[serde(default)]
    table: Table,
    #[serde(default)]
    column: Vec<Column>,
    #[serde(default)]
    comparison: Vec<Spanned<Comparison>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Table {
    rows_min: Option<Spanned<u64>>,
    rows_max: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Column {
    name: Spanned<String>,
    #[serde(rename = "type")]
    kind: ColumnType,
    missing_share_max: Option<Spanned<f64>>,
    min: Option<Spanned<f64>>,
    max: Option<Spanned<f64>>,
    #[serde(default)]
    whole: bool,
    #[serde(default)]
    unique: bool,
    #[serde(default)]
    values: Vec<String>,
    length_min: Option<Spanned<u64>>,
    length_max: Option<u64>,
    pattern: Option<Spanned<String>>,
    foreign_key: Option<ForeignKey>,
    newest_days_max: Option<Spanned<f64>>,
    distribution: Option<Spanned<Spread>>,
    #[serde(default)]
    warn: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spread {
    method: Method,
    threshold: f64,
    #[serde(default)]
    edges: Vec<f64>,
    #[serde(default)]
    values: Vec<String>,
    shares: Vec<f64>,
}

/// Reads a file of expectations.
///
/// # Errors
/// With the line and a hint, for the first thing that is wrong.
pub fn read_expectations(text: &str) -> Result<Expectations, TablesError> {
    if text.len() > BYTES_MAX {
        return Err(at(text, 0..0, "the file is larger than 16 MiB", "Is this a file of expectations?"));
    }
    let file: File = toml::from_str(text).map_err(|error| syntax(text, &error))?;
    if *file.format.get_ref() != FORMAT {
        let what = format!("format {} is not known", file.format.get_ref());
        return Err(at(text, file.format.span(), what, "This version reads format = 1."));
    }
    let mut expectations = Expectations {
        rows_min: file.table.rows_min.as_ref().map(|rows| *rows.get_ref()),
        rows_max: file.table.rows_max,
        ..Expectations::default()
    };
    if let (Some(min), Some(max)) = (&file.table.rows_min, file.table.rows_max)
        && *min.get_ref() > max
    {
        return Err(at(text, min.span(), "rows_min is above rows_max", "Swap the two."));
    }
    for column in file.column {
        if expectations.columns.iter().any(|other| other.name == *column.name.get_ref()) {
            let what = format!("the column {:?} stands here twice", column.name.get_ref());
            return Err(at(text, column.name.span(), what, "Keep one of the two."));
        }
        expectations.columns.push(column_of(text, column)?);
    }
    for comparison in file.comparison {
        let span = comparison.span();
        let comparison = comparison.into_inner();
        for name in [&comparison.left, &comparison.right] {
            if !expectations.columns.iter().any(|column| column.name == *name) {
                let names = expectations.columns.iter().map(|column| column.name.as_str());
                let what = format!("the comparison names the column {name:?}, which is not in this file");
                return Err(at(text, span, what, did_you_mean(name, names)));
            }
        }
        expectations.comparisons.push(comparison);
    }
    Ok(expectations)
}

fn column_of(text: &str, column: Column) -> Result<ColumnExpectations, TablesError> {
    check_numbers(text, &column)?;
    check_names(text, &column)?;
    let distribution = column.distribution.map(|spread| distribution_of(text, spread, column.kind)).transpose()?;
    let plain = |value: Option<Spanned<f64>>| value.map(Spanned::into_inner);
    Ok(ColumnExpectations {
        name: column.name.into_inner(),
        kind: column.kind,
        missing_share_max: plain(column.missing_share_max),
        min: plain(column.min),
        max: plain(column.max),
        whole: column.whole,
        unique: column.unique,
        values: column.values,
        length_min: column.length_min.map(Spanned::into_inner),
        length_max: column.length_max,
        pattern: column.pattern.map(Spanned::into_inner),
        foreign_key: column.foreign_key,
        newest_days_max: plain(column.newest_days_max),
        distribution,
        warn: column.warn.into_iter().map(Spanned::into_inner).collect(),
        reasons: BTreeMap::new(),
    })
}

fn check_numbers(text: &str, column: &Column) -> Result<(), TablesError> {
    let limited = [
        (&column.missing_share_max, "missing_share_max", 0.0, 1.0, "Write a share from 0 to 1, 0.05 for 5 %."),
        (&column.min, "min", f64::MIN, f64::MAX, "Write a finite number."),
        (&column.max, "max", f64::MIN, f64::MAX, "Write a finite number."),
        (&column.newest_days_max, "newest_days_max", 0.0, f64::MAX, "Write a number of days, 0 or more."),
    ];
    for (value, key, least, most, hint) in limited {
        if let Some(value) = value
            && !(least..=most).contains(value.get_ref())
        {
            return Err(at(text, value.span(), format!("{key} is {}", value.get_ref()), hint));
        }
    }
    if let (Some(min), Some(max)) = (&column.min, &column.max)
        && min.get_ref() > max.get_ref()
    {
        return Err(at(text, min.span(), "min is above max", "Swap the two."));
    }
    if let (Some(min), Some(max)) = (&column.length_min, column.length_max)
        && *min.get_ref() > max
    {
        return Err(at(text, min.span(), "length_min is above length_max", "Swap the two."));
    }
    let texts_only = column.length_min.is_some() || column.length_max.is_some() || column.pattern.is_some();
    let texts = matches!(column.kind, ColumnType::Text | ColumnType::Category);
    if (texts_only || column.newest_days_max.is_some()) && !texts {
        let what = format!("lengths, patterns and dates are for texts, and {:?} is not", column.name.get_ref());
        return Err(at(text, column.name.span(), what, "Remove them, or make the type text or category."));
    }
    if (column.min.is_some() || column.max.is_some() || column.whole) && column.kind != ColumnType::Number {
        let what = format!("min, max and whole are for numbers, and {:?} is not", column.name.get_ref());
        return Err(at(text, column.name.span(), what, "Remove them, or make the type number."));
    }
    Ok(())
}

fn check_names(text: &str, column: &Column) -> Result<(), TablesError> {
    if let Some(pattern) = &column.pattern
        && let Err(error) = compile(pattern.get_ref())
    {
        let what = format!("the pattern is no regular expression: {}", last_line(&error.to_string()));
        let hint = "Write it in single quotes, so that \\ stays as it is: pattern = '[A-Z]\\d+'.";
        return Err(at(text, pattern.span(), what, hint));
    }
    for key in &column.warn {
        if !KEYS.contains(&key.get_ref().as_str()) {
            let what = format!("{:?} is no expectation", key.get_ref());
            return Err(at(text, key.span(), what, did_you_mean(key.get_ref(), KEYS.into_iter())));
        }
    }
    Ok(())
}

fn distribution_of(text: &str, spread: Spanned<Spread>, kind: ColumnType) -> Result<Distribution, TablesError> {
    let span = spread.span();
    let Spread { method, threshold, edges, values, shares } = spread.into_inner();
    let wrong = |what: &str, hint: &str| Err(at(text, span.clone(), what, hint));
    let (bins, other) =
        if kind == ColumnType::Number { (edges.len(), values.len()) } else { (values.len(), edges.len()) };
    if bins == 0 || other > 0 {
        return wrong("a distribution has edges for numbers and values for names", "Give the one that fits the type.");
    }
    if shares.len() != bins + 1 {
        let hint = "Give one share more than there are edges or values; the last is for what lies beyond.";
        return wrong("the number of shares does not fit", hint);
    }
    if shares.iter().any(|share| !(0.0..=1.0).contains(share)) || (shares.iter().sum::<f64>() - 1.0).abs() > 0.01 {
        return wrong("the shares do not sum to 1", "Give shares from 0 to 1 that sum to 1.");
    }
    let rising = edges.windows(2).all(|pair| pair[0] < pair[1]) && edges.iter().all(|edge| edge.is_finite());
    if !rising || threshold.is_nan() || threshold < 0.0 {
        return wrong("edges must rise, and the threshold must be 0 or more", "Sort the edges.");
    }
    Ok(Distribution { method, threshold, edges, values, shares })
}

/// A pattern that matches a text as a whole.
pub(crate) fn compile(pattern: &str) -> Result<regex::Regex, regex::Error> {
    // Once as it is, so that an unbalanced parenthesis cannot close our group.
    RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build()?;
    RegexBuilder::new(&format!(r"\A(?:{pattern})\z")).size_limit(PATTERN_BYTES_MAX).build()
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or("").trim().trim_start_matches("error: ")
}

fn syntax(text: &str, error: &toml::de::Error) -> TablesError {
    let message = error.message().trim().to_owned();
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let hint = match quoted.split_first() {
        Some((wrong, known)) if message.starts_with("unknown") && !known.is_empty() => {
            did_you_mean(wrong, known.iter().copied())
        }
        _ => "The file is TOML; a string stands in quotes, a share is a number like 0.05.".to_owned(),
    };
    at(text, error.span().unwrap_or(0..0), message, hint)
}

fn did_you_mean<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    let near = known.iter().min_by_key(|name| strsim::damerau_levenshtein(name, wrong));
    let near = near.map_or(String::new(), |name| format!("Did you mean {name:?}? "));
    format!("{near}Known are {}.", known.join(", "))
}

fn at(text: &str, span: Range<usize>, what: impl Into<String>, hint: impl Into<String>) -> TablesError {
    let line = text.as_bytes()[..span.start.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1;
    TablesError::Expectations { line, what: what.into(), hint: hint.into() }
}

/// Writes expectations as a file that [`read_expectations`] reads back.
#[must_use]
pub fn write_expectations(expectations: &Expectations) -> String {
    let mut out = String::from(
        "# What the table should hold. Proposed from the data: edit it, keep it under version control.\n\
         # An expectation that is removed is not checked; list its key in warn = [...] to be warned only.\n\
         format = 1\n\n[table]\n",
    );
    let rows = [("rows_min", expectations.rows_min), ("rows_max", expectations.rows_max)];
    for (key, value) in rows {
        if let Some(value) = value {
            line(&mut out, key, &value.to_string(), expectations.reasons.get(key));
        }
    }
    expectations.columns.iter().for_each(|column| write_column(&mut out, column));
    for (index, comparison) in expectations.comparisons.iter().enumerate() {
        out.push_str("\n[[comparison]]\n");
        line(&mut out, "left", &string(&comparison.left), expectations.reasons.get(&index.to_string()));
        line(&mut out, "operator", &string(comparison.operator.name()), None);
        line(&mut out, "right", &string(&comparison.right), None);
        if comparison.warn {
            line(&mut out, "warn", "true", None);
        }
    }
    out
}

fn write_column(out: &mut String, column: &ColumnExpectations) {
    let because = |key: &str| column.reasons.get(key);
    out.push_str("\n[[column]]\n");
    line(out, "name", &string(&column.name), None);
    line(out, "type", &string(column.kind.name()), because("type"));
    let numbers = [
        ("missing_share_max", column.missing_share_max),
        ("min", column.min),
        ("max", column.max),
        ("newest_days_max", column.newest_days_max),
    ];
    for (key, value) in numbers {
        if let Some(value) = value {
            line(out, key, &number(value), because(key));
        }
    }
    for (key, value) in [("whole", column.whole), ("unique", column.unique)] {
        if value {
            line(out, key, "true", because(key));
        }
    }
    for (key, value) in [("length_min", column.length_min), ("length_max", column.length_max)] {
        if let Some(value) = value {
            line(out, key, &value.to_string(), because(key));
        }
    }
    if let Some(pattern) = &column.pattern {
        line(out, "pattern", &string(pattern), because("pattern"));
    }
    if !column.values.is_empty() {
        line(out, "values", &strings(&column.values), because("values"));
    }
    if let Some(key) = &column.foreign_key {
        let value = format!("{{ file = {}, column = {} }}", string(&key.file), string(&key.column));
        line(out, "foreign_key", &value, because("foreign_key"));
    }
    if !column.warn.is_empty() {
        line(out, "warn", &strings(&column.warn), None);
    }
    if let Some(distribution) = &column.distribution {
        out.push_str("[column.distribution]\n");
        line(out, "method", &string(distribution.method.name()), because("distribution"));
        line(out, "threshold", &number(distribution.threshold), None);
        if distribution.values.is_empty() {
            line(out, "edges", &list(distribution.edges.iter().map(|edge| number(*edge))), None);
        } else {
            line(out, "values", &strings(&distribution.values), None);
        }
        line(out, "shares", &list(distribution.shares.iter().map(|share| number((share * 1e6).round() / 1e6))), None);
    }
}

fn line(out: &mut String, key: &str, value: &str, reason: Option<&String>) {
    // Writing to a string cannot fail.
    let _ = match reason {
        Some(reason) => writeln!(out, "{key} = {value}  # {}", reason.replace(char::is_control, " ")),
        None => writeln!(out, "{key} = {value}"),
    };
}

fn string(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        format!("{value:.0}")
    } else {
        toml::Value::Float(value).to_string()
    }
}

fn strings(values: &[String]) -> String {
    list(values.iter().map(|value| string(value)))
}

fn list(values: impl Iterator<Item = String>) -> String {
    let values: Vec<String> = values.collect();
    let one = format!("[{}]", values.join(", "));
    if one.len() <= 100 && !one.contains('\n') {
        return one;
    }
    format!("[\n  {},\n]", values.join(",\n  "))
}
