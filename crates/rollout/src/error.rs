//! What can go wrong with a rollout.

use base::{Failure, Fault};
use store::StoreError;

/// What can go wrong with a rollout.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RolloutError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A gate said no. Nothing was moved, and the refusal is in the audit log.
    #[error("failed to promote {version}: {}", reasons.join("; "))]
    Refused {
        /// The version, as `name@2`.
        version: String,
        /// Why, one sentence a reason.
        reasons: Vec<String>,
    },
    /// The registered metrics are not what a model's metrics look like.
    #[error("failed to read the metrics of {version}: {message}")]
    Metrics {
        /// The version, as `name@2`.
        version: String,
        /// What is wrong with them.
        message: String,
    },
}

impl Failure for RolloutError {
    fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            Self::Refused { .. } => Fault::Gate,
            Self::Metrics { .. } => Fault::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Refused { .. } => Some(
                "The champion stays as it was. Train a better version, or change [rollout] in the project file."
                    .to_owned(),
            ),
            Self::Metrics { .. } => Some(
                "The version was registered by another program; register the model again with `yard run`.".to_owned(),
            ),
        }
    }
}
