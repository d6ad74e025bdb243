//! Everything in one process, for `kapelle dev` and `kapelle demo`: a broker child, a coordinator, a worker.
//!
//! ```text
//!   broker (child, watched and restarted) ◀── coordinator ── gRPC
//!        ▲                                        │ registry
//!        └───────────── worker ◀── agents ────────┘  what is applied here is run here
//! ```

mod address;
mod agents;
mod broker;
mod confinement;
mod ports;

use std::net::SocketAddr;
use std::time::Duration;

use kapelle_broker::Durability;
use kapelle_bus::layout::{Layout, TaskStorage};
use kapelle_bus::{Bus, Connection};
use kapelle_coordinator::{Accepted, Coordinator};
use kapelle_types::{Code, Partitions};
use kapelle_worker::Worker;

use crate::failure::Failure;

pub(crate) use address::{Address, DEFAULT_NATS_URL, NatsTls};
pub(crate) use agents::Agents;
pub(crate) use broker::{Broker, Embedded};
pub(crate) use confinement::{Confinement, Switch};
pub(crate) use ports::{GRPC, METRICS_COORDINATOR, METRICS_WORKER, NATS, metrics, must_be_free, taken_grpc};

/// How long a broker that is not there yet is waited for by what runs until it is stopped.
pub(crate) const BROKER_PATIENCE: Duration = Duration::from_secs(30);
/// The same by a command that somebody waits for.
pub(crate) const COMMAND_PATIENCE: Duration = Duration::from_secs(5);

/// Where the broker is.
#[derive(Debug, Clone)]
pub(crate) enum BrokerPlan {
    /// A child of this process.
    Embedded(Embedded),
    /// Somebody else's.
    Running(Address),
}

/// How everything is set up.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Where the broker is.
    pub(crate) broker: BrokerPlan,
    /// What is provisioned on it if nothing is.
    pub(crate) layout: Layout,
    /// Where the API listens; port 0 takes a free one.
    pub(crate) grpc_address: SocketAddr,
    /// Tasks that the worker does at once; `None` is its own default.
    pub(crate) slots: Option<usize>,
    /// Whether OpenLineage events are published.
    pub(crate) openlineage: bool,
    /// What the worker's agents are kept to.
    pub(crate) confinement: Confinement,
}

/// Everything, running.
pub(crate) struct Stack {
    /// The broker child, if there is one.
    broker: Option<Broker>,
    coordinator: kapelle_coordinator::Handle,
    agents: Agents,
    connection: Connection,
    nats_url: String,
}

impl Stack {
    /// Starts everything; what was started is stopped again if something fails.
    pub(crate) async fn start(settings: Settings) -> Result<Self, Failure> {
        let (broker, address) = match settings.broker {
            BrokerPlan::Embedded(embedded) => {
                let broker = embedded.start().await?;
                let address = Address::plain(broker.url());
                (Some(broker), address)
            }
            BrokerPlan::Running(address) => (None, address),
        };
        let connection = address.connect("kapelle-dev", BROKER_PATIENCE).await?;
        let config = kapelle_coordinator::Config {
            grpc_address: settings.grpc_address,
            layout: settings.layout,
            accepted: Accepted::Development,
            openlineage: settings.openlineage,
            ..kapelle_coordinator::Config::default()
        };
        let coordinator = Coordinator::start(config, connection.clone()).await.map_err(ports::taken_grpc)?;
        let bus = Bus::open(connection.clone()).await?;
        let mut config = settings.confinement.apply(kapelle_worker::Config::default())?;
        config.slots = settings.slots.unwrap_or(config.slots);
        let worker = Worker::start(config, bus.clone()).await.map_err(|e| worker_failure(&e))?;
        Ok(Self { broker, coordinator, agents: Agents::serve(worker, bus), connection, nats_url: address.nats_url })
    }

    /// Where clients find the API.
    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.coordinator.grpc_address())
    }

    /// Where the broker is.
    pub(crate) fn nats_url(&self) -> &str {
        &self.nats_url
    }

    /// The version of the broker child.
    pub(crate) fn broker_version(&self) -> Option<String> {
        self.broker.as_ref().map(Broker::version)
    }

    /// Leaves in order: the worker ends what runs, the coordinator writes its cursors, the broker closes its store.
    pub(crate) async fn stop(self) {
        if let Some(worker) = self.agents.stop().await {
            worker.drain().await;
        }
        self.coordinator.stop().await;
        // Closed from our side, so that the broker's end is no lost connection.
        let _ = self.connection.client().drain().await;
        if let Some(broker) = self.broker {
            broker.stop().await;
        }
    }
}

/// A worker that cannot be started.
pub(crate) fn worker_failure(error: &kapelle_worker::Error) -> Failure {
    let (code, hint) = match error {
        kapelle_worker::Error::Refused(why) => return why.clone().into(),
        kapelle_worker::Error::Config(_) | kapelle_worker::Error::Draining => (Code::REQUEST_INVALID, ""),
        kapelle_worker::Error::Broker(_) => (Code::BROKER_UNAVAILABLE, "`kapelle doctor` says more."),
    };
    Failure::coded(code, error.to_string(), hint)
}

/// What is provisioned on one node: 4 partitions, or 8 where every write waits for the disk.
pub(crate) fn one_node(partitions: Option<Partitions>, durability: Durability) -> Layout {
    let by_default = match durability {
        Durability::Standard => 4,
        Durability::Power => 8,
    };
    let fallback = kapelle_coordinator::Config::default().layout;
    let partitions = partitions.or_else(|| Partitions::new(by_default)).unwrap_or(fallback.partitions);
    Layout { partitions, replicas: 1, tasks: TaskStorage::AsyncFile }
}

/// Reads a number of partitions.
pub(crate) fn partitions(text: &str) -> Result<Partitions, String> {
    /// More would cost the broker more than they bring: each is a stream with its own files.
    const PARTITIONS_MAX: u16 = 256;
    let count: u16 = text.parse().map_err(|_| "a whole number is expected".to_owned())?;
    Partitions::new(count)
        .filter(|p| p.count() <= PARTITIONS_MAX)
        .ok_or_else(|| format!("1 to {PARTITIONS_MAX} are possible"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_follow_the_sync_policy_unless_named() {
        assert_eq!(one_node(None, Durability::Standard).partitions.count(), 4);
        assert_eq!(one_node(None, Durability::Power).partitions.count(), 8);
        assert_eq!(one_node(partitions("2").ok(), Durability::Power).partitions.count(), 2);
        for bad in ["0", "257", "-1", "four", ""] {
            assert!(partitions(bad).is_err(), "{bad}");
        }
    }
}
