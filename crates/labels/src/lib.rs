//! Labels: likely errors, agreement of annotators, and what to label next.
//!
//! - [`confident`], [`multilabel`], [`regression`]: the rows whose label is likely wrong, worst first.
//! - [`features`] and [`cross_validation`]: out-of-sample probabilities without the full model.
//! - [`agreement`] and [`krippendorff`]: how far annotators agree, with intervals from [`bootstrap`].
//! - [`active`]: what to label next.
//! - [`corrections`] and [`review`]: the page where a person decides, and the file the next run applies.
//!
//! **Invariant:** everything is deterministic: the same input and seed give the same result for any
//! number of threads. This crate reads and writes no files; callers do.

pub mod active;
pub mod agreement;
pub mod bootstrap;
pub mod confident;
pub mod corrections;
pub mod cross_validation;
pub mod error;
pub mod features;
pub mod krippendorff;
pub mod multilabel;
pub mod probabilities;
mod random;
pub mod regression;
pub mod review;

pub use active::{Pick, SelectConfig, Strategy, Uncertainty, select};
pub use bootstrap::{BootstrapConfig, Interval};
pub use confident::{ConfidentConfig, ConfidentJoint, Filter, LabelIssue, Ranking, confident_joint, find_label_issues};
pub use corrections::{Applied, Correction, LabelledRow, apply, read_corrections, row_key, write_corrections};
pub use cross_validation::{
    CrossValidationConfig, cross_validate, cross_validate_features, cross_validate_numbers, predict_unlabelled,
};
pub use error::LabelsError;
pub use features::{Features, featurize};
pub use probabilities::Probabilities;
pub use review::{Language, Review, ReviewIssue, Suggestion, review_page};
