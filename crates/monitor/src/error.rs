//! What can go wrong when traffic is compared.

use base::{Failure, Fault};
use infer::InferError;
use store::StoreError;

/// What can go wrong when traffic is compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MonitorError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The baseline could not be read, or traffic was sketched by another baseline.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// A stored sketch is not one.
    #[error("failed to read a sketch of the traffic of {version}: {message}")]
    Sketch {
        /// The version, as `name@2`.
        version: String,
        /// What is wrong with it.
        message: String,
    },
}

impl Failure for MonitorError {
    fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            Self::Infer(error) => error.fault(),
            Self::Sketch { .. } => Fault::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Infer(error) => error.hint(),
            Self::Sketch { .. } => {
                Some("It was stored by another yard; look at newer traffic only, with --since.".to_owned())
            }
        }
    }
}
