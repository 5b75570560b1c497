//! Leakage of the label: what makes a model look good in the test and fail in use.
//!
//! Looked for: a copy of the label, a column that alone predicts too well, an identifier, rows on both
//! sides of the split, and values from after the label's date. What is reported as a leak is meant to be
//! one; what may be sound is a warning or a note.

use std::collections::HashMap;

use base::{ColumnType, Value};
use serde::Serialize;

use crate::error::TablesError;
use crate::hashing::hash_value;
use crate::predict::{Power, Target, bins, linear_fit, pairs, power};
use crate::profile::comparable;
use crate::split::across_the_split;

/// A table with a label.
#[derive(Debug, Clone, Copy)]
pub struct LeakageInput<'a> {
    /// The columns' names.
    pub names: &'a [&'a str],
    /// Their types.
    pub kinds: &'a [ColumnType],
    /// The rows, column by column.
    pub columns: &'a [Vec<Value>],
    /// The index of the label's column.
    pub label: usize,
    /// Whether each row is in the test part; empty where there is no split.
    pub in_test: &'a [bool],
    /// The index of the column with the date at which the label became known.
    pub label_date: Option<usize>,
}

/// From where on findings are reported.
#[derive(Debug, Clone, PartialEq)]
pub struct LeakageConfig {
    /// A column that alone scores this much is a leak: balanced accuracy beyond chance, or R². Default 0.98.
    pub power_max: f64,
    /// A column that alone scores this much is a warning, where few columns do and it leaves a third of
    /// what the best of the others leaves unexplained. Default 0.8.
    pub power_unusual: f64,
    /// A column in which this share of values differ names its rows. Default 0.99.
    pub identifier_share: f64,
    /// Test rows that stand in the training part: a warning from this share on, and at least 5 rows.
    /// Default 0.01.
    pub duplicate_share: f64,
    /// Numbers count as nearly equal within this share of a standard deviation. Default 0.0001.
    pub near_deviations: f64,
    /// Where folds come from.
    pub seed: u64,
}

impl Default for LeakageConfig {
    fn default() -> Self {
        Self {
            power_max: 0.98,
            power_unusual: 0.8,
            identifier_share: 0.99,
            duplicate_share: 0.01,
            near_deviations: 1e-4,
            seed: 0,
        }
    }
}

/// How sure a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Remove it.
    Leak,
    /// Look at it.
    Warning,
    /// Worth knowing.
    Note,
}

/// What kind of leak a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LeakKind {
    /// The column's values map to the label's, one way.
    CopyOfLabel,
    /// The column alone predicts the label too well.
    PredictsTooWell,
    /// The column names rows.
    Identifier,
    /// Rows stand in training and test.
    DuplicateAcrossSplit,
    /// Values are from after the label's date.
    AfterTheLabel,
    /// The label has too many classes for its columns to be looked at.
    NotLookedAt,
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The column, or none for rows.
    pub column: Option<String>,
    /// What kind.
    pub kind: LeakKind,
    /// How sure.
    pub risk: Risk,
    /// Why, in a sentence.
    pub why: String,
    /// The numbers behind it: what, and how much.
    pub evidence: Vec<(&'static str, f64)>,
    /// Rows that show it, at most ten.
    pub rows: Vec<usize>,
    /// What to do, in a sentence.
    pub advice: &'static str,
}

/// The most classes for which columns are looked at one by one.
const CLASSES_MAX: usize = 200;
/// Fewer rows say nothing.
const ROWS_MIN: usize = 30;

