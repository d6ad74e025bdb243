//! Why an agent could not do its task.

use std::time::Duration;

/// A failure with a code that retry rules can name. Not retryable unless it says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct AgentError {
    /// The agent's own short code, such as `rate_limited`; a manifest's `retry` can exclude it by name.
    pub code: String,
    /// What happened, for people.
    pub message: String,
    /// Whether another attempt may help.
    pub retryable: bool,
    /// Wait at least this long before it.
    pub retry_after: Option<Duration>,
}

impl AgentError {
    /// An error that another attempt would only repeat: a wrong input, a refusal.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: false, retry_after: None }
    }

    /// An error that may be gone next time: a busy provider, a broken connection.
    pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::new(code, message) }
    }

    /// The same error with the wish to be left alone for a while.
    #[must_use]
    pub const fn after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }
}
