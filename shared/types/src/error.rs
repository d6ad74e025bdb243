//! What is wrong with a value that a person wrote.

use crate::Code;

/// A name, id or version that does not have the shape it must have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a valid {what}: {rule}")]
pub struct InvalidName {
    /// What the value was meant to be, for example `agent name`.
    pub what: &'static str,
    /// The offending text, cut to 80 characters.
    pub value: String,
    /// The rule it breaks, in words.
    pub rule: &'static str,
}

impl InvalidName {
    pub(crate) fn new(what: &'static str, value: &str, rule: &'static str) -> Self {
        Self { what, value: value.chars().take(80).collect(), rule }
    }
}

/// A user-visible error: a stable code, what happened and what to do next.
///
/// It travels unchanged from where it was found to the person who reads it (gRPC status, CLI, event, log).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Diagnosis {
    /// The stable code; `docs/errors/<code>.md` explains it.
    pub code: Code,
    /// What happened and why, one or two sentences.
    pub message: String,
    /// What to do next; empty if the code's page says it all.
    pub hint: String,
}

impl Diagnosis {
    /// A diagnosis without a hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: String::new() }
    }

    /// The same diagnosis with a sentence on what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}
