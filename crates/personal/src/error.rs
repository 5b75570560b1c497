//! What can go wrong with finding and replacing personal data.

/// What can go wrong with finding and replacing personal data.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PersonalError {
    /// A name that is no kind's.
    #[error("failed to know the kind of personal data {name:?}")]
    UnknownKind {
        /// The name.
        name: String,
    },
    /// A policy that replaces with a key was given none.
    #[error("failed to prepare the policy: the action {action:?} for {kind} needs a key")]
    KeyMissing {
        /// What the policy asks for.
        action: &'static str,
        /// For which kind, or `the other kinds`.
        kind: String,
    },
    /// A key too short to protect anything.
    #[error("failed to use the key: it has {bytes} bytes, and at least {bytes_min} are needed")]
    KeyShort {
        /// What was given.
        bytes: usize,
        /// What is needed.
        bytes_min: usize,
    },
    /// A threshold outside [0, 1].
    #[error("failed to use the threshold {score_min}: a score lies between 0 and 1")]
    Threshold {
        /// The threshold.
        score_min: f32,
    },
}

impl PersonalError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::UnknownKind { .. } => {
                "The kinds are named as in the report, for example EMAIL, PHONE, CN_RESIDENT_ID, API_KEY.".to_owned()
            }
            Self::KeyMissing { .. } => {
                "Give a key file, or choose the action redact, drop or report, which need none.".to_owned()
            }
            Self::KeyShort { bytes_min, .. } => {
                format!("Make a key of {bytes_min} or more random bytes, for example with `openssl rand -hex 32`.")
            }
            Self::Threshold { .. } => "Use a number such as 0.5, the default.".to_owned(),
        }
    }
}
