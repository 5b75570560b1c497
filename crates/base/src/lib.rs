//! What every other crate of Modelyard shares: ids, errors with hints, provenance, progress, and
//! the project file.
//!
//! **Invariant:** this crate knows no other crate of the workspace, no tensors, no SQL, no HTTP, and
//! never prints.

pub mod digest;
pub mod failure;
pub mod files;
pub mod progress;
pub mod project;
pub mod provenance;
pub mod units;
pub mod value;
pub mod version;

pub use digest::Digest;
pub use failure::{Failure, Fault};
pub use progress::{Context, Progress, Stop, Task};
pub use provenance::{Measure, Provenance};
pub use value::{ColumnType, Value};
pub use version::VersionName;
