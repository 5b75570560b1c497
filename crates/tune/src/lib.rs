//! `yard tune`: a search space in, the best settings and the study out.
//!
//! The crate `optimizer` chooses settings (at random, or by the tree-structured Parzen estimator) and
//! applies the median rule; `yard` supplies the objective, which trains with the settings and answers
//! with the validation loss. Every finished trial is appended to a journal in the stage's scratch
//! folder; a continued study tells the recorded trials to a fresh sampler, which then goes on as if it
//! had never stopped.
//!
//! **Invariant:** this crate knows no training. The same plan and the same answers give the same study.

mod error;
mod journal;
mod plan;
mod space;
mod study;

pub use error::TuneError;
pub use journal::{Trial, TrialState};
pub use plan::{Plan, plan};
pub use study::{Best, Objective, Report, Study, run};

/// Raised whenever the same inputs would give another result.
pub const CODE_VERSION: u32 = 1;
/// The file of a study's artifact.
pub const STUDY_FILE: &str = "study.json";

#[cfg(test)]
mod tests;
