//! What can go wrong while a report is written.

use base::{Failure, Fault};
use store::StoreError;

/// What can go wrong while a report is written. A file that is missing or damaged is no error: the
/// page says so where its contents would stand.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Failure for ReportError {
    fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
        }
    }
}
