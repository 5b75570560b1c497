//! `yard report`.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::registry::{find_run, open};
use crate::output::{Error, Output};
use crate::pipeline::{report_path, write_report};

pub fn report(output: Output, project: &Path, what: &str, out: Option<PathBuf>) -> Result<(), Error> {
    let store = open(project)?;
    let run = find_run(&store, what)?;
    let name = if what.parse::<i64>().is_ok() { format!("run-{what}") } else { what.replace('/', "-") };
    let path = out.unwrap_or_else(|| report_path(&store, &name));
    write_report(&store, run.id, &path)?;
    output.line(&format!("wrote {}", path.display()));
    output.result("report", &json!({ "wrote": path, "run": run.id }));
    Ok(())
}
