//! The rows of a `predict` project: all of them are held in memory, which `data.bytes_max` bounds.
//!
//! Read `source.rs` for what is found wrong with files, `types.rs` for how types are inferred, `clean.rs` for what is
//! dropped and changed, `split.rs` for how rows are divided.

mod checks;
mod clean;
mod held;
mod labels;
mod make;
mod plan;
pub(crate) mod read;
pub(crate) mod source;
pub(crate) mod split;
pub(crate) mod types;

use base::{Context, Digest, Value};
use store::{Made, StageKey, Store};

pub use checks::propose;
use clean::Place;
pub(crate) use clean::key;
pub use plan::{Encoder, PlannedColumn};
pub(crate) use plan::{Plan, plan};

use crate::error::DataError;

/// Raised whenever this code would make another dataset of the same sources.
const CODE_VERSION: u32 = 2;

/// Makes the dataset, or finds it made before.
pub(crate) fn run(context: &Context, store: &Store, plan: &Plan) -> Result<Made, DataError> {
    let mut inputs = Vec::new();
    for source in &plan.sources {
        let digest = match &source.held {
            Some(held) => held.digest(&source.path),
            None => Digest::of_file(&source.path).map_err(DataError::io("read", &source.path))?.0,
        };
        inputs.push((format!("source:{}", source.name), digest));
    }
    let corrections = plan.labels.as_ref().and_then(|labels| labels.corrections.as_ref());
    let key = plan.personal.as_ref().and_then(|personal| personal.key_file.as_ref());
    let expectations = plan.expectations.as_ref().map(|(path, _)| path);
    for (name, path) in [("personal key", key), ("corrections", corrections), ("expectations", expectations)] {
        if let Some(path) = path {
            inputs.push((name.to_owned(), Digest::of_file(path).map_err(DataError::io("read", path))?.0));
        }
    }
    // Two files may have one name where a star found them in different lists.
    inputs.sort();
    inputs.dedup_by(|a, b| a.0 == b.0 && a.1 == b.1);
    let key = StageKey {
        stage: "data",
        code_version: CODE_VERSION,
        config: plan.config(),
        inputs,
        seed: plan.seed,
        makes: "dataset",
    };
    store.stage(&key, |work| make::make(context, plan, work))
}

/// Reads columns of all sources in their order, with progress; `each` gets every row and its place.
fn each_row(
    context: &Context,
    plan: &Plan,
    columns: &[String],
    mut each: impl FnMut(Place, Vec<Value>) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let task = context.begin("data", Some(plan.rows()), "rows");
    let mut id = 0;
    for (index, source) in plan.sources.iter().enumerate() {
        let mut in_source = 0_usize;
        read::read(source, columns, |row| {
            if id % 1024 == 0 {
                task.at(id);
                if context.stop.asked() {
                    return Err(DataError::Stopped);
                }
            }
            let line = source.lines.get(in_source).copied().unwrap_or(in_source as u64 + 1);
            each(Place { id, source: index, line, split: source.split }, row)?;
            id += 1;
            in_source += 1;
            Ok(true)
        })?;
        if !source.lines.is_empty() && in_source != source.lines.len() {
            let what = format!("{} rows came back of {} that were counted", in_source, source.lines.len());
            return Err(DataError::engine(&source.path)(what));
        }
    }
    task.at(id);
    task.end("");
    Ok(())
}

/// The names of the sources, for the ledger.
fn source_names(plan: &Plan) -> Vec<String> {
    plan.sources.iter().map(|source| source.name.clone()).collect()
}
