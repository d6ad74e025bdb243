//! Workers, coordinators and queues.

use kapelle_proto::v1;
use serde::Serialize;

use crate::output::moment;

/// One living worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Worker {
    pub(crate) id: String,
    pub(crate) host: String,
    pub(crate) agents: Vec<String>,
    /// Those of them that are retired.
    pub(crate) retired_agents: Vec<String>,
    pub(crate) slots: u32,
    pub(crate) slots_used: u32,
    pub(crate) draining: bool,
    pub(crate) started_at: Option<String>,
    /// Agents of which it takes no tasks for now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) held: Vec<Held>,
}

/// An agent of which a worker takes no tasks for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Held {
    pub(crate) agent: String,
    pub(crate) why: String,
}

/// One living coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Coordinator {
    pub(crate) id: String,
    pub(crate) partitions: Vec<u32>,
    pub(crate) started_at: Option<String>,
}

/// The queue of one agent version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Queue {
    pub(crate) agent: String,
    pub(crate) version: String,
    pub(crate) pending: u64,
    pub(crate) in_flight: u64,
    pub(crate) redelivered: u64,
    pub(crate) max_in_flight: u64,
    /// Why a worker takes nothing out of it for now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held: Option<String>,
}

impl From<v1::WorkerView> for Worker {
    fn from(wire: v1::WorkerView) -> Self {
        let started_at = moment(wire.started_at_unix_nanos);
        let v1::WorkerView { id, agents, retired_agents, slots, slots_used, draining, host, held, .. } = wire;
        let held = held.into_iter().map(|v1::HeldAgent { agent, why }| Held { agent, why }).collect();
        Self { id, host, agents, retired_agents, slots, slots_used, draining, started_at, held }
    }
}

impl From<v1::CoordinatorView> for Coordinator {
    fn from(wire: v1::CoordinatorView) -> Self {
        Self { started_at: moment(wire.started_at_unix_nanos), id: wire.id, partitions: wire.partitions }
    }
}

impl From<v1::QueueView> for Queue {
    fn from(wire: v1::QueueView) -> Self {
        let v1::QueueView { agent, version, pending, in_flight, redelivered, max_in_flight, held } = wire;
        let held = Some(held).filter(|it| !it.is_empty());
        Self { agent, version, pending, in_flight, redelivered, max_in_flight, held }
    }
}
