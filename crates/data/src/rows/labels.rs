//! Labels: corrections of those who looked are applied, labels that are likely wrong are listed with a page to review them,
//! and rows without a label are put in the order in which labelling them teaches most.

use std::collections::HashSet;
use std::path::Path;

use base::project::LabelsConfig;
use base::{ColumnType, Context, Failure as _, Value};
use dataset::Row;
use labels::{
    ConfidentConfig, CrossValidationConfig, LabelledRow, Review, ReviewIssue, SelectConfig, Suggestion, apply,
    find_label_issues, read_corrections, review_page, row_key,
};
use serde_json::json;

use super::clean::Placed;
use super::plan::{Plan, PlannedColumn};
use crate::error::DataError;

/// The list of likely label errors, worst first.
const ISSUES_FILE: &str = "label_issues.jsonl";
/// The page to review them.
const REVIEW_FILE: &str = "review.html";
/// The rows to label next.
const NEXT_FILE: &str = "label_next.jsonl";
/// The most issues on the page.
const REVIEWED_MAX: usize = 2000;
/// The largest file of corrections.
const CORRECTIONS_BYTES_MAX: u64 = 256 << 20;

/// The output whose labels are looked at: the first that is a class.
fn labelled(plan: &Plan) -> Option<(usize, &PlannedColumn)> {
    plan.outputs.iter().enumerate().find(|(_, output)| output.typed.column_type != ColumnType::Number)
}

/// A label as people write it.
fn label(column: &PlannedColumn, value: &Value) -> String {
    match (value, &column.typed.labels) {
        (Value::Binary(truth), Some(labels)) => labels[usize::from(*truth)].clone(),
        (Value::Binary(truth), None) => truth.to_string(),
        (Value::Text(text), _) => text.clone(),
        (Value::Number(number), _) => number.to_string(),
        (Value::Missing, _) => String::new(),
    }
}

/// What corrections came to.
#[derive(Default)]
pub(super) struct Corrected {
    /// Labels that were changed: the place of the row, from, to.
    pub(super) changes: Vec<(usize, String, String)>,
    /// What a founder should know.
    pub(super) warnings: Vec<String>,
    /// Rows that a person has decided about.
    looked_at: HashSet<u64>,
}

/// Applies the corrections of the project; each change, with its row, and what a founder should know.
pub(super) fn correct(plan: &Plan, kept: &mut [Placed]) -> Result<Corrected, DataError> {
    let Some(path) = plan.labels.as_ref().and_then(|config| config.corrections.as_ref()) else {
        return Ok(Corrected::default());
    };
    let Some((at, column)) = labelled(plan) else { return Ok(Corrected::default()) };
    let size = std::fs::metadata(path).map_err(DataError::io("open", path))?.len();
    if size > CORRECTIONS_BYTES_MAX {
        return Err(DataError::file(
            path,
            "it is larger than corrections can be",
            "Is this the file that the page made?",
        ));
    }
    let text = std::fs::read_to_string(path).map_err(DataError::io("read", path))?;
    let corrections = read_corrections(&text)
        .map_err(|error| DataError::file(path, error.to_string(), error.hint().unwrap_or_default()))?;
    let mut rows = Vec::with_capacity(kept.len());
    for placed in kept.iter() {
        let label = label(column, &placed.row.outputs[at]);
        rows.push(LabelledRow { key: row_key(&placed.row.inputs)?, id: placed.row.id.to_string(), label });
    }
    let applied = apply(&mut rows, &corrections);
    let mut changes = Vec::new();
    for change in &applied.changed {
        let value = match &column.typed.labels {
            Some(labels) if labels.contains(&change.to) => Value::Binary(labels[1] == change.to),
            Some(labels) => {
                let what = format!("a correction says {:?}, and the labels are {labels:?}", change.to);
                return Err(DataError::file(path, what, "Correct the line, or take it out."));
            }
            None => Value::Text(change.to.clone()),
        };
        kept[change.index].row.outputs[at] = value;
        changes.push((change.index, change.from.clone(), change.to.clone()));
    }
    let mut warnings = Vec::new();
    if !applied.stale.is_empty() {
        warnings.push(format!("{} corrections fit no row any more (see {})", applied.stale.len(), path.display()));
    }
    if !applied.conflicts.is_empty() {
        warnings.push(format!(
            "{} rows have corrections that contradict each other; none was applied",
            applied.conflicts.len()
        ));
    }
    let looked_at = applied.confirmed.iter().chain(&applied.already).map(|at| &corrections[*at].row);
    let looked_at = looked_at.chain(applied.changed.iter().map(|change| &corrections[change.correction].row));
    Ok(Corrected { looked_at: looked_at.filter_map(|row| row.parse().ok()).collect(), changes, warnings })
}

