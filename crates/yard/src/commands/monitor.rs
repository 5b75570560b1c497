//! `yard monitor`.

use std::path::Path;

use base::project::Project;
use base::units;
use monitor::{FeatureReport, MonitorReport, Outcome, Verdict};
use serde_json::json;

use super::registry::{open, when};
use super::rollout::parse;
use crate::output::{Error, Output, boxed, table};

pub fn monitor(output: Output, project: &Path, name: &str, hours: Option<f64>) -> Result<(), Error> {
    let config = Project::load(project).map_err(boxed)?.file.monitor;
    let store = open(project)?;
    let version = store.version(&parse(name)?).map_err(boxed)?;
    let model = store.artifact(version.artifact).map_err(boxed)?;
    let baseline = monitor::read_baseline(&model.folder).map_err(boxed)?;
    let since = hours.map_or(i64::MIN, |hours| store::now_ms() - (hours.max(0.0) * 3_600_000.0) as i64);
    let report = monitor::compare(&store, &version, &baseline, &config, since).map_err(boxed)?;
    print(output, &report);
    output.result("monitor", &json!(report));
    Ok(())
}

fn print(output: Output, report: &MonitorReport) {
    let span = match (report.from_ms, report.to_ms) {
        (Some(from), Some(to)) => format!(", {} to {} UTC", when(from), when(to)),
        _ => String::new(),
    };
    output.line(&format!(
        "{}@{}: {} requests{span} (measured), compared with {} rows of training data",
        report.name,
        report.version,
        units::count(report.requests),
        units::count(report.baseline_rows)
    ));
    match &report.outcome {
        Outcome::TooFew { have, need } => {
            output.line(&format!(
                "too few requests to say anything: {have} of the {need} that monitor.requests_min asks for"
            ));
        }
        Outcome::Compared { verdict, tests, columns } => {
            let mut rows =
                vec![["column", "looked at", "PSI", "test", "p, corrected", "verdict"].map(str::to_owned).to_vec()];
            for column in columns {
                for feature in &column.features {
                    rows.push(line(&column.column, feature));
                }
            }
            output.line(&table(&rows));
            for feature in
                columns.iter().flat_map(|column| &column.features).filter(|feature| !feature.reason.is_empty())
            {
                output.line(&feature.reason);
            }
            output
                .line(&format!("verdict: {} ({tests} tests, p-values corrected for their number)", name_of(*verdict)));
        }
    }
}

fn line(column: &str, feature: &FeatureReport) -> Vec<String> {
    let test = feature
        .test
        .as_ref()
        .map_or_else(|| "too few counts".to_owned(), |test| json!(test.test).as_str().unwrap_or("").replace('_', "-"));
    vec![
        column.to_owned(),
        feature.feature.clone(),
        format!("{:.3}", feature.psi),
        test,
        feature.p_value_corrected.map_or_else(String::new, |p| format!("{p:.2e}")),
        name_of(feature.verdict).to_owned(),
    ]
}

fn name_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Stable => "stable",
        Verdict::Slight => "slight",
        Verdict::Drift => "drift",
    }
}
