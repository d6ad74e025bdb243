//! The agent of the recorder: its input says what it does, and the stage sees when it begins and lets it go on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kapelle_sdk::{Agent, AgentError, Output, Task, Usage, async_trait};
use serde_json::Value;
use tokio::sync::watch;

use super::stage::PATIENCE;

/// What the stage and the agents of all its workers share. Cheap to clone.
#[derive(Clone)]
pub(super) struct Cues {
    /// Attempts that have begun: `<step>#<attempt>`.
    begun: Arc<watch::Sender<BTreeSet<String>>>,
    /// Gates that are open.
    open: Arc<watch::Sender<BTreeSet<String>>>,
}

impl Cues {
    pub(super) fn new() -> Self {
        let nothing = || Arc::new(watch::Sender::new(BTreeSet::new()));
        Self { begun: nothing(), open: nothing() }
    }

    /// Lets everything go on that waits at a gate.
    pub(super) fn open(&self, gate: &str) {
        self.open.send_modify(|open| {
            open.insert(gate.to_owned());
        });
    }

    /// Waits until an attempt is being executed: `a#1`, `each:3#2`.
    pub(super) async fn begun(&self, attempt: &str) {
        let mut begun = self.begun.subscribe();
        let waited = tokio::time::timeout(PATIENCE, begun.wait_for(|all| all.contains(attempt))).await;
        waited.unwrap_or_else(|_| panic!("{attempt} does not begin")).expect("the sender lives");
    }

    fn begin(&self, task: &Task) {
        let item = task.item.map(|i| format!(":{i}")).unwrap_or_default();
        let attempt = format!("{}{item}#{}", task.step, task.attempt);
        self.begun.send_modify(|begun| {
            begun.insert(attempt);
        });
    }

    async fn pass(&self, gate: &str) {
        let mut open = self.open.subscribe();
        open.wait_for(|all| all.contains(gate)).await.expect("the sender lives");
    }
}

/// Fields of its input, each of which may be missing: `gate` that it waits at, `hang_attempts` first attempts that never
/// answer, `fail_attempts` first attempts that fail with `code`, `final` and `after_ms`, `wrong_attempts` first attempts that
/// answer with a text; `cost` and `tokens` that it uses up. It answers with its input.
pub(super) struct Scripted(pub(super) Cues);

#[async_trait]
impl Agent for Scripted {
    async fn run(&self, task: Task) -> Result<Output, AgentError> {
        self.0.begin(&task);
        let number = |name: &str| task.input.get(name).and_then(Value::as_u64);
        let attempt = u64::from(task.attempt);
        if attempt <= number("hang_attempts").unwrap_or(0) {
            std::future::pending::<()>().await;
        }
        if let Some(gate) = task.input.get("gate").and_then(Value::as_str) {
            self.0.pass(gate).await;
        }
        if attempt <= number("fail_attempts").unwrap_or(0) {
            let code = task.input.get("code").and_then(Value::as_str).unwrap_or("scripted");
            let is_final = task.input.get("final").and_then(Value::as_bool).unwrap_or(false);
            let error = AgentError::retryable(code, "the input says so");
            let error = AgentError { retryable: !is_final, ..error };
            return Err(number("after_ms").map(Duration::from_millis).into_iter().fold(error, AgentError::after));
        }
        if attempt <= number("wrong_attempts").unwrap_or(0) {
            return Ok(Output::new(Value::from("not what the contract says")));
        }
        let cost_usd = task.input.get("cost").and_then(Value::as_f64).unwrap_or(0.0);
        let usage = Usage { cost_usd, output_tokens: number("tokens").unwrap_or(0), ..Usage::default() };
        Ok(Output::new(task.input.as_ref().clone()).with_usage(usage))
    }
}
