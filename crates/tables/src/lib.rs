//! Expectations of tables, outliers, and leakage of the label.
//!
//! - [`profile`]: what a table holds, in one pass and bounded memory, from the mergeable sketches
//!   [`quantiles`], [`distinct`], [`frequent`] and [`moments`].
//! - [`expectations`], [`propose()`], [`document`], [`check()`]: what a table should hold: proposed from a
//!   profile, kept in a file that people edit, checked on every run.
//! - [`outliers`] and [`forest`]: the rows that stand apart.
//! - [`leakage`]: columns that know the label, and rows on both sides of a split.
//!
//! **Invariant:** this crate opens no files and never prints. The same rows in the same order give the
//! same result.

pub mod check;
pub mod dates;
pub mod distinct;
pub mod distribution;
pub mod document;
pub mod error;
pub mod expectations;
pub mod forest;
pub mod frequent;
mod hashing;
pub mod leakage;
pub mod moments;
pub mod outliers;
mod predict;
pub mod profile;
pub mod propose;
pub mod quantiles;
mod split;

pub use check::{Checker, References, Severity, Violation, check};
pub use document::{read_expectations, write_expectations};
pub use error::TablesError;
pub use expectations::Expectations;
pub use forest::{ForestConfig, isolation_forest};
pub use leakage::{Finding, LeakageConfig, LeakageInput, Risk, find_leakage};
pub use outliers::{Outlier, OutlierConfig, category_outliers, number_outliers, row_outliers, text_outliers};
pub use profile::{ColumnProfile, Profile};
pub use propose::{ProposeConfig, propose};
