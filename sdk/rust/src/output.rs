//! What an agent answers.

use serde_json::Value;

/// The result of a task and what it used up.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Output {
    /// The output, as the agent's contract declares it.
    pub value: Value,
    /// What it used up; all zero if the agent has nothing to say.
    pub usage: Usage,
}

/// What one attempt used up, counted from the task's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Money, in US dollars.
    pub cost_usd: f64,
    /// Tokens read by models.
    pub input_tokens: u64,
    /// Tokens written by models.
    pub output_tokens: u64,
    /// Tools that were called.
    pub tool_calls: u64,
}

impl Output {
    /// An output that used up nothing.
    #[must_use]
    pub fn new(value: Value) -> Self {
        Self { value, usage: Usage::default() }
    }

    /// The same output with what it used up.
    #[must_use]
    pub const fn with_usage(mut self, usage: Usage) -> Self {
        self.usage = usage;
        self
    }
}

impl From<Value> for Output {
    fn from(value: Value) -> Self {
        Self::new(value)
    }
}
