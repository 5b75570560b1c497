//! The documents of a `language` project, which stream from their sources in bounded memory.
//!
//! `gather` reads and cuts batches, `prepare` repairs and judges what is in them (alone, so that it may run anywhere, as on
//! the machines of a `cluster`),
//! `duplicates` finds what repeats something, and `make` divides, tokenises and writes what is left.

#[cfg(any(feature = "ballista", test))]
pub mod cluster;
mod conditions;
mod duplicates;
mod gather;
mod judge;
mod make;
mod plan;
mod prepare;
mod prepared;
mod quality;
mod recipe;
mod semantic;
mod tokens;
mod walk;

use std::sync::Arc;

use base::Context;
use infer::description::TOKENIZER_FILE;
use store::{Made, StageKey, Store};

pub(crate) use plan::{Plan, plan};

use crate::error::DataError;

/// Raised whenever this code would make another dataset of the same sources.
const CODE_VERSION: u32 = 3;

/// Makes the dataset, or finds it made before.
pub(crate) fn run(context: &Context, store: &Store, plan: &Arc<Plan>) -> Result<Made, DataError> {
    let key = StageKey {
        stage: "data",
        code_version: CODE_VERSION,
        config: plan.config(),
        inputs: plan.inputs()?,
        seed: plan.seed,
        makes: "dataset",
    };
    store.stage(&key, |work| make::make(context, plan, work))
}
