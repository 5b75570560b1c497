//! What a finished stage is summed up with, in one line for people.

use base::units;
use serde_json::Value as Json;
use store::Artifact;

use crate::commands::registry::short_metrics;

/// Reasons of dropped rows that are told; of more, the greatest.
const REASONS: usize = 6;

/// A JSON file of an artifact; null where there is none.
pub fn read(artifact: &Artifact, file: &str) -> Json {
    let bytes = std::fs::read(artifact.path(file)).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or(Json::Null)
}

/// The headline metrics of a model.
pub fn metrics(model: &Artifact) -> String {
    let metrics = read(model, infer::description::METRICS_FILE);
    let examples = metrics["examples"]["value"].as_f64().unwrap_or(0.0);
    // Where metrics are not of the test split, their method says of what.
    let method = metrics["examples"]["method"].as_str().unwrap_or("");
    let on = if method.contains("split") { method.to_owned() } else { "test split".to_owned() };
    format!("{} ({} examples, {on})", short_metrics(&metrics), units::count(examples as u64))
}

/// The rows of a dataset.
pub fn data(dataset: &Artifact) -> String {
    let Ok(quality) = dataset::Quality::load(&dataset.folder) else { return String::new() };
    let splits = quality.splits;
    let mut text = format!(
        "{} rows read, {} kept: {} train, {} valid, {} test",
        units::count(quality.rows_read),
        units::count(quality.rows_kept),
        units::count(splits.train),
        units::count(splits.valid),
        units::count(splits.test)
    );
    let mut dropped: Vec<(&String, &u64)> = quality.dropped.iter().collect();
    if dropped.len() > REASONS {
        dropped.sort_by(|one, other| other.1.cmp(one.1).then(one.0.cmp(other.0)));
    }
    for (reason, count) in dropped.iter().take(REASONS) {
        text.push_str(&format!("; {} dropped ({})", units::count(**count), reason.replace('_', " ")));
    }
    if let Some(rest) = dropped.get(REASONS..).filter(|rest| !rest.is_empty()) {
        let count = rest.iter().map(|(_, count)| **count).sum();
        text.push_str(&format!("; {} dropped ({} other reasons)", units::count(count), rest.len()));
    }
    for warning in &quality.warnings {
        text.push_str(&format!("\n{:<24}warning: {warning}", ""));
    }
    text
}