/// The findings, surest first.
///
/// Memory is some times that of the table; for a large one give a sample of its rows.
///
/// # Errors
/// When names, types and columns do not fit each other, or an index is out of range.
pub fn find_leakage(input: &LeakageInput<'_>, config: &LeakageConfig) -> Result<Vec<Finding>, TablesError> {
    let rows = check_input(input)?;
    let target = target(input);
    let mut findings = Vec::new();
    if let Target::Classes { count, .. } = &target
        && *count > CLASSES_MAX
    {
        findings.push(Finding {
            column: Some(input.names[input.label].to_owned()),
            kind: LeakKind::NotLookedAt,
            risk: Risk::Note,
            why: format!(
                "the label has {count} different values; columns are looked at one by one up to {CLASSES_MAX}"
            ),
            evidence: vec![("different values", *count as f64)],
            rows: Vec::new(),
            advice: "Give the label's type as number if it is one.",
        });
    } else if rows >= ROWS_MIN {
        let features: Vec<usize> = (0..input.columns.len()).filter(|&column| column != input.label).collect();
        let powers: Vec<(usize, Power)> =
            features.iter().map(|&column| (column, power(&input.columns[column], &target, config.seed))).collect();
        for (column, own) in &powers {
            if let Some(finding) = copy_of_label(input, *column, &target) {
                findings.push(finding);
            } else if let Some(finding) = predicts_too_well(input, *column, own, &powers, config) {
                findings.push(finding);
            }
            findings.extend(identifier(input, *column, own, config));
        }
    }
    findings.extend(duplicates(input, config));
    findings.extend(after_the_label(input));
    findings.sort_by_key(|finding| (finding.risk, finding.kind));
    Ok(findings)
}

fn check_input(input: &LeakageInput<'_>) -> Result<usize, TablesError> {
    let count = input.columns.len();
    let rows = input.columns.first().map_or(0, Vec::len);
    let shapes = input.names.len() == count && input.kinds.len() == count;
    let lengths = input.columns.iter().all(|column| column.len() == rows);
    let split = input.in_test.is_empty() || input.in_test.len() == rows;
    let indices = input.label < count && input.label_date.is_none_or(|column| column < count);
    if shapes && lengths && split && indices {
        return Ok(rows);
    }
    let hint = "Give a name, a type and equally many cells for each column, and indices of columns there are.";
    Err(TablesError::input("the table", "names, types, columns or split do not fit each other", hint))
}

/// Numbers with many different values are a number to predict; anything else is classes.
fn target(input: &LeakageInput<'_>) -> Target {
    let values = &input.columns[input.label];
    let mut known: HashMap<u64, u32> = HashMap::new();
    let of: Vec<Option<u32>> = values
        .iter()
        .map(|value| {
            let next = known.len() as u32;
            (!value.is_missing()).then(|| *known.entry(hash_value(value)).or_insert(next))
        })
        .collect();
    if known.len() > 20 && input.kinds[input.label] == ColumnType::Number {
        return Target::Numbers(values.iter().map(Value::as_number).collect());
    }
    Target::Classes { of, count: known.len().max(1) }
}

/// Whether each value of a column goes with one label, and values repeat.
fn copy_of_label(input: &LeakageInput<'_>, column: usize, target: &Target) -> Option<Finding> {
    let values = &input.columns[column];
    let (name, mapped, differ) = match target {
        Target::Classes { of, count } => {
            let (bins, bin_count) = bins(values);
            // A copy has about as many values as the label, and each often enough to say so.
            if *count < 2 || bin_count < *count || bin_count > 2 * count + 1 {
                return None;
            }
            let mut counts: HashMap<(u32, u32), usize> = HashMap::new();
            for (row, class) in of.iter().enumerate().filter_map(|(row, class)| Some((row, (*class)?))) {
                *counts.entry((bins[row], class)).or_default() += 1;
            }
            let mut largest = vec![0; bin_count];
            counts.iter().for_each(|((bin, _), count)| largest[*bin as usize] = largest[*bin as usize].max(*count));
            let kept: usize = largest.iter().sum();
            ("values that go with one label", kept, counts.values().sum::<usize>())
        }
        Target::Numbers(of) => {
            let pairs = pairs(values, of);
            let line = linear_fit(&pairs)?;
            let near = |(x, y): &&(f64, f64)| (line.intercept + line.slope * x - y).abs() <= 1e-6 * line.deviation;
            let near = pairs.iter().filter(near).count();
            ("values on a line with the label", near, of.iter().flatten().count())
        }
    };
    let share = mapped as f64 / differ.max(1) as f64;
    (share >= 0.999 && differ >= ROWS_MIN).then(|| Finding {
        column: Some(input.names[column].to_owned()),
        kind: LeakKind::CopyOfLabel,
        risk: Risk::Leak,
        why: format!("{} says the label in other words: {mapped} of {differ} {name}", input.names[column]),
        evidence: vec![("share", share)],
        rows: Vec::new(),
        advice: "Leave the column out: it is the label itself, and will not be there when the model is used.",
    })
}

