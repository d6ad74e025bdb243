//! Agents that are programs: JSON lines on stdin and stdout, stderr as their log (DESIGN section 10).
//!
//! ```text
//!   pool of idle children ──▶ task line on stdin ──▶ progress lines, one answer on stdout ──▶ back to the pool
//!                                   └── crash, silence, garbage, oversize: named, evidence kept, child replaced
//! ```
//!
//! `jsonl`: a child does one task after the other and there are as many as tasks at once. `once`: a child a task.
//! Children are started when they are first needed, in the manifest's folder, in a process group of their own that is
//! killed as a whole.

mod child;
mod line;
mod message;
mod tail;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};

use kapelle_engine::Failure;
use kapelle_types::AgentVersion;
use serde_json::Value;

use super::{Answer, Attempt};
use crate::config::{Environment, ProcessSpec, Protocol};
use crate::failure;
use child::{Broken, Child, Exchange};

/// Runs the program of one agent version.
pub(crate) struct Runtime {
    spec: ProcessSpec,
    version: AgentVersion,
    /// What every child gets; `once` adds the facts of its task.
    environment: Environment,
    idle: Mutex<Vec<Child>>,
}

impl Runtime {
    pub(super) fn new(spec: ProcessSpec, version: AgentVersion, worker: &str, inherited: &Environment) -> Self {
        let mut environment = inherited.clone();
        let facts =
            [("AGENT", version.name.to_string()), ("VERSION", version.version.to_string()), ("WORKER", worker.into())];
        environment.0.extend(facts.map(|(name, value)| (format!("KAPELLE_{name}"), value.into())));
        Self { spec, version, environment, idle: Mutex::default() }
    }

    pub(super) async fn run(&self, attempt: Attempt<'_>, input: &Value) -> Result<Answer, Failure> {
        let request = message::Request::new(attempt, &self.version, input);
        let mut child = match self.spec.protocol {
            Protocol::Jsonl => self.idle_child().map_or_else(|| self.start(&self.environment), Ok)?,
            Protocol::Once => {
                let mut environment = self.environment.clone();
                environment.0.extend(request.facts());
                self.start(&environment)?
            }
        };
        let exchange = child.exchange(&request, self.spec.protocol == Protocol::Once);
        match tokio::time::timeout_at(attempt.ends_at, exchange).await {
            Ok(Ok(Exchange { reply, reusable })) => {
                match self.spec.protocol {
                    Protocol::Jsonl if reusable => self.idle().push(child),
                    Protocol::Jsonl => {}
                    Protocol::Once => child.end().await,
                }
                reply.into_answer()
            }
            Ok(Err(broken)) => Err(child.autopsy(broken, &self.spec).await),
            Err(_) => {
                let evidence = child.kill().await;
                Err(failure::with_evidence(failure::timeout(attempt.limit), &evidence))
            }
        }
    }

    fn start(&self, environment: &Environment) -> Result<Child, Failure> {
        Child::start(&self.spec, environment).map_err(|error| Broken::Start(error).into_failure(&self.spec, None))
    }

    /// An idle child that has not ended meanwhile.
    fn idle_child(&self) -> Option<Child> {
        let mut idle = self.idle();
        std::iter::from_fn(|| idle.pop()).find_map(|mut child| child.is_running().then_some(child))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Child>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
