//! `yard promote` and `yard rollback`.

use std::path::Path;

use base::project::Project;
use base::version::{NotAVersion, Pointer, VersionName};
use serde_json::json;

use super::registry::open;
use crate::output::{Error, Output, boxed};
use crate::pipeline::{Usage, actor};

pub fn promote(output: Output, project: &Path, name: &str) -> Result<(), Error> {
    let config = Project::load(project).map_err(boxed)?.file.rollout;
    let name = parse(name)?;
    let promotion = rollout::promote(&open(project)?, &config, &name, &actor()).map_err(boxed)?;
    for check in &promotion.checks {
        output.line(&format!(
            "gate {}: {}",
            check.metric,
            check.value.map_or_else(|| "not measured".to_owned(), |value| format!("{value:.4}, passed"))
        ));
    }
    for note in &promotion.notes {
        output.line(&format!("note: {note}"));
    }
    let version = format!("{}@{}", promotion.name, promotion.version);
    output.line(&match (promotion.moved, promotion.previous) {
        (false, _) => format!("{version} is champion already"),
        (true, None) => format!("{version} is champion: the first"),
        (true, Some(previous)) => format!(
            "{version} is champion; before it {}@{previous}, which `yard rollback {}` brings back",
            promotion.name, promotion.name
        ),
    });
    output.result("promote", &json!(promotion));
    Ok(())
}

pub fn rollback(output: Output, project: &Path, name: &str) -> Result<(), Error> {
    let parsed = parse(name)?;
    if parsed.pointer != Pointer::Alias(rollout::CHAMPION.to_owned()) {
        return Err(boxed(Usage::new(
            format!("failed to roll back {name}: a rollback takes a model's name alone"),
            format!("Write `yard rollback {}`; to choose a version, `yard promote {}@N`.", parsed.name, parsed.name),
        )));
    }
    let done = rollout::rollback(&open(project)?, &parsed.name, &actor()).map_err(boxed)?;
    output.line(&format!("{}@{} is champion again; {}@{} is not", done.name, done.version, done.name, done.from));
    output.result("rollback", &json!(done));
    Ok(())
}

/// A version's name from the command line.
pub fn parse(name: &str) -> Result<VersionName, Error> {
    name.parse().map_err(|error: NotAVersion| boxed(Usage::from(error)))
}