fn predicts_too_well(
    input: &LeakageInput<'_>,
    column: usize,
    own: &Power,
    powers: &[(usize, Power)],
    config: &LeakageConfig,
) -> Option<Finding> {
    // Copies of one leak must not hide each other: the best of those that are not suspect is the measure.
    // Where many columns do that well, the task is easy.
    let (suspect, others): (Vec<_>, Vec<_>) = powers.iter().partition(|(_, power)| power.score >= config.power_unusual);
    let next = others.iter().map(|(_, power)| power.score).fold(0.0, f64::max);
    let few = suspect.len() <= (powers.len() * 3 / 20).max(1) && powers.len() >= 3;
    let risk = if own.score >= config.power_max {
        Risk::Leak
    } else if own.score >= config.power_unusual && few && 1.0 - next >= 3.0 * (1.0 - own.score) {
        Risk::Warning
    } else {
        return None;
    };
    let measure = if own.auc.is_some() { "balanced accuracy beyond chance" } else { "R²" };
    let mut evidence = vec![(measure, own.score), ("the best of the other columns", next)];
    evidence.extend(own.auc.map(|auc| ("AUC", auc)));
    evidence.extend(own.information.map(|share| ("mutual information share", share)));
    Some(Finding {
        column: Some(input.names[column].to_owned()),
        kind: LeakKind::PredictsTooWell,
        risk,
        why: format!(
            "{} alone predicts the label with {:.3} ({measure}, cross-validated); the best of the others has {next:.3}",
            input.names[column], own.score
        ),
        evidence,
        rows: Vec::new(),
        advice: "Ask whether this value is known before the label is; if not, leave the column out.",
    })
}

fn identifier(input: &LeakageInput<'_>, column: usize, own: &Power, config: &LeakageConfig) -> Option<Finding> {
    let values = &input.columns[column];
    let mut present = 0_usize;
    let (mut whole, mut texts) = (true, true);
    let mut seen = std::collections::HashSet::new();
    for value in values.iter().filter(|value| !value.is_missing()) {
        present += 1;
        seen.insert(hash_value(value));
        whole &= value.as_number().is_some_and(|number| number.fract() == 0.0);
        // Dates differ from row to row without naming anything.
        let short = |text: &str| text.len() <= 64 && !text.trim().contains(char::is_whitespace);
        texts &= value.as_text().is_some_and(|text| short(text) && comparable(value).is_none());
    }
    if present < ROWS_MIN || Some(column) == input.label_date {
        return None;
    }
    let share = seen.len() as f64 / present as f64;
    let order = monotone(values);
    let unique = share >= config.identifier_share && (whole || texts);
    // A value that only rises from row to row and tells the label tells how the file was put together.
    let sorted = order && whole && share >= 0.5 && own.score >= 0.1;
    if !unique && !sorted {
        return None;
    }
    let informative = own.score >= 0.1;
    let why = if sorted && informative {
        format!("{} rises or falls from row to row and tells the label ({:.3})", input.names[column], own.score)
    } else {
        format!("{} names its row: {} of {present} values differ", input.names[column], seen.len())
    };
    Some(Finding {
        column: Some(input.names[column].to_owned()),
        kind: LeakKind::Identifier,
        risk: if sorted { Risk::Leak } else { Risk::Warning },
        why,
        evidence: vec![("share of different values", share), ("score alone", own.score)],
        rows: Vec::new(),
        advice: "Leave the column out of the inputs; keep it as the row's id.",
    })
}

