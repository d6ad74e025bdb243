//! Agents that are values in this process.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use kapelle_engine::Failure;
use kapelle_sdk::{Agent, AgentError, Output, Progress, Task, Usage};
use kapelle_types::Code;
use serde_json::Value;

use super::Attempt;
use crate::failure;
use crate::redact;
use crate::usage::Meter;

/// Calls one agent. A panic ends its attempt and nothing else.
pub(crate) struct Runtime {
    agent: Arc<dyn Agent>,
}

impl Runtime {
    pub(super) const fn new(agent: Arc<dyn Agent>) -> Self {
        Self { agent }
    }

    pub(super) async fn run(&self, attempt: Attempt<'_>, input: Arc<Value>) -> Result<Value, Failure> {
        // The attempt's future is dropped after a panic, so whatever it left half-way is never seen again; what an agent
        // shares between its tasks is its own responsibility.
        let run = AssertUnwindSafe(self.agent.run(task(attempt, input))).catch_unwind();
        tokio::select! {
            biased;
            failure = attempt.meter.over() => Err(failure),
            ended = tokio::time::timeout_at(attempt.ends_at, run) => match ended {
                Err(_) => Err(failure::timeout(attempt.limit)),
                Ok(Err(panic)) => Err(panicked(panic.as_ref())),
                Ok(Ok(answer)) => answered(answer, attempt.meter),
            },
        }
    }
}

/// The output, unless more was used up for it than may be.
fn answered(answer: Result<Output, AgentError>, meter: &Meter) -> Result<Value, Failure> {
    let Output { value, usage } =
        answer.map_err(|e| failure::by_agent(&e.code, &redact::by_name(&e.message), e.retryable, e.retry_after))?;
    // An agent that has nothing to say at the end may have said it on the way.
    if usage != Usage::default() {
        meter.take(counted(usage))?;
    }
    Ok(value)
}

const fn counted(usage: Usage) -> kapelle_engine::Usage {
    let Usage { cost_usd, input_tokens, output_tokens, tool_calls } = usage;
    kapelle_engine::Usage { cost_usd, input_tokens, output_tokens, tool_calls }
}

fn task(attempt: Attempt<'_>, input: Arc<Value>) -> Task {
    let task = attempt.task;
    let (run, id) = (task.run_id, task.task.clone());
    let meter = Arc::clone(attempt.meter);
    Task {
        run_id: run.to_string(),
        step: id.step.step.to_string(),
        item: id.step.item,
        attempt: id.attempt,
        round: task.round,
        chain: task.chain.iter().map(ToString::to_string).collect(),
        deadline: attempt.ends_at,
        input,
        progress: Progress::to(move |update| {
            if let Some(usage) = update.usage {
                let _ = meter.take(counted(usage)); // whoever waits for the agent hears of it
            }
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