/// Lists the training rows whose label is likely wrong, and the rows to label next.
pub(super) fn check(
    context: &Context,
    plan: &Plan,
    train: &[Row],
    unlabelled: &[Row],
    corrected: &Corrected,
    folder: &Path,
) -> Result<Vec<String>, DataError> {
    let (Some(config), Some((at, column))) = (&plan.labels, labelled(plan)) else { return Ok(Vec::new()) };
    let mut names: Vec<String> = train.iter().map(|row| label(column, &row.outputs[at])).collect();
    names.sort();
    names.dedup();
    let class = |row: &Row| names.binary_search(&label(column, &row.outputs[at])).unwrap_or(0) as u32;
    let classes: Vec<u32> = train.iter().map(class).collect();
    let types: Vec<ColumnType> = plan.inputs.iter().map(|input| input.typed.column_type).collect();
    let settings =
        CrossValidationConfig { folds: config.folds as usize, seed: plan.seed, ..CrossValidationConfig::default() };
    let mut warnings = Vec::new();
    if config.check {
        let task = context.begin("labels", Some(train.len() as u64), "rows");
        let inputs: Vec<Vec<Value>> = train.iter().map(|row| row.inputs.clone()).collect();
        let probabilities = labels::cross_validate(&types, &inputs, &classes, names.len(), &settings)?;
        let mut issues = find_label_issues(&classes, &probabilities, &ConfidentConfig::default())?;
        // Whoever looked has decided.
        issues.retain(|issue| !corrected.looked_at.contains(&train[issue.row].id));
        task.end(&format!("{} likely errors", issues.len()));
        let mut list = String::new();
        let mut shown = Vec::new();
        for issue in &issues {
            let row = &train[issue.row];
            let (given, suggested) = (&names[issue.given as usize], &names[issue.suggested as usize]);
            let line = json!({
                "row": row.id, "given": given, "suggested": suggested, "given_probability": issue.given_probability,
                "suggested_probability": issue.suggested_probability, "quality": issue.score,
            });
            list.push_str(&format!("{line}\n"));
            if shown.len() < REVIEWED_MAX {
                shown.push(ReviewIssue {
                    key: row_key(&row.inputs)?,
                    row: row.id.to_string(),
                    text: told(plan, row),
                    given: Suggestion { label: given.clone(), probability: issue.given_probability },
                    suggested: Suggestion { label: suggested.clone(), probability: issue.suggested_probability },
                });
            }
        }
        write(folder, ISSUES_FILE, &list)?;
        let method = format!(
            "Confident learning over {}-fold cross-validated probabilities of {} training rows found {} likely errors.",
            config.folds,
            base::units::count(train.len() as u64),
            base::units::count(issues.len() as u64)
        );
        let language = if mostly_chinese(&shown) { labels::Language::Chinese } else { labels::Language::English };
        let review = Review { title: column.name.clone(), method, issues: shown, labels: names.clone(), language };
        write(folder, REVIEW_FILE, &review_page(&review))?;
        if !issues.is_empty() {
            warnings.push(format!(
                "{} labels are likely wrong: open review.html (yard data --review) to look at them",
                issues.len()
            ));
        }
    }
    if config.next > 0 {
        warnings.extend(next(plan, config, train, unlabelled, (&classes, &names), &types, &settings, folder)?);
    }
    Ok(warnings)
}

/// Puts the rows without a label in the order in which labelling them teaches most.
#[expect(clippy::too_many_arguments, reason = "two halves of one function, which share what it computed")]
fn next(
    plan: &Plan,
    config: &LabelsConfig,
    train: &[Row],
    unlabelled: &[Row],
    (classes, names): (&[u32], &[String]),
    types: &[ColumnType],
    settings: &CrossValidationConfig,
    folder: &Path,
) -> Result<Option<String>, DataError> {
    if unlabelled.is_empty() {
        return Ok(Some("data.labels.next asks for rows to label, and every row has its label".to_owned()));
    }
    let rows: Vec<Vec<Value>> = train.iter().chain(unlabelled).map(|row| row.inputs.clone()).collect();
    let features = labels::featurize(types, &rows)?;
    let known: Vec<Option<u32>> =
        classes.iter().map(|class| Some(*class)).chain(unlabelled.iter().map(|_| None)).collect();
    let probabilities = labels::predict_unlabelled(&features, &known, names.len(), settings)?;
    let labelled: Vec<usize> = (0..train.len()).collect();
    let select = SelectConfig { count: config.next as usize, seed: plan.seed, ..SelectConfig::default() };
    let mut list = String::new();
    for pick in labels::select(&probabilities, &features, &labelled, &select)? {
        let row = &unlabelled[pick.row - train.len()];
        let best = probabilities.row(pick.row).iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
        let guess = best.map(|(class, _)| names[class].as_str());
        let line = json!({ "row": row.id, "uncertainty": pick.uncertainty, "guess": guess, "text": told(plan, row) });
        list.push_str(&format!("{line}\n"));
    }
    write(folder, NEXT_FILE, &list)?;
    Ok(None)
}

/// What a person reads to decide.
fn told(plan: &Plan, row: &Row) -> String {
    if let [Value::Text(text)] = &row.inputs[..] {
        return text.clone();
    }
    let cells = plan.inputs.iter().zip(&row.inputs);
    cells.map(|(input, value)| format!("{}: {}", input.name, label(input, value))).collect::<Vec<_>>().join("\n")
}

fn mostly_chinese(issues: &[ReviewIssue]) -> bool {
    let han = |text: &str| text.chars().filter(|letter| ('\u{4e00}'..='\u{9fff}').contains(letter)).count();
    let (han, all) =
        issues.iter().fold((0, 0), |sum, issue| (sum.0 + han(&issue.text), sum.1 + issue.text.chars().count()));
    han * 3 > all
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), DataError> {
    let path = folder.join(name);
    std::fs::write(&path, text).map_err(DataError::io("write", &path))
}
