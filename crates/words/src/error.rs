//! What can go wrong with words.

/// What can go wrong with words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WordsError {
    /// The text is longer than is taken in one piece.
    #[error("failed to cut a text of {bytes} bytes into words: at most {} are taken", crate::TEXT_BYTES_MAX)]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
}

impl WordsError {
    /// What to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TooLong { .. } => Some("Cut the document into shorter ones.".to_owned()),
        }
    }
}
