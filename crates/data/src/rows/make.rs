//! The dataset of a `predict` project.

use std::collections::{BTreeMap, HashSet};

use base::{ColumnType, Context, Value};
use dataset::{Balance, ColumnQuality, LedgerWriter, NumberQuality, Quality, Row, Split, write_split};
use infer::description::{Columns, InputDescription, Target};
use infer::fit::Fitter;
use infer::preprocess::Preprocessor;
use infer::tokenizer::TextTokenizer;
use store::Work;

use super::checks::{self, Cells};
use super::clean::{Cleaner, Place, Placed};
use super::plan::{Encoder, Plan, PlannedColumn, encoding_of, output_of};
use super::split::{Candidate, divide};
use super::{each_row, labels, source_names};
use crate::error::DataError;

/// Bins of the quality report's histograms.
const BINS: usize = 20;

pub(crate) fn make(context: &Context, plan: &Plan, work: &Work<'_>) -> Result<(), DataError> {
    let ledger = LedgerWriter::create(work.out())?;
    let mut cleaner = Cleaner::new(
        &plan.inputs,
        &plan.outputs,
        source_names(plan),
        &plan.clean,
        plan.cleaning(),
        plan.mender()?,
        ledger,
    );
    cleaner.keep_unlabelled = plan.labels.as_ref().is_some_and(|labels| labels.next > 0);
    let mut kept = clean_rows(context, plan, &mut cleaner)?;
    if kept.is_empty() {
        return Err(DataError::rows(
            "every row was dropped",
            "Look at the first rows of the file: are the columns the right ones?",
        ));
    }
    let mut warnings = checks::check(plan, &Cells::of(plan, kept.iter().map(|placed| &placed.row)))?;
    let corrected = labels::correct(plan, &mut kept)?;
    warnings.extend(corrected.warnings.iter().cloned());
    for (index, from, to) in &corrected.changes {
        cleaner.corrected(&kept[*index], from, to)?;
    }
    refuse_constant_labels(plan, || kept.iter().map(|placed| &placed.row), "row")?;
    let splits = splits(plan, &kept)?;
    let rows = part(kept, &splits);
    refuse_constant_labels(plan, || rows[0].iter(), "row of the training split")?;
    let preprocessor = fit(plan, &rows[0])?;
    let columns = preprocessor.columns();
    for (split, rows) in Split::ALL.into_iter().zip(&rows) {
        write_split(work.out(), split, columns, rows)?;
    }
    preprocessor.save(work.out())?;
    let mut quality = quality(plan, columns, &rows);
    warnings.extend(checks::findings(plan, &rows, work.out())?);
    warnings.extend(labels::check(context, plan, &rows[0], &cleaner.unlabelled, &corrected, work.out())?);
    quality.warnings.extend(warnings);
    if cleaner.test_duplicates > 0 {
        quality.warnings.push(format!(
            "{} rows of the given test split equal an earlier one of it; they were kept",
            cleaner.test_duplicates
        ));
    }
    if cleaner.contradictions > 0 {
        quality
            .warnings
            .push(format!("{} rows have the same inputs as an earlier row and other outputs", cleaner.contradictions));
    }
    let (dropped, changed) = cleaner.ledger.finish()?;
    (quality.dropped, quality.changed) = (dropped, changed);
    quality.save(work.out())?;
    work.metric("rows_read", 0, quality.rows_read as f64)?;
    work.metric("rows_kept", 0, quality.rows_kept as f64)?;
    Ok(())
}

/// Reads and cleans all rows, in the order of the sources.
fn clean_rows(context: &Context, plan: &Plan, cleaner: &mut Cleaner<'_>) -> Result<Vec<Placed>, DataError> {
    let mut names: Vec<String> = plan.inputs.iter().chain(&plan.outputs).map(|column| column.name.clone()).collect();
    let by = plan.split_by.as_ref().map(|by| names.iter().position(|name| name == by).unwrap_or(names.len()));
    if by == Some(names.len()) {
        names.extend(plan.split_by.clone());
    }
    let width = plan.inputs.len() + plan.outputs.len();
    let mut kept = Vec::new();
    each_row(context, plan, &names, |place, mut raw| {
        let by = by.map_or(Value::Missing, |at| raw[at].clone());
        raw.truncate(width);
        kept.extend(cleaner.row(place, raw, by)?);
        Ok(())
    })?;
    for (source, of) in plan.sources.iter().enumerate() {
        for (line, code, message) in of.held.iter().flat_map(|held| &held.damaged) {
            let place = Place { id: plan.rows(), source, line: *line, split: of.split };
            cleaner.damaged(place, code, message)?;
        }
    }
    Ok(kept)
}

