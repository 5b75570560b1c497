//! The check of a table against its expectations, batch by batch.

use std::collections::{BTreeMap, HashMap, HashSet};

use base::Value;
use regex::Regex;
use serde::Serialize;

use crate::dates;
use crate::distinct::Distinct;
use crate::distribution;
use crate::document::compile;
use crate::error::TablesError;
use crate::expectations::{ColumnExpectations, Comparison, Distribution, Expectations, ForeignKey, Operator};
use crate::frequent::text_of;
use crate::hashing::hash_value;
use crate::profile::{check_batch, comparable, fits};

/// How many rows a violation shows.
pub const EXAMPLES_MAX: usize = 10;
/// From so many present cells on, equal values are counted by estimate: 8 million hashes take 256 MiB.
pub const UNIQUE_EXACT_MAX: usize = 8 << 20;

/// The values of columns of other files.
pub type References = BTreeMap<ForeignKey, HashSet<String>>;

/// How bad a violation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The table is not as expected.
    Error,
    /// To be looked at; the run goes on.
    Warning,
}

/// A row that breaks an expectation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// The row, from 0.
    pub row: u64,
    /// What stands there, long texts cut.
    pub value: String,
}

/// An expectation that the table breaks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Violation {
    /// The column, or none for the table as a whole; a comparison names its left column.
    pub column: Option<String>,
    /// The expectation's key in the file.
    pub expectation: String,
    /// What was expected.
    pub expected: String,
    /// What was seen.
    pub observed: String,
    /// The first rows that break it, at most ten.
    pub rows: Vec<Example>,
    /// How many rows break it; for an expectation of the whole column, how many rows it covers.
    pub count: u64,
    /// How bad it is.
    pub severity: Severity,
}

/// Checks a table that is in memory; see [`Checker`] for one that is not. `now` is in seconds since 1970.
///
/// # Errors
/// Those of [`Checker::new`] and [`Checker::push`].
pub fn check(
    names: &[&str],
    columns: &[Vec<Value>],
    expectations: &Expectations,
    references: &References,
    now: i64,
) -> Result<Vec<Violation>, TablesError> {
    let mut checker = Checker::new(expectations, names, references)?;
    checker.push(columns)?;
    Ok(checker.finish(now))
}

/// A check under way.
pub struct Checker<'a> {
    expectations: &'a Expectations,
    names: Vec<String>,
    columns: Vec<ColumnCheck<'a>>,
    comparisons: Vec<ComparisonCheck<'a>>,
    rows: u64,
}

impl<'a> Checker<'a> {
    /// A check of a table with these columns.
    ///
    /// # Errors
    /// When a pattern does not compile, or `references` lack a foreign key's values.
    pub fn new(
        expectations: &'a Expectations,
        names: &[&str],
        references: &'a References,
    ) -> Result<Self, TablesError> {
        let find = |name: &str| names.iter().position(|other| *other == name);
        let mut columns = Vec::new();
        for expected in &expectations.columns {
            columns.push(ColumnCheck::new(expected, find(&expected.name), references)?);
        }
        let comparisons = expectations
            .comparisons
            .iter()
            .filter_map(|comparison| {
                let (left, right) = (find(&comparison.left)?, find(&comparison.right)?);
                Some(ComparisonCheck { comparison, left, right, broken: Tally::default(), compared: 0 })
            })
            .collect();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Ok(Self { expectations, names, columns, comparisons, rows: 0 })
    }

    /// Checks rows, column by column, in the order of the names.
    ///
    /// # Errors
    /// When there are not as many columns as names, or they are not equally long.
    pub fn push(&mut self, columns: &[Vec<Value>]) -> Result<(), TablesError> {
        let rows = check_batch(columns, self.names.len())?;
        for column in &mut self.columns {
            if let Some(index) = column.index {
                for (offset, value) in columns[index].iter().enumerate() {
                    column.push(self.rows + offset as u64, value);
                }
            }
        }
        for check in &mut self.comparisons {
            for (offset, (left, right)) in columns[check.left].iter().zip(&columns[check.right]).enumerate() {
                check.push(self.rows + offset as u64, left, right);
            }
        }
        self.rows += rows;
        Ok(())
    }

