//! The data stage: raw files become cleaned, split rows with preprocessing fitted on the training split, or documents that
//! are repaired, judged, deduplicated and tokenised; with a ledger of everything that was dropped or changed, and a report
//! on its quality.
//!
//! It does not know models or training. `rows` is what `predict` projects read, held in memory; `documents` is what
//! `language` projects read, as a stream.

mod agreement;
mod diff;
mod documents;
mod error;
mod images;
mod init;
mod mend;
mod plan;
mod rows;

use base::Context;
use store::{Made, Store};

pub use agreement::{Agreement, AgreementLevel, agreement};
pub use diff::{Diff, diff};
#[cfg(feature = "ballista")]
pub use documents::cluster;
pub use error::DataError;
pub use images::{Images, LookAlike, images};
pub use init::init;
pub use mend::reveal;
pub use plan::{Plan, plan};
pub use rows::source::Source;
pub use rows::types::Typed;
pub use rows::{Encoder, PlannedColumn, propose};

/// Makes the dataset, or finds it made before.
///
/// # Errors
/// [`DataError`]: rows that cannot be learned from, a full disk, Ctrl-C.
pub fn run(context: &Context, store: &Store, plan: &Plan) -> Result<Made, DataError> {
    match &plan.0 {
        plan::Kind::Rows(plan) => rows::run(context, store, plan),
        plan::Kind::Documents(plan) => documents::run(context, store, plan),
    }
}

#[cfg(test)]
mod tests;
