//! `yard data diff`, `expectations`, `images`, `agreement` and `reveal`: what else can be done with data.

use std::path::{Path, PathBuf};

use base::{Context, units};
use data::{AgreementLevel, DataError, Diff};
use serde_json::json;
use store::Store;

use super::registry::{find_run, open};
use crate::arguments::{DataAction, Level, ProjectArguments};
use crate::output::{Error, Output, boxed, table};
use crate::pipeline::{Usage, load};

/// How many signals are printed of those that moved.
const MOVED_SHOWN: usize = 12;
/// The largest text in which pseudonyms are turned back.
const TEXT_BYTES_MAX: u64 = 1 << 30;

pub fn act(output: Output, context: &Context, action: DataAction) -> Result<(), Error> {
    match action {
        DataAction::Diff { first, second, registry } => diff(output, &registry.project, &first, &second),
        DataAction::Expectations { project, out, force } => expectations(output, &project, &out, force),
        DataAction::Images { sources, distance } => images(output, context, &sources, distance),
        DataAction::Agreement { file, columns, level } => agreement(output, &file, &columns, level),
        DataAction::Reveal { file, key_file } => reveal(output, &file, &key_file),
    }
}

/// The folder of the dataset that a run or a version was made of.
fn dataset(store: &Store, what: &str) -> Result<PathBuf, Error> {
    let run = find_run(store, what)?;
    let made = if run.stage == "data" {
        run.artifact
    } else {
        run.artifact
            .and_then(|digest| store.lineage(digest).ok())
            .and_then(|lineage| lineage.into_iter().find(|run| run.stage == "data"))
            .and_then(|run| run.artifact)
    };
    let digest = made.ok_or_else(|| {
        let hint = "Name a run of the data stage (yard runs), or a version that was trained on one.";
        boxed(Usage::new(format!("{what} has no dataset"), hint))
    })?;
    Ok(store.artifact(digest).map_err(boxed)?.folder)
}

fn diff(output: Output, project: &Path, first: &str, second: &str) -> Result<(), Error> {
    let store = open(project)?;
    let found = data::diff(&dataset(&store, first)?, &dataset(&store, second)?).map_err(boxed)?;
    tell(output, &found);
    output.result("diff", &json!(found));
    Ok(())
}

fn tell(output: Output, diff: &Diff) {
    let count = units::count;
    output.line(&format!(
        "{} rows → {} rows: {} in both, {} came, {} went",
        count(diff.rows[0]),
        count(diff.rows[1]),
        count(diff.common),
        count(diff.added),
        count(diff.removed)
    ));
    for (between, rows) in &diff.moved {
        output.line(&format!("{} moved from {between}", count(*rows)));
    }
    let mut rows = vec![["what", "why", "first", "second"].map(str::to_owned).to_vec()];
    for (what, counts) in [("dropped", &diff.dropped), ("changed", &diff.changed)] {
        for (reason, [first, second]) in counts.iter().filter(|(_, [first, second])| first != second) {
            rows.push(vec![what.to_owned(), reason.clone(), count(*first), count(*second)]);
        }
    }
    if rows.len() > 1 {
        output.line(&table(&rows));
    }
    let mut moved: Vec<(&String, &f64)> = diff.stability.iter().filter(|(_, index)| **index >= 0.01).collect();
    moved.sort_by(|a, b| b.1.total_cmp(a.1).then(a.0.cmp(b.0)));
    for (name, index) in moved.into_iter().take(MOVED_SHOWN) {
        let much = if *index >= 0.25 { "much" } else { "a little" };
        output.line(&format!("{name} moved {much} (population stability index {index:.3}, estimated)"));
    }
    for (sign, samples) in [("+", &diff.samples_added), ("-", &diff.samples_removed)] {
        for sample in samples {
            output.line(&format!("{sign} {}", sample.replace('\n', " ")));
        }
    }
}

fn expectations(output: Output, arguments: &ProjectArguments, out: &Path, force: bool) -> Result<(), Error> {
    let project = load(arguments)?;
    if out.exists() && !force {
        let hint = "Write elsewhere (--out), or overwrite it (--force).";
        return Err(boxed(Usage::new(format!("{} is there already", out.display()), hint)));
    }
    let text = data::propose(&project).map_err(boxed)?;
    base::files::write_atomically(out, text.as_bytes()).map_err(|error| boxed(DataError::io("write", out)(error)))?;
    output.line(&format!("wrote {}: read it, and add expectations = {:?} to [data]", out.display(), out));
    output.result("expectations", &json!({ "wrote": out }));
    Ok(())
}

fn images(output: Output, context: &Context, sources: &[String], distance: u32) -> Result<(), Error> {
    let found = data::images(context, sources, Path::new("."), distance).map_err(boxed)?;
    for (at, group) in found.clusters.iter().enumerate() {
        let mut rows = Vec::new();
        for image in group {
            let size = format!("{} × {}", image.width, image.height);
            let what = if rows.is_empty() { "keep".to_owned() } else { format!("{} bits", image.distance) };
            rows.push(vec![(at + 1).to_string(), what, size, image.name.clone()]);
        }
        output.line(table(&rows).trim_end());
    }
    for (name, what) in &found.damaged {
        output.warning(&format!("{name}: {what}"));
    }
    let more: usize = found.clusters.iter().map(|group| group.len() - 1).sum();
    output.line(&format!(
        "{} images: {} look like another one, in {} groups",
        units::count(found.images as u64),
        units::count(more as u64),
        units::count(found.clusters.len() as u64)
    ));
    output.result("images", &json!(found));
    Ok(())
}

fn agreement(output: Output, file: &Path, columns: &[String], level: Level) -> Result<(), Error> {
    let level = match level {
        Level::Nominal => AgreementLevel::Nominal,
        Level::Ordinal => AgreementLevel::Ordinal,
        Level::Interval => AgreementLevel::Interval,
        Level::Ratio => AgreementLevel::Ratio,
    };
    let found = data::agreement(&file.to_string_lossy(), Path::new("."), columns, level).map_err(boxed)?;
    let mut rows = vec![["measure", "between", "items", "estimate", "95 % interval"].map(str::to_owned).to_vec()];
    for one in &found {
        let number = |value: Option<f64>| value.map_or_else(|| "undefined".to_owned(), |value| format!("{value:.4}"));
        rows.push(vec![
            one.measure.clone(),
            if one.between.is_empty() { "all".to_owned() } else { one.between.join(", ") },
            one.items.to_string(),
            number(one.estimate),
            one.low.map_or_else(String::new, |_| format!("{} to {}", number(one.low), number(one.high))),
        ]);
    }
    output.line(&table(&rows));
    output.result("agreement", &json!(found));
    Ok(())
}

fn reveal(output: Output, file: &Path, key_file: &Path) -> Result<(), Error> {
    let read = |error| boxed(DataError::io("read", file)(error));
    if std::fs::metadata(file).map_err(read)?.len() > TEXT_BYTES_MAX {
        return Err(boxed(Usage::new(format!("{} is larger than 1 GiB", file.display()), "Split it.")));
    }
    let text = data::reveal(&std::fs::read_to_string(file).map_err(read)?, key_file).map_err(boxed)?;
    output.line(text.strip_suffix('\n').unwrap_or(&text));
    output.result("reveal", &json!({ "text": text }));
    Ok(())
}