/// Whether comparable cells only rise or only fall, and do at all.
fn monotone(values: &[Value]) -> bool {
    let numbers: Vec<f64> = values.iter().filter_map(comparable).collect();
    let differ = numbers.first() != numbers.last();
    differ && (numbers.windows(2).all(|pair| pair[0] <= pair[1]) || numbers.windows(2).all(|pair| pair[0] >= pair[1]))
}

fn duplicates(input: &LeakageInput<'_>, config: &LeakageConfig) -> Option<Finding> {
    if input.in_test.is_empty() {
        return None;
    }
    let features: Vec<&Vec<Value>> =
        input.columns.iter().enumerate().filter(|(column, _)| *column != input.label).map(|(_, c)| c).collect();
    let found = across_the_split(&features, input.in_test, config.near_deviations);
    let test = input.in_test.iter().filter(|in_test| **in_test).count();
    let count = found.equal.len() + found.near.len();
    if count == 0 {
        return None;
    }
    let share = count as f64 / test as f64;
    let risk = if count >= 5 && share >= config.duplicate_share { Risk::Leak } else { Risk::Note };
    let rows = found.equal.iter().chain(&found.near).take(10).copied().collect();
    let label = &input.columns[input.label];
    let agree = found.twins.iter().filter(|(test, train)| label[*test] == label[*train]).count();
    Some(Finding {
        column: None,
        kind: LeakKind::DuplicateAcrossSplit,
        risk,
        why: format!(
            "{count} of {test} test rows stand in the training part too ({} equal, {} nearly)",
            found.equal.len(),
            found.near.len()
        ),
        evidence: vec![
            ("share of test rows", share),
            ("equal", found.equal.len() as f64),
            ("nearly equal", found.near.len() as f64),
            ("share with the same label", agree as f64 / found.twins.len().max(1) as f64),
        ],
        rows,
        advice: "Remove duplicates before the split, or split by group.",
    })
}

fn after_the_label(input: &LeakageInput<'_>) -> Vec<Finding> {
    let Some(date) = input.label_date else { return Vec::new() };
    let label_dates: Vec<Option<f64>> = input.columns[date].iter().map(comparable).collect();
    let mut findings = Vec::new();
    for (column, values) in input.columns.iter().enumerate() {
        let texts = matches!(input.kinds[column], ColumnType::Text | ColumnType::Category);
        if column == date || column == input.label || !texts {
            continue;
        }
        let dated = |(row, value): (usize, &Value)| Some((row, comparable(value)?, label_dates[row]?));
        let pairs: Vec<(usize, f64, f64)> = values.iter().enumerate().filter_map(dated).collect();
        let late: Vec<usize> = pairs.iter().filter(|(_, value, label)| value > label).map(|entry| entry.0).collect();
        if late.is_empty() {
            continue;
        }
        let share = late.len() as f64 / pairs.len() as f64;
        findings.push(Finding {
            column: Some(input.names[column].to_owned()),
            kind: LeakKind::AfterTheLabel,
            risk: if share >= 0.01 { Risk::Leak } else { Risk::Warning },
            why: format!(
                "{} is later than {} in {} of {} rows",
                input.names[column],
                input.names[date],
                late.len(),
                pairs.len()
            ),
            evidence: vec![("share of dated rows", share), ("rows", late.len() as f64)],
            rows: late.into_iter().take(10).collect(),
            advice: "Leave the column out, or use its value as it was before the label's date.",
        });
    }
    findings
}
