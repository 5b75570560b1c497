//! What is held against the rows of a table: the expectations of the project, rows that stand apart, and columns that know
//! the label.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;

use base::project::Project;
use base::{ColumnType, Value};
use dataset::Row;
use serde_json::{Value as Json, json};
use tables::leakage::{LeakKind, LeakageInput};
use tables::{
    Expectations, ForestConfig, LeakageConfig, Outlier, OutlierConfig, Profile, ProposeConfig, References, Risk,
    Severity, category_outliers, find_leakage, number_outliers, read_expectations, row_outliers, text_outliers,
    write_expectations,
};

use super::plan::{Plan, plan};
use crate::error::DataError;

/// What was found in the rows, for people.
const FINDINGS_FILE: &str = "findings.json";
/// The largest file of expectations.
const EXPECTATIONS_BYTES_MAX: u64 = 16 << 20;
/// Values of a column of another file that are held.
const REFERENCES_MAX: usize = 10_000_000;
/// Violations that an error shows; all are in the log of the run.
const SHOWN: usize = 8;
/// Outliers of a column that are listed.
const LISTED_MAX: usize = 50;
/// Rows that are looked at for leakage and for outliers among rows; more are sampled evenly.
const ROWS_LOOKED_AT: usize = 50_000;

/// Reads the project's expectations.
pub(super) fn read(path: &Path) -> Result<Expectations, DataError> {
    let size = std::fs::metadata(path).map_err(DataError::io("open", path))?.len();
    if size > EXPECTATIONS_BYTES_MAX {
        return Err(DataError::file(path, "it is larger than expectations can be", "Is this the right file?"));
    }
    let text = std::fs::read_to_string(path).map_err(DataError::io("read", path))?;
    Ok(read_expectations(&text)?)
}

/// Holds cleaned rows against the expectations. A broken one is an error, unless the file says that it warns.
pub(super) fn check(plan: &Plan, columns: &Cells<'_>) -> Result<Vec<String>, DataError> {
    let Some((path, expectations)) = &plan.expectations else { return Ok(Vec::new()) };
    let references = references(path, expectations)?;
    let names: Vec<&str> = columns.names.clone();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64);
    let violations = tables::check(&names, &columns.values, expectations, &references, now)?;
    let told = |violation: &tables::Violation| {
        let place =
            violation.column.as_ref().map_or_else(|| "the table".to_owned(), |column| format!("column {column:?}"));
        let rows: Vec<String> = violation
            .rows
            .iter()
            .take(3)
            .map(|example| format!("row {}: {:?}", columns.ids[example.row as usize], example.value))
            .collect();
        let rows = if rows.is_empty() { String::new() } else { format!(" ({})", rows.join(", ")) };
        format!(
            "{place}, {}: expected {}, and there is {}{rows}",
            violation.expectation, violation.expected, violation.observed
        )
    };
    let errors: Vec<String> =
        violations.iter().filter(|violation| violation.severity == Severity::Error).map(told).collect();
    if errors.is_empty() {
        return Ok(violations.iter().map(told).collect());
    }
    let more = errors.len().saturating_sub(SHOWN);
    let list = errors.iter().take(SHOWN).map(|error| format!("\n  {error}")).collect::<String>();
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    Err(DataError::rows(
        format!("{} expectations of {} are not met:{list}{more}", errors.len(), path.display()),
        "Mend the data; or change the expectation, or name it in the column's `warn`, if the data is right.",
    ))
}

/// The values of the columns of other files that expectations name.
fn references(path: &Path, expectations: &Expectations) -> Result<References, DataError> {
    let mut references = BTreeMap::new();
    let folder = path.parent().unwrap_or(Path::new("."));
    for key in expectations.columns.iter().filter_map(|column| column.foreign_key.as_ref()) {
        if references.contains_key(key) {
            continue;
        }
        let config = sources::Config { columns: Vec::new(), ..sources::Config::default() };
        let mut values: HashSet<String> = HashSet::new();
        let mut seen = false;
        for object in sources::find(std::slice::from_ref(&key.file), folder, &config)? {
            sources::read(&object, &config, &mut |item| {
                if let sources::Item::Record(record) = item
                    && let sources::Body::Row(row) = record.body
                    && let Some(value) = row.get(&key.column)
                {
                    seen = true;
                    match value {
                        Value::Missing => {}
                        Value::Text(text) => drop(values.insert(text.clone())),
                        Value::Number(number) => drop(values.insert(number.to_string())),
                        Value::Binary(truth) => drop(values.insert(truth.to_string())),
                    }
                }
                if values.len() > REFERENCES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
        }
        if !seen || values.len() > REFERENCES_MAX {
            let what = if seen { "it has too many values" } else { "no row of it has the column" };
            let hint = format!("The expectations in {} name its column {:?}.", path.display(), key.column);
            return Err(DataError::file(&folder.join(&key.file), what, hint));
        }
        references.insert(key.clone(), values);
    }
    Ok(references)
}

/// Rows as columns, inputs and then outputs.
pub(super) struct Cells<'a> {
    names: Vec<&'a str>,
    kinds: Vec<ColumnType>,
    values: Vec<Vec<Value>>,
    ids: Vec<u64>,
    inputs: usize,
}

impl<'a> Cells<'a> {
    pub(super) fn of<'r>(plan: &'a Plan, rows: impl Iterator<Item = &'r Row>) -> Self {
        let planned = || plan.inputs.iter().chain(&plan.outputs);
        let mut cells = Self {
            names: planned().map(|column| column.name.as_str()).collect(),
            kinds: planned().map(|column| column.typed.column_type).collect(),
            values: vec![Vec::new(); plan.inputs.len() + plan.outputs.len()],
            ids: Vec::new(),
            inputs: plan.inputs.len(),
        };
        for row in rows {
            cells.ids.push(row.id);
            for (column, value) in cells.values.iter_mut().zip(row.inputs.iter().chain(&row.outputs)) {
                column.push(value.clone());
            }
        }
        cells
    }
}