    /// The violations: errors first, then in the order of the file. `now` is in seconds since 1970.
    #[must_use]
    pub fn finish(self, now: i64) -> Vec<Violation> {
        let mut found = Vec::new();
        let limits = [
            ("rows_min", self.expectations.rows_min.filter(|min| self.rows < *min)),
            ("rows_max", self.expectations.rows_max.filter(|max| self.rows > *max)),
        ];
        for (key, limit) in limits {
            if let Some(limit) = limit {
                found.push(table(key, limit.to_string(), format!("{} rows", self.rows), self.rows, Severity::Error));
            }
        }
        let known: HashSet<&str> = self.expectations.columns.iter().map(|column| column.name.as_str()).collect();
        let strangers: Vec<&str> = self.names.iter().map(String::as_str).filter(|name| !known.contains(name)).collect();
        if !strangers.is_empty() {
            let observed = format!("also {}", strangers.join(", "));
            let expected = "the columns of the file".to_owned();
            found.push(table("columns", expected, observed, strangers.len() as u64, Severity::Warning));
        }
        self.columns.into_iter().for_each(|column| column.finish(now, self.rows, &mut found));
        self.comparisons.into_iter().for_each(|check| check.finish(&mut found));
        found.sort_by_key(|violation| violation.severity);
        found
    }
}

fn table(key: &str, expected: String, observed: String, count: u64, severity: Severity) -> Violation {
    Violation { column: None, expectation: key.to_owned(), expected, observed, rows: Vec::new(), count, severity }
}

/// How many rows break an expectation, and the first of them.
#[derive(Default)]
struct Tally {
    count: u64,
    rows: Vec<Example>,
}

impl Tally {
    fn push(&mut self, row: u64, value: &Value) {
        self.count += 1;
        if self.rows.len() < EXAMPLES_MAX {
            self.rows.push(Example { row, value: text_of(value) });
        }
    }
}

struct ColumnCheck<'a> {
    expected: &'a ColumnExpectations,
    index: Option<usize>,
    pattern: Option<Regex>,
    values: HashSet<&'a str>,
    foreign: Option<&'a HashSet<String>>,
    broken: BTreeMap<&'static str, Tally>,
    present: u64,
    missing: Tally,
    smallest: f64,
    largest: f64,
    newest: Option<i64>,
    seen: HashMap<u64, u64>,
    overflow: Option<Distinct>,
    bins: HashMap<&'a str, usize>,
    counts: Vec<u64>,
}

impl<'a> ColumnCheck<'a> {
    fn new(
        expected: &'a ColumnExpectations,
        index: Option<usize>,
        references: &'a References,
    ) -> Result<Self, TablesError> {
        let pattern = expected.pattern.as_deref().map(compile).transpose().map_err(|error| {
            let what = format!("the pattern of {:?}: {error}", expected.name);
            TablesError::input("the expectations", what, "Correct the regular expression.")
        })?;
        let foreign = match &expected.foreign_key {
            Some(key) => Some(references.get(key).ok_or_else(|| {
                let what = format!("the values of {:?} in {:?} were not given", key.column, key.file);
                TablesError::input("the foreign key", what, "Check the file and column that foreign_key names.")
            })?),
            None => None,
        };
        let distribution = expected.distribution.as_ref();
        Ok(Self {
            expected,
            index,
            pattern,
            values: expected.values.iter().map(String::as_str).collect(),
            foreign,
            broken: BTreeMap::new(),
            present: 0,
            missing: Tally::default(),
            smallest: f64::INFINITY,
            largest: f64::NEG_INFINITY,
            newest: None,
            seen: HashMap::new(),
            overflow: None,
            bins: distribution.iter().flat_map(|d| d.values.iter().map(String::as_str).zip(0..)).collect(),
            counts: vec![0; distribution.map_or(0, |distribution| distribution.shares.len())],
        })
    }

    fn breaks(&mut self, key: &'static str, row: u64, value: &Value) {
        self.broken.entry(key).or_default().push(row, value);
    }

    fn push(&mut self, row: u64, value: &Value) {
        if value.is_missing() {
            self.missing.push(row, value);
            return;
        }
        self.present += 1;
        if !fits(value, self.expected.kind) {
            self.breaks("type", row, value);
            return;
        }
        match value {
            Value::Number(number) => self.push_number(row, *number, value),
            Value::Text(text) => self.push_text(row, text, value),
            _ => {}
        }
        if !self.values.is_empty() || self.foreign.is_some() || !self.counts.is_empty() {
            self.push_name(row, value);
        }
        if self.expected.unique {
            self.push_unique(row, value);
        }
    }

