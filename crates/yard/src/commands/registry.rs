//! `yard models`, `yard runs`, `yard show`, `yard log`: what the store knows.

use std::path::Path;

use base::units;
use serde_json::json;
use store::{Run, Store, StoreError};

use crate::output::{Error, Output, boxed, table};

/// Opens the store of a project's folder (or of the folder that a yard.toml lies in).
pub fn open(project: &Path) -> Result<Store, Error> {
    let folder = if project.is_file() { project.parent().unwrap_or(project) } else { project };
    Store::open_existing(folder).map_err(boxed)
}

/// The run that a number or a version's name points to.
pub fn find_run(store: &Store, what: &str) -> Result<Run, Error> {
    if let Ok(id) = what.parse::<i64>() {
        return store.run(id).map_err(boxed);
    }
    let name = what.parse().map_err(|error| boxed(crate::pipeline::Usage::from(error)))?;
    let version = store.version(&name).map_err(boxed)?;
    store.run_that_made(version.artifact).map_err(boxed)?.ok_or_else(|| {
        boxed(StoreError::NotFound { what: "the run that made", name: what.to_owned(), known: Vec::new() })
    })
}

pub fn models(output: Output, project: &Path) -> Result<(), Error> {
    let store = open(project)?;
    let versions = store.versions("").map_err(boxed)?;
    let aliases = store.aliases("").map_err(boxed)?;
    let mut rows = vec![["version", "aliases", "made", "artifact", "metrics"].map(str::to_owned).to_vec()];
    for version in &versions {
        let names: Vec<&str> = aliases
            .iter()
            .filter(|alias| alias.name == version.name && alias.version == version.number)
            .map(|alias| alias.alias.as_str())
            .collect();
        rows.push(vec![
            format!("{}@{}", version.name, version.number),
            names.join(", "),
            when(version.created_ms),
            version.artifact.short(),
            short_metrics(&version.metrics),
        ]);
    }
    output.document("models", &table(&rows), &json!({ "versions": versions, "aliases": aliases }));
    Ok(())
}

pub fn runs(output: Output, project: &Path, limit: u32) -> Result<(), Error> {
    let runs = open(project)?.runs(limit).map_err(boxed)?;
    let mut rows = vec![["run", "stage", "status", "began", "took", "artifact"].map(str::to_owned).to_vec()];
    for run in &runs {
        rows.push(vec![
            run.id.to_string(),
            run.stage.clone(),
            run.status.name().to_owned(),
            when(run.started_ms),
            run.ended_ms.map_or_else(String::new, |_| units::seconds(run.seconds())),
            run.artifact.map_or_else(|| run.error.clone().unwrap_or_default(), |digest| digest.short()),
        ]);
    }
    output.document("runs", &table(&rows), &json!({ "runs": runs }));
    Ok(())
}

pub fn log(output: Output, project: &Path, limit: u32) -> Result<(), Error> {
    let entries = open(project)?.audit_log(limit).map_err(boxed)?;
    let mut rows = vec![["when", "who", "what", "which", "detail"].map(str::to_owned).to_vec()];
    for entry in &entries {
        rows.push(vec![
            when(entry.at_ms),
            entry.actor.clone(),
            entry.action.clone(),
            entry.subject.clone(),
            match (&entry.detail["from"], &entry.detail["to"]) {
                (_, to) if to.is_null() => String::new(),
                (from, to) if from.is_null() => format!("{} → @{to}", entry.detail["alias"].as_str().unwrap_or("")),
                (from, to) => format!("{} @{from} → @{to}", entry.detail["alias"].as_str().unwrap_or("")),
            },
        ]);
    }
    output.document("log", &table(&rows), &json!({ "entries": entries }));
    Ok(())
}

pub fn show(output: Output, project: &Path, what: &str) -> Result<(), Error> {
    let store = open(project)?;
    let run = find_run(&store, what)?;
    let lineage = match run.artifact {
        Some(artifact) => store.lineage(artifact).map_err(boxed)?,
        None => vec![run],
    };
    let mut text = String::new();
    for run in &lineage {
        let made = run.artifact.map_or_else(|| "nothing".to_owned(), |digest| digest.short());
        text.push_str(&format!(
            "run {} · {} · {} · {} · {}\n  made  {made}\n",
            run.id,
            run.stage,
            run.status.name(),
            when(run.started_ms),
            units::seconds(run.seconds()),
        ));
        for (role, digest) in &run.inputs {
            text.push_str(&format!("  from  {role} {}\n", digest.short()));
        }
        if let Some(error) = &run.error {
            text.push_str(&format!("  error {error}\n"));
        }
        text.push_str(&format!("  seed  {}\n  with  {}\n", run.seed, run.config));
    }
    output.document("show", &text, &json!({ "lineage": lineage }));
    Ok(())
}

/// The headline metrics in one line.
pub fn short_metrics(metrics: &serde_json::Value) -> String {
    let wanted = ["accuracy", "roc_auc", "r2", "rmse", "perplexity"];
    let mut parts = Vec::new();
    for (name, measure) in metrics.as_object().into_iter().flatten() {
        let last = name.rsplit('.').next().unwrap_or(name);
        if wanted.contains(&last)
            && let Some(value) = measure["value"].as_f64()
        {
            parts.push(format!("{name} {value:.4}"));
        }
    }
    parts.join(", ")
}

/// A moment in UTC, `2026-11-25 03:46`. Civil date from days after Howard Hinnant's `civil_from_days`.
pub fn when(ms: i64) -> String {
    let minutes = ms.div_euclid(60_000);
    let (days, minute) = (minutes.div_euclid(1440), minutes.rem_euclid(1440));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::when;

    #[test]
    fn moments_are_written_in_utc() {
        assert_eq!(when(0), "1970-01-01 00:00");
        assert_eq!(when(951_782_400_000), "2000-02-29 00:00");
        // `date -u -d @1795578360`.
        assert_eq!(when(1_795_578_360_000), "2026-11-25 03:46");
    }
}