/// The cleaned rows of a plan, and nothing else: what expectations are proposed from.
pub(super) fn cleaned(plan: &Plan) -> Result<Vec<Row>, DataError> {
    let folder = tempfile::tempdir().map_err(DataError::io("make", &std::env::temp_dir()))?;
    let ledger = LedgerWriter::create(folder.path())?;
    let mut cleaner = Cleaner::new(
        &plan.inputs,
        &plan.outputs,
        source_names(plan),
        &plan.clean,
        plan.cleaning(),
        plan.mender()?,
        ledger,
    );
    Ok(clean_rows(&Context::silent(), plan, &mut cleaner)?.into_iter().map(|placed| placed.row).collect())
}

/// What never varies cannot be learned; said before anything is written.
fn refuse_constant_labels<'a, I: Iterator<Item = &'a Row>>(
    plan: &Plan,
    rows: impl Fn() -> I,
    which: &str,
) -> Result<(), DataError> {
    let Some(first) = rows().next() else { return Ok(()) };
    for (index, column) in plan.outputs.iter().enumerate() {
        let value = &first.outputs[index];
        if rows().all(|row| row.outputs[index] == *value) {
            let value = shown(value);
            return Err(DataError::rows(
                format!("the output {:?} is {value:?} in every {which}, so there is nothing to learn", column.name),
                "Check that the column is the right one, and that the files hold rows of every kind.",
            ));
        }
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    match value {
        Value::Missing => String::new(),
        Value::Binary(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.clone(),
    }
}

/// The split of each kept row: as given, or divided.
fn splits(plan: &Plan, kept: &[Placed]) -> Result<Vec<Split>, DataError> {
    let given_valid = plan.sources.iter().any(|source| source.split == Some(Split::Valid));
    let mut splits: Vec<Split> = kept.iter().map(|placed| placed.split.unwrap_or(Split::Train)).collect();
    let open: Vec<usize> = (0..kept.len())
        .filter(|index| kept[*index].split.is_none() || (kept[*index].split == Some(Split::Train) && !given_valid))
        .collect();
    let class = plan.outputs.iter().position(|output| Some(&output.name) == plan.split_by.as_ref());
    let candidates: Vec<Candidate<'_>> = open
        .iter()
        .map(|index| {
            let placed = &kept[*index];
            // The cleaned class, so that two writings of one label are one class.
            let by = class.map_or(&placed.by, |at| &placed.row.outputs[at]);
            Candidate { id: placed.row.id, contents: &placed.row.inputs, by }
        })
        .collect();
    let ours = plan.sources.iter().all(|source| source.split.is_none());
    for (index, split) in open.iter().zip(divide(&candidates, &plan.split, plan.seed, ours)?) {
        splits[*index] = split;
    }
    Ok(splits)
}

/// The rows of each split, in the order of their ids.
fn part(kept: Vec<Placed>, splits: &[Split]) -> [Vec<Row>; 3] {
    let mut parts = [Vec::new(), Vec::new(), Vec::new()];
    for (placed, split) in kept.into_iter().zip(splits) {
        parts[*split as usize].push(placed.row);
    }
    parts
}

/// Fits the preprocessing on the training rows.
fn fit(plan: &Plan, train: &[Row]) -> Result<Preprocessor, DataError> {
    if train.is_empty() {
        return Err(DataError::rows(
            "the training split has no rows",
            "Look at the ledger: yard data --explain-drops.",
        ));
    }
    let none = Vec::new;
    let inputs = plan.inputs.iter().map(|column| InputDescription {
        name: column.name.clone(),
        column_type: column.typed.column_type,
        encoding: encoding_of(column, none, 0),
        offset: 0,
    });
    let outputs = plan.outputs.iter().map(|column| output_of(column, none));
    let columns = Columns { clean: plan.cleaning(), inputs: inputs.collect(), outputs: outputs.collect() };
    let mut fitter = Fitter::new(columns, plan.intercept);
    for row in train {
        fitter.observe(&row.inputs, &row.outputs);
    }
    Ok(fitter.finish(fit_tokenizer(plan, train)?)?)
}

/// One tokenizer for all transformer inputs, trained on their training text.
fn fit_tokenizer(plan: &Plan, train: &[Row]) -> Result<Option<TextTokenizer>, DataError> {
    let is_tokenized = |column: &PlannedColumn| matches!(column.encoder, Some(Encoder::Transformer { .. }));
    if !plan.inputs.iter().any(is_tokenized) {
        return Ok(None);
    }
    let texts = train.iter().flat_map(|row| row.inputs.iter().zip(&plan.inputs));
    let texts = texts.filter(|(_, column)| is_tokenized(column)).filter_map(|(cell, _)| cell.as_text());
    Ok(Some(TextTokenizer::train(texts, plan.vocabulary)?))
}

fn quality(plan: &Plan, columns: &Columns, rows: &[Vec<Row>; 3]) -> Quality {
    let mut quality = Quality { rows_read: plan.rows(), ..Quality::default() };
    for (split, rows) in Split::ALL.into_iter().zip(rows) {
        *quality.splits.of(split) = rows.len() as u64;
        quality.rows_kept += rows.len() as u64;
    }
    let all = || rows.iter().flatten();
    for (index, column) in plan.inputs.iter().enumerate() {
        quality.columns.push(column_quality("input", column, all().map(|row| &row.inputs[index])));
    }
    for (index, column) in plan.outputs.iter().enumerate() {
        quality.columns.push(column_quality("output", column, all().map(|row| &row.outputs[index])));
        if let Some(balance) = balance(&columns.outputs[index].target, index, rows) {
            let unseen: u64 = balance
                .labels
                .iter()
                .zip(balance.train.iter())
                .zip(balance.valid.iter().zip(&balance.test))
                .filter(|((_, train), _)| **train == 0)
                .map(|(_, (valid, test))| valid + test)
                .sum();
            if unseen > 0 {
                quality.warnings.push(format!("{unseen} rows of validation and test have a label of {:?} that no training row has; they count as wrong", column.name));
            }
            quality.balance.insert(column.name.clone(), balance);
        }
    }
    if quality.splits.test == 0 {
        quality.warnings.push("there is no test split: metrics are of the training split".to_owned());
    }
    quality
}

/// The distribution of one column's cells.
pub(crate) fn column_quality<'a>(
    role: &str,
    column: &PlannedColumn,
    cells: impl Iterator<Item = &'a Value>,
) -> ColumnQuality {
    let (mut missing, mut numbers, mut lengths) = (0, Vec::new(), Vec::new());
    let mut distinct = HashSet::new();
    for cell in cells {
        match cell {
            Value::Missing => missing += 1,
            Value::Number(number) => numbers.push(*number),
            Value::Text(text) if column.typed.column_type == ColumnType::Text => {
                lengths.push(text.chars().count() as f64);
            }
            _ => {}
        }
        if !cell.is_missing() {
            distinct.insert(super::clean::key(std::slice::from_ref(cell)));
        }
    }
    ColumnQuality {
        name: column.name.clone(),
        role: role.to_owned(),
        column_type: column.typed.column_type,
        inferred: column.typed.why.clone(),
        missing,
        distinct: distinct.len() as u64,
        number: NumberQuality::of(&numbers, BINS),
        length: NumberQuality::of(&lengths, BINS),
    }
}

/// How often each label stands in each split; labels that training never saw stand at the end.
fn balance(target: &Target, index: usize, rows: &[Vec<Row>; 3]) -> Option<Balance> {
    let mut names = match target {
        Target::Category { labels } => labels.clone(),
        Target::Binary { labels } => labels.to_vec(),
        Target::Number { .. } => return None,
    };
    let label = |value: &Value| match (value, target) {
        (Value::Binary(truth), Target::Binary { labels }) => labels[usize::from(*truth)].clone(),
        (other, _) => shown(other),
    };
    let mut counts: [BTreeMap<String, u64>; 3] = [BTreeMap::new(), BTreeMap::new(), BTreeMap::new()];
    for (counts, rows) in counts.iter_mut().zip(rows) {
        for row in rows {
            *counts.entry(label(&row.outputs[index])).or_default() += 1;
        }
    }
    for name in counts.iter().flat_map(BTreeMap::keys) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let of = |split: usize| names.iter().map(|name| counts[split].get(name).copied().unwrap_or(0)).collect();
    Some(Balance { train: of(0), valid: of(1), test: of(2), labels: names })
}
