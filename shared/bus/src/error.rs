//! What can go wrong between us and the broker, sorted by what the caller does next.

/// A failed operation on the broker.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker did not answer or is not ready (no leader, reconnecting): the same call may be repeated.
    #[error("the broker is not available: {0}")]
    Unavailable(String),
    /// The broker does not take who we are: wrong, expired or revoked credentials. The same call fails until somebody mends it.
    #[error("the broker does not take these credentials: {0}")]
    Unauthorized(String),
    /// The broker answered that it will not do this.
    #[error("the broker refused: {refusal:?}: {message}")]
    Refused {
        /// Which refusal.
        refusal: Refusal,
        /// The broker's own words.
        message: String,
    },
    /// What stands there cannot be read.
    #[error("unreadable: {0}")]
    Unreadable(String),
    /// There is no such thing.
    #[error("not found: {0}")]
    NotFound(String),
}

/// Why the broker refused a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The subject holds its one message already: for a task, it is queued or running.
    AlreadyThere,
    /// The subject's last sequence is not what was expected: somebody was first.
    NotFirst,
    /// The stream is full: back-pressure.
    Full,
    /// The message is larger than the broker takes.
    TooLarge,
    /// Anything else.
    Other,
}

impl Error {
    /// Whether the same call may succeed later without anybody's help.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Refused { refusal: Refusal::Full, .. })
    }

    /// Which refusal this is, if the broker answered with one.
    #[must_use]
    pub const fn refusal(&self) -> Option<Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(*refusal),
            Self::Unavailable(_) | Self::Unauthorized(_) | Self::Unreadable(_) | Self::NotFound(_) => None,
        }
    }

    pub(crate) fn unavailable(error: impl std::fmt::Display) -> Self {
        Self::Unavailable(error.to_string())
    }
}
