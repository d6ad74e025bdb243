//! What an agent is given.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::Progress;

/// How long a task made by [`Task::of`] may run.
const TIMEOUT_OF_A_TRIAL: Duration = Duration::from_secs(60);

/// One attempt of one step. Cloning is cheap: the input is shared.
#[derive(Debug, Clone)]
pub struct Task {
    /// The run, a UUID.
    pub run_id: String,
    /// The step's id in the workflow.
    pub step: String,
    /// Which member, from 0, if the step is a `foreach`.
    pub item: Option<u32>,
    /// The attempt, from 1. An attempt that was lost with its worker counts too.
    pub attempt: u32,
    /// The round of a step that is repeated or handed on, from 0.
    pub round: u32,
    /// Who did the step before it was handed to this agent, as `name@version`, the first first; empty if nobody did. The agent
    /// acts on their behalf, and for whoever asked the first of them.
    pub chain: Vec<String>,
    /// When the attempt is given up.
    pub deadline: Instant,
    /// The input, checked against the agent's contract.
    pub input: Arc<Value>,
    /// To say how far it is.
    pub progress: Progress,
}

impl Task {
    /// A task out of nothing but an input, to try an agent in a unit test.
    #[must_use]
    pub fn of(input: Value) -> Self {
        Self {
            run_id: "00000000-0000-7000-8000-000000000000".into(),
            step: "trial".into(),
            item: None,
            attempt: 1,
            round: 0,
            chain: Vec::new(),
            deadline: Instant::now() + TIMEOUT_OF_A_TRIAL,
            input: Arc::new(input),
            progress: Progress::default(),
        }
    }

    /// A key that is the same for every attempt of this step in this run and for nothing else: `<run>/<step>[:<item>]`, and
    /// `~<round>` behind it in the later rounds of a step that is repeated or handed on.
    #[must_use]
    pub fn idempotency_key(&self) -> String {
        let item = self.item.map(|item| format!(":{item}")).unwrap_or_default();
        let round = if self.round > 0 { format!("~{}", self.round) } else { String::new() };
        format!("{}/{}{item}{round}", self.run_id, self.step)
    }

    /// How much time is left; zero when it is over.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_names_the_step_and_not_the_attempt() {
        let mut task = Task { item: Some(17), ..Task::of(Value::Null) };
        let first = task.idempotency_key();
        task.attempt = 2;
        assert_eq!(task.idempotency_key(), first);
        assert!(first.ends_with("/trial:17"), "{first}");
        task.item = None;
        assert!(task.idempotency_key().ends_with("/trial"));
        task.round = 3;
        assert!(task.idempotency_key().ends_with("/trial~3"), "each round is work of its own");
        assert!(task.remaining() > Duration::ZERO);
    }
}