    fn push_number(&mut self, row: u64, number: f64, value: &Value) {
        self.smallest = self.smallest.min(number);
        self.largest = self.largest.max(number);
        if self.expected.min.is_some_and(|min| number < min) {
            self.breaks("min", row, value);
        }
        if self.expected.max.is_some_and(|max| number > max) {
            self.breaks("max", row, value);
        }
        if self.expected.whole && number.fract() != 0.0 {
            self.breaks("whole", row, value);
        }
    }

    fn push_text(&mut self, row: u64, text: &str, value: &Value) {
        if self.expected.length_min.is_some() || self.expected.length_max.is_some() {
            let length = text.chars().count() as u64;
            if self.expected.length_min.is_some_and(|min| length < min) {
                self.breaks("length_min", row, value);
            }
            if self.expected.length_max.is_some_and(|max| length > max) {
                self.breaks("length_max", row, value);
            }
        }
        if self.pattern.as_ref().is_some_and(|pattern| !pattern.is_match(text)) {
            self.breaks("pattern", row, value);
        }
        if self.expected.newest_days_max.is_some() {
            match dates::seconds(text) {
                Some(seconds) => self.newest = self.newest.max(Some(seconds)),
                None => self.breaks("newest_days_max", row, value),
            }
        }
    }

    fn push_name(&mut self, row: u64, value: &Value) {
        let owned;
        let text = if let Value::Text(text) = value {
            text.as_str()
        } else {
            owned = text_of(value);
            &owned
        };
        if !self.values.is_empty() && !self.values.contains(text) {
            self.breaks("values", row, value);
        }
        if self.foreign.is_some_and(|known| !known.contains(text)) {
            self.breaks("foreign_key", row, value);
        }
        if let Some(distribution) = &self.expected.distribution {
            let bin = match value {
                Value::Number(number) if distribution.values.is_empty() => {
                    distribution.edges.partition_point(|edge| edge < number)
                }
                _ => self.bins.get(text).copied().unwrap_or(self.counts.len() - 1),
            };
            self.counts[bin] += 1;
        }
    }

    fn push_unique(&mut self, row: u64, value: &Value) {
        let hash = hash_value(value);
        if let Some(distinct) = &mut self.overflow {
            distinct.push_hash(hash);
        } else if self.seen.insert(hash, row).is_some() {
            self.breaks("unique", row, value);
        } else if self.seen.len() > UNIQUE_EXACT_MAX {
            let mut distinct = Distinct::default();
            self.seen.drain().for_each(|(hash, _)| distinct.push_hash(hash));
            self.overflow = Some(distinct);
        }
    }

    fn severity(&self, key: &str) -> Severity {
        if self.expected.warn.iter().any(|other| other == key) { Severity::Warning } else { Severity::Error }
    }

    fn finish(mut self, now: i64, rows: u64, found: &mut Vec<Violation>) {
        let name = &self.expected.name;
        if self.index.is_none() {
            let mut violation =
                table("columns", format!("a column {name:?}"), "it is not there".to_owned(), rows, Severity::Error);
            violation.column = Some(name.clone());
            found.push(violation);
            return;
        }
        for (key, tally) in std::mem::take(&mut self.broken) {
            let observed = self.observed(key, tally.count);
            found.push(self.violation(key, self.wanted(key), observed, tally.rows, tally.count));
        }
        let share = if rows == 0 { 0.0 } else { self.missing.count as f64 / rows as f64 };
        if let Some(most) = self.expected.missing_share_max
            && share > most
        {
            let observed = format!("{share:.4}, {} of {rows} cells", self.missing.count);
            let examples = std::mem::take(&mut self.missing.rows);
            found.push(self.violation("missing_share_max", most.to_string(), observed, examples, self.missing.count));
        }
        if let Some(days) = self.expected.newest_days_max
            && self.present > 0
        {
            self.finish_fresh(days, now, found);
        }
        if let Some(distinct) = &self.overflow {
            // Two standard errors below the count: an estimate alone must not fail a sound table.
            let differ = distinct.count();
            if (differ as f64) < self.present as f64 * (1.0 - 0.025) {
                let observed = format!("about {differ} different values in {} cells", self.present);
                let count = self.present - differ;
                found.push(self.violation("unique", self.wanted("unique"), observed, Vec::new(), count));
            }
        }
        if let Some(distribution) = &self.expected.distribution {
            self.finish_distribution(distribution, found);
        }
    }

    fn finish_fresh(&self, days: f64, now: i64, found: &mut Vec<Violation>) {
        let age = self.newest.map(|newest| (now - newest) as f64 / 86_400.0);
        if age.is_none_or(|age| age > days) {
            let observed = match (self.newest, age) {
                (Some(newest), Some(age)) => format!("the newest is {}, {age:.1} days old", dates::show(newest)),
                _ => "there is no date".to_owned(),
            };
            found.push(self.violation("newest_days_max", format!("{days} days"), observed, Vec::new(), self.present));
        }
    }

