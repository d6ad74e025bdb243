//! Why something says no times.

use thiserror::Error;

/// A cron line, a time zone or a timetable that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what}")]
pub struct Invalid {
    /// What is wrong with it.
    pub what: String,
    /// What to do about it; may be empty.
    pub hint: &'static str,
}

impl Invalid {
    pub(crate) fn new(what: impl Into<String>, hint: &'static str) -> Self {
        Self { what: what.into(), hint }
    }
}