/// Looks for rows that stand apart and for columns that know the label; writes what was found, and says what a founder
/// should know. `parts` are the training, validation and test rows.
pub(super) fn findings(plan: &Plan, parts: &[Vec<Row>; 3], folder: &Path) -> Result<Vec<String>, DataError> {
    let rows: usize = parts.iter().map(Vec::len).sum();
    let every = rows.div_ceil(ROWS_LOOKED_AT).max(1);
    let sampled =
        || parts.iter().enumerate().flat_map(|(part, rows)| rows.iter().map(move |row| (part, row))).step_by(every);
    let cells = Cells::of(plan, sampled().map(|(_, row)| row));
    let in_test: Vec<bool> = sampled().map(|(part, _)| part == 2).collect();
    let in_test = if in_test.iter().any(|test| *test) { in_test } else { Vec::new() };
    let (mut leaks, mut warnings) = (Vec::new(), Vec::new());
    for label in cells.inputs..cells.names.len() {
        // Other outputs are no inputs, so they leak nothing.
        let shown: Vec<usize> = (0..cells.inputs).chain([label]).collect();
        let names: Vec<&str> = shown.iter().map(|column| cells.names[*column]).collect();
        let kinds: Vec<ColumnType> = shown.iter().map(|column| cells.kinds[*column]).collect();
        let columns: Vec<Vec<Value>> = shown.iter().map(|column| cells.values[*column].clone()).collect();
        let input = LeakageInput {
            names: &names,
            kinds: &kinds,
            columns: &columns,
            label: cells.inputs,
            in_test: &in_test,
            label_date: None,
        };
        let config = LeakageConfig { seed: plan.seed, ..LeakageConfig::default() };
        for finding in find_leakage(&input, &config)? {
            // With one input there is nothing to compare it with: predicting the label is what it is for.
            if cells.inputs == 1 && matches!(finding.kind, LeakKind::PredictsTooWell | LeakKind::CopyOfLabel) {
                continue;
            }
            if finding.risk != Risk::Note {
                let place = finding.column.as_ref().map_or_else(String::new, |column| format!("column {column:?}: "));
                warnings.push(format!("{place}{}. {}", finding.why, finding.advice));
            }
            leaks.push(json!({
                "output": cells.names[label], "column": finding.column, "kind": format!("{:?}", finding.kind),
                "risk": format!("{:?}", finding.risk), "why": finding.why, "advice": finding.advice,
                "evidence": finding.evidence.iter().map(|(name, value)| json!([name, value])).collect::<Vec<_>>(),
                "rows": finding.rows.iter().map(|row| cells.ids[*row]).collect::<Vec<_>>(),
            }));
        }
    }
    let outliers = outliers(plan, &cells)?;
    let found = json!({ "rows_looked_at": cells.ids.len(), "leakage": leaks, "outliers": outliers });
    let path = folder.join(FINDINGS_FILE);
    let text = serde_json::to_string_pretty(&found).unwrap_or_default();
    std::fs::write(&path, text).map_err(DataError::io("write", &path))?;
    Ok(warnings)
}

/// The rows that stand apart, column by column, and as whole rows.
fn outliers(plan: &Plan, cells: &Cells<'_>) -> Result<Json, DataError> {
    let config = OutlierConfig { listed_max: LISTED_MAX, ..OutlierConfig::default() };
    let told = |outlier: &Outlier| json!({ "row": cells.ids[outlier.row], "score": outlier.score, "how": format!("{:?}", outlier.kind), "value": outlier.value });
    let mut found = serde_json::Map::new();
    for ((name, kind), values) in cells.names.iter().zip(&cells.kinds).zip(&cells.values) {
        let list = match kind {
            ColumnType::Number => number_outliers(values, &config),
            ColumnType::Category => category_outliers(values, &config),
            ColumnType::Text => text_outliers(values, &config),
            ColumnType::Binary => Vec::new(),
        };
        if !list.is_empty() {
            found.insert((*name).to_owned(), list.iter().map(told).collect());
        }
    }
    let numbers: Vec<Vec<Value>> = (0..cells.inputs)
        .filter(|at| cells.kinds[*at] == ColumnType::Number)
        .map(|at| cells.values[at].clone())
        .collect();
    if numbers.len() >= 2 && !cells.ids.is_empty() {
        let list = row_outliers(&numbers, &config, &ForestConfig { seed: plan.seed, ..ForestConfig::default() })?;
        if !list.is_empty() {
            found.insert("rows as a whole".to_owned(), list.iter().map(told).collect());
        }
    }
    Ok(Json::Object(found))
}

/// Proposes a file of expectations from the rows of a project as they are.
///
/// # Errors
/// [`DataError`] for everything that is wrong with the files and columns.
pub fn propose(project: &Project) -> Result<String, DataError> {
    let plan = plan(project)?;
    let columns: Vec<(&str, ColumnType)> = plan
        .inputs
        .iter()
        .chain(&plan.outputs)
        .map(|column| (column.name.as_str(), column.typed.column_type))
        .collect();
    let mut profile = Profile::new(&columns)?;
    let rows = super::make::cleaned(&plan)?;
    let cells = Cells::of(&plan, rows.iter());
    profile.push(&cells.values)?;
    Ok(write_expectations(&tables::propose(&profile, &ProposeConfig::default())))
}
