//! How an agent is executed: as a value in this process, as a program of its own, or by asking a model.
//!
//! A runtime bounds the attempt by its time and turns whatever the agent does into an answer or a named failure. It knows
//! nothing of queues, slots and reports.

mod model;
mod native;
mod process;

use std::sync::Arc;
use std::time::Duration;

use kapelle_bus::Bus;
use kapelle_engine::Failure;
use kapelle_proto::Task;
use kapelle_types::Diagnosis;
use serde_json::Value;
use tokio::time::Instant;

use crate::config::{AgentSpec, Config, RuntimeSpec};
use crate::failure;
use crate::usage::Meter;

/// One attempt as a runtime sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) task: &'a Task,
    /// How long it may take in all.
    pub(crate) limit: Duration,
    /// When that is over.
    pub(crate) ends_at: Instant,
    /// What it has used up; kept here whatever becomes of it.
    pub(crate) meter: &'a Arc<Meter>,
}

/// The runtime of one agent version.
pub(crate) enum Runtime {
    Native(native::Runtime),
    Process(Box<process::Runtime>),
    Model(Box<model::Runtime>),
    Refused(Diagnosis),
}

impl Runtime {
    /// # Errors
    /// An agent cannot be kept to its access here, or its secrets are missing.
    pub(crate) fn new(spec: AgentSpec, config: &Config, bus: &Bus) -> Result<Self, Diagnosis> {
        Ok(match spec.runtime {
            RuntimeSpec::Native(agent) => Self::Native(native::Runtime::new(agent)),
            RuntimeSpec::Process(process) => {
                Self::Process(Box::new(process::Runtime::new(process, spec.version, config)?))
            }
            RuntimeSpec::Model(model) => Self::Model(Box::new(model::Runtime::new(*model, spec.version, config, bus)?)),
            RuntimeSpec::Refused(why) => Self::Refused(why),
        })
    }

    /// Executes one attempt: the agent's output, within the limits of the task.
    pub(crate) async fn run(&self, attempt: Attempt<'_>, input: Arc<Value>) -> Result<Value, Failure> {
        match self {
            Self::Native(runtime) => runtime.run(attempt, input).await,
            Self::Process(runtime) => runtime.run(attempt, &input).await,
            Self::Model(runtime) => runtime.run(attempt, &input).await,
            Self::Refused(why) => Err(failure::permanent(why.code, format!("{} {}", why.message, why.hint))),
        }
    }
}
