//! `yard data`, and `--explain-drops`.

use std::collections::BTreeMap;
use std::path::Path;

use base::{Context, Digest, units};
use data::DataError;
use dataset::{LedgerEntry, read_ledger};
use serde_json::{Value as Json, json};

use crate::arguments::ProjectArguments;
use crate::output::{Error, Output, boxed, table};
use crate::pipeline::{Pipeline, Until, Usage};

/// Longer values are cut for the eye; `--json` has them whole.
const VALUE_LENGTH: usize = 40;

/// What is asked for besides the dataset, and who makes it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub explain_drops: bool,
    pub review: Option<&'a Path>,
    pub scheduler: Option<&'a str>,
}

pub fn data(output: Output, context: &Context, arguments: &ProjectArguments, asked: Asked<'_>) -> Result<(), Error> {
    let mut pipeline = Pipeline::open(output, context, arguments)?.with_scheduler(asked.scheduler);
    let mut result = pipeline.run(Until::Data)?;
    let digest = result["stages"][0]["artifact"].as_str().and_then(|text| text.parse::<Digest>().ok());
    if let (Some(out), Some(digest)) = (asked.review, digest) {
        let page = pipeline.store.artifact(digest).map_err(boxed)?.folder.join("review.html");
        if !page.exists() {
            let hint = "Add [data.labels] to yard.toml, and run yard data again.";
            return Err(boxed(Usage::new("this dataset has no page of labels to review", hint)));
        }
        std::fs::copy(&page, out).map_err(|error| boxed(DataError::io("write", out)(error)))?;
        output.line(&format!("wrote {}", out.display()));
        result["review"] = json!(out);
    }
    if let (true, Some(digest)) = (asked.explain_drops, digest) {
        let folder = pipeline.store.artifact(digest).map_err(boxed)?.folder;
        result["ledger"] = explain_drops(output, &folder)?;
    }
    output.result("data", &result);
    Ok(())
}

fn explain_drops(output: Output, folder: &Path) -> Result<Json, Error> {
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut rows = vec![["line", "source", "what", "why", "column", "before", "after"].map(str::to_owned).to_vec()];
    let mut entries = Vec::new();
    for entry in read_ledger(folder).map_err(boxed)? {
        let entry = entry.map_err(boxed)?;
        *counts.entry((entry.action.clone(), entry.reason.clone())).or_default() += 1;
        rows.push(line(&entry));
        entries.push(json!(entry));
    }
    output.line(&table(&rows));
    if counts.is_empty() {
        output.line("no row was dropped or changed");
    }
    for ((action, reason), count) in &counts {
        output.line(&format!("{} {action}: {reason}", units::count(*count)));
    }
    Ok(Json::Array(entries))
}

fn line(entry: &LedgerEntry) -> Vec<String> {
    let why = entry.of.map_or_else(|| entry.reason.clone(), |of| format!("{} of row {of}", entry.reason));
    vec![
        entry.line.to_string(),
        entry.source.clone(),
        entry.action.clone(),
        why,
        entry.column.clone().unwrap_or_default(),
        shown(&entry.before),
        shown(&entry.after),
    ]
}

fn shown(value: &Json) -> String {
    let text = match value {
        Json::Null => return String::new(),
        Json::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    if text.chars().count() <= VALUE_LENGTH {
        return text;
    }
    text.chars().take(VALUE_LENGTH - 1).chain(['…']).collect()
}
