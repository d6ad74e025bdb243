//! `FleetService`: who is there and how much waits.

use kapelle_bus::presence;
use kapelle_bus::registry::Status;
use kapelle_proto::v1::{self, fleet_service_server::FleetService};
use kapelle_types::{AgentVersion, Code, Diagnosis};
use std::sync::Arc;
use tonic::{Request, Response};

use super::Context;
use super::status::status;

pub(super) struct Fleet {
    context: Arc<Context>,
}

impl Fleet {
    pub(super) const fn new(context: Arc<Context>) -> Self {
        Self { context }
    }
}

#[tonic::async_trait]
impl FleetService for Fleet {
    async fn list_workers(
        &self,
        _request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, tonic::Status> {
        let unavailable = |e: kapelle_bus::Error| status(&Diagnosis::new(Code::BROKER_UNAVAILABLE, e.to_string()));
        let present = self.context.bus.present().await.map_err(unavailable)?;
        let snapshot = self.context.catalog.snapshot();
        let is_retired = |it: &&AgentVersion| snapshot.standing_of(it).is_some_and(|it| it.status == Status::Retired);
        let workers = present.into_iter().filter(|p| p.kind == presence::Kind::Worker).map(|p| v1::WorkerView {
            id: p.id,
            agents: p.agents.iter().map(ToString::to_string).collect(),
            retired_agents: p.agents.iter().filter(is_retired).map(ToString::to_string).collect(),
            slots: p.slots,
            slots_used: p.slots_used,
            started_at_unix_nanos: p.started_at.nanos(),
            draining: p.draining,
            host: p.host,
            held: p.held.into_iter().map(held).collect(),
        });
        Ok(Response::new(v1::ListWorkersResponse { workers: workers.collect() }))
    }

    async fn list_queues(
        &self,
        _request: Request<v1::ListQueuesRequest>,
    ) -> Result<Response<v1::ListQueuesResponse>, tonic::Status> {
        // Why nothing moves is known to the workers; without their word the numbers are still there.
        let present = self.context.bus.present().await.unwrap_or_default();
        let holds: Vec<presence::Held> = present.into_iter().flat_map(|p| p.held).collect();
        let mut queues = Vec::new();
        for agent in self.context.catalog.agent_versions() {
            match self.context.takers.queue_state(&agent).await {
                Ok(state) => queues.push(v1::QueueView {
                    agent: agent.name.to_string(),
                    version: agent.version.to_string(),
                    pending: state.pending,
                    in_flight: state.in_flight,
                    redelivered: state.redelivered,
                    max_in_flight: state.max_in_flight,
                    held: holds.iter().find(|it| it.agent == agent).map(|it| it.why.clone()).unwrap_or_default(),
                }),
                Err(error) => tracing::warn!(%agent, %error, "its queue cannot be seen"),
            }
        }
        Ok(Response::new(v1::ListQueuesResponse { queues }))
    }

    async fn list_coordinators(
        &self,
        _request: Request<v1::ListCoordinatorsRequest>,
    ) -> Result<Response<v1::ListCoordinatorsResponse>, tonic::Status> {
        let peers = self.context.peers.borrow().clone();
        let coordinators = peers.values().map(|p| v1::CoordinatorView {
            id: p.id.clone(),
            partitions: p.partitions.iter().map(|p| u32::from(p.0)).collect(),
            started_at_unix_nanos: p.started_at.nanos(),
        });
        Ok(Response::new(v1::ListCoordinatorsResponse { coordinators: coordinators.collect() }))
    }
}

fn held(held: presence::Held) -> v1::HeldAgent {
    v1::HeldAgent { agent: held.agent.to_string(), why: held.why }
}
