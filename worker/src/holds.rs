//! Why this worker takes no tasks of an agent for now: for its log, its presence and a metric, so that a person sees it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kapelle_bus::presence::Held;
use kapelle_telemetry::metrics::AGENT_HELD;
use kapelle_types::AgentVersion;

/// All holds of a worker. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holds(Arc<Mutex<Table>>);

type Table = BTreeMap<(AgentVersion, &'static str), String>;

/// The hold that one limit of an agent version may have.
#[derive(Debug, Clone)]
pub(crate) struct Hold {
    holds: Holds,
    agent: AgentVersion,
    limit: &'static str,
}

impl Holds {
    /// The hold of a limit, which does not hold yet.
    pub(crate) fn of(&self, agent: &AgentVersion, limit: &'static str) -> Hold {
        Hold { holds: self.clone(), agent: agent.clone(), limit }
    }

    /// What is held, and why.
    pub(crate) fn told(&self) -> Vec<Held> {
        let held =
            |((agent, _), why): (&(AgentVersion, &str), &String)| Held { agent: agent.clone(), why: why.clone() };
        self.table().iter().map(held).collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing in here panics half-way, so a poisoned table is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hold {
    /// The agent is held for this reason; the log says so when it begins.
    pub(crate) fn because(&self, why: &str) {
        let before = self.holds.table().insert((self.agent.clone(), self.limit), why.to_owned());
        if before.is_none() {
            tracing::warn!(agent = %self.agent, limit = self.limit, why, "takes no tasks for now");
            self.gauge(1.0);
        }
    }

    /// The agent is not held for this any more.
    pub(crate) fn release(&self) {
        if self.holds.table().remove(&(self.agent.clone(), self.limit)).is_some() {
            tracing::info!(agent = %self.agent, limit = self.limit, "takes tasks again");
            self.gauge(0.0);
        }
    }

    fn gauge(&self, value: f64) {
        let version = self.agent.version.to_string();
        AGENT_HELD.gauge(&[self.agent.name.as_str(), &version, self.limit]).set(value);
    }
}
