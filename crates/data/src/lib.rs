//! The data stage: raw files become cleaned, split rows with preprocessing fitted on the training
//! split, a ledger of every row that was dropped or changed, and a report on their quality.
//!
//! All rows are held in memory; `data.bytes_max` bounds them. It does not know models or training.
//! Read `source.rs` for what is found wrong with files, `types.rs` for how types are inferred,
//! `clean.rs` for what is dropped and changed, `split.rs` for how rows are divided.

mod clean;
mod error;
mod init;
mod language;
mod plan;
mod predict;
mod read;
mod source;
mod split;
mod types;

use base::project::Family;
use base::{Context, Digest, Value};
use store::{Made, StageKey, Store, Work};

pub use error::DataError;
pub use init::init;
pub use plan::{Encoder, Plan, PlannedColumn, plan};
pub use source::Source;
pub use types::Typed;

use crate::clean::Place;

/// Raised whenever this code would make another dataset of the same sources.
pub const CODE_VERSION: u32 = 1;

/// Makes the dataset, or finds it made before.
///
/// # Errors
/// [`DataError`]: rows that cannot be learned from, a full disk, Ctrl-C.
pub fn run(context: &Context, store: &Store, plan: &Plan) -> Result<Made, DataError> {
    let mut inputs = Vec::new();
    for source in &plan.sources {
        let (digest, _) = Digest::of_file(&source.path).map_err(DataError::io("read", &source.path))?;
        inputs.push((format!("source:{}", source.name), digest));
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
    store.stage(&key, |work| match plan.family {
        Family::Predict => predict::make(context, plan, work),
        Family::Language => language::make(context, plan, work),
    })
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

/// A folder of the work under way.
fn out<'a>(work: &'a Work<'_>) -> &'a std::path::Path {
    work.out()
}

#[cfg(test)]
mod tests;