    fn finish_distribution(&self, expected: &Distribution, found: &mut Vec<Violation>) {
        let Some(difference) = distribution::difference(expected.method, &expected.shares, &self.counts) else {
            return;
        };
        if distribution::within(expected.method, difference, expected.threshold) {
            return;
        }
        let total = self.counts.iter().sum::<u64>().max(1) as f64;
        let shares: Vec<f64> = self.counts.iter().map(|count| *count as f64 / total).collect();
        let apart = |index: &usize| (shares[*index] - expected.shares[*index]).abs();
        let worst = (0..shares.len()).max_by(|a, b| apart(a).total_cmp(&apart(b))).unwrap_or(0);
        let bin = match (expected.values.get(worst), expected.edges.get(worst), worst.checked_sub(1)) {
            (Some(value), ..) => format!("{value:?}"),
            (_, Some(edge), _) => format!("up to {edge}"),
            (_, _, Some(before)) if !expected.edges.is_empty() => format!("above {}", expected.edges[before]),
            _ => "all others".to_owned(),
        };
        let (word, sign) = match expected.method {
            crate::expectations::Method::ChiSquare => ("chi_square p", ">="),
            method => (method.name(), "<="),
        };
        let observed = format!(
            "{word} {difference:.4}; {bin} has a share of {:.4}, expected {:.4}",
            shares[worst], expected.shares[worst]
        );
        let wanted = format!("{word} {sign} {}", expected.threshold);
        found.push(self.violation("distribution", wanted, observed, Vec::new(), self.present));
    }

    fn violation(&self, key: &str, expected: String, observed: String, rows: Vec<Example>, count: u64) -> Violation {
        let column = Some(self.expected.name.clone());
        Violation { column, expectation: key.to_owned(), expected, observed, rows, count, severity: self.severity(key) }
    }

    fn wanted(&self, key: &str) -> String {
        let expected = self.expected;
        let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        let length = |value: Option<u64>| value.map_or(String::new(), |value| format!("{value} characters"));
        match key {
            "type" => expected.kind.name().to_owned(),
            "min" => number(expected.min),
            "max" => number(expected.max),
            "whole" => "no fraction".to_owned(),
            "unique" => "no value twice".to_owned(),
            "values" => format!("one of {} values", expected.values.len()),
            "length_min" => length(expected.length_min),
            "length_max" => length(expected.length_max),
            "pattern" => expected.pattern.clone().unwrap_or_default(),
            "foreign_key" => {
                expected.foreign_key.as_ref().map_or(String::new(), |key| format!("{} of {}", key.column, key.file))
            }
            _ => "a date".to_owned(),
        }
    }

    fn observed(&self, key: &str, count: u64) -> String {
        match key {
            "min" => format!("down to {}", self.smallest),
            "max" => format!("up to {}", self.largest),
            _ => format!("{count} of {} cells are not so", self.present),
        }
    }
}

struct ComparisonCheck<'a> {
    comparison: &'a Comparison,
    left: usize,
    right: usize,
    compared: u64,
    broken: Tally,
}

impl ComparisonCheck<'_> {
    fn push(&mut self, row: u64, left: &Value, right: &Value) {
        if left.is_missing() || right.is_missing() {
            return;
        }
        let holds = match (self.comparison.operator, comparable(left), comparable(right)) {
            (Operator::Equal, ..) => left == right,
            (Operator::NotEqual, ..) => left != right,
            (Operator::AtMost, Some(left), Some(right)) => left <= right,
            (Operator::Less, Some(left), Some(right)) => left < right,
            _ => false,
        };
        self.compared += 1;
        if !holds {
            let value = Value::Text(format!("{} and {}", text_of(left), text_of(right)));
            self.broken.push(row, &value);
        }
    }

    fn finish(self, found: &mut Vec<Violation>) {
        if self.broken.count > 0 {
            let Comparison { left, operator, right, warn } = self.comparison;
            found.push(Violation {
                column: Some(left.clone()),
                expectation: "comparison".to_owned(),
                expected: format!("{left} {} {right}", operator.name()),
                observed: format!("{} of {} rows are not so", self.broken.count, self.compared),
                rows: self.broken.rows,
                count: self.broken.count,
                severity: if *warn { Severity::Warning } else { Severity::Error },
            });
        }
    }
}
