//! Agents that are values in this process.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use kapelle_engine::{Failure, Usage};
use kapelle_sdk::{Agent, Output, Progress, Task};
use kapelle_types::Code;
use serde_json::Value;

use super::{Answer, Attempt};
use crate::failure;
use crate::redact;

/// Calls one agent. A panic ends its attempt and nothing else.
pub(crate) struct Runtime {
    agent: Arc<dyn Agent>,
}

impl Runtime {
    pub(super) const fn new(agent: Arc<dyn Agent>) -> Self {
        Self { agent }
    }

    pub(super) async fn run(&self, attempt: Attempt<'_>, input: Arc<Value>) -> Result<Answer, Failure> {
        // The attempt's future is dropped after a panic, so whatever it left half-way is never seen again; what an agent
        // shares between its tasks is its own responsibility.
        let run = AssertUnwindSafe(self.agent.run(task(attempt, input))).catch_unwind();
        match tokio::time::timeout_at(attempt.ends_at, run).await {
            Err(_) => Err(failure::timeout(attempt.limit)),
            Ok(Err(panic)) => Err(panicked(panic.as_ref())),
            Ok(Ok(Err(e))) => Err(failure::by_agent(&e.code, &redact::by_name(&e.message), e.retryable, e.retry_after)),
            Ok(Ok(Ok(Output { value, usage }))) => {
                let (cost_usd, input_tokens) = (usage.cost_usd, usage.input_tokens);
                Ok(Answer { value, usage: Usage { cost_usd, input_tokens, output_tokens: usage.output_tokens } })
            }
        }
    }
}

fn task(attempt: Attempt<'_>, input: Arc<Value>) -> Task {
    let task = attempt.task;
    let (run, id) = (task.run_id, task.task.clone());
    Task {
        run_id: run.to_string(),
        step: id.step.step.to_string(),
        item: id.step.item,
        attempt: id.attempt,
        deadline: attempt.ends_at,
        input,
        progress: Progress::to(move |update| {
            // The note is the agent's own words about its payload, which logs never show.
            let note_bytes = update.note.len();
            tracing::debug!(%run, task = %id, done = update.done, total = update.total, note_bytes, "progress");
        }),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let message = format!("the agent panicked: {}", failure::head(said.unwrap_or("without a message"), 1_000));
    failure::transient(Code::AGENT_PANICKED, message)
}
