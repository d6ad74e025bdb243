//! The worker as a whole: starts its parts, takes agents on, says who it is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kapelle_bus::Bus;
use kapelle_bus::payloads::Payloads;
use kapelle_bus::presence::{Announcer, Kind, Record};
use kapelle_bus::pull::TaskPuller;
use kapelle_telemetry::clock;
use kapelle_types::{AgentVersion, Timestamp};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{AgentSpec, Config};
use crate::consumer::Consumer;
use crate::executor::Executor;
use crate::holds::Holds;
use crate::lease::Leases;
use crate::meters::AgentMeters;
use crate::reporter;
use crate::runtime::Runtime;
use crate::sandbox::Sandbox;
use crate::slots::Slots;
use crate::{Drained, Error};

/// Starts workers.
#[derive(Debug)]
pub struct Worker;

/// A running worker. [`Handle::drain`] ends it in order; dropping it ends it as a crash would: what it held comes back to
/// others when the leases are over.
pub struct Handle {
    pub(crate) bus: Bus,
    pub(crate) draining: CancellationToken,
    pub(crate) consumers: tokio::sync::Mutex<BTreeMap<AgentVersion, AbortOnDropHandle<usize>>>,
    pub(crate) reports: reporter::Sender,
    pub(crate) reporter: AbortOnDropHandle<()>,
    pub(crate) announcer: Announcer,
    payloads: Payloads,
    config: Config,
    slots: Slots,
    served: Arc<Mutex<Vec<AgentVersion>>>,
    holds: Holds,
}

impl Worker {
    /// Starts a worker on a bus that is provisioned. Its agents' queues need not be there yet.
    ///
    /// # Errors
    /// [`Error::Config`] for a configuration that makes no sense, [`Error::Refused`] for a machine without the sandbox or
    /// an agent that cannot be served as it should be, [`Error::Broker`] if the connection is closed.
    pub async fn start(mut config: Config, bus: Bus) -> Result<Handle, Error> {
        config.check()?;
        config.sandbox.check().map_err(Error::Refused)?;
        if config.sandbox == Sandbox::Off {
            tracing::warn!(worker = config.id, "the sandbox is off: process agents may do whatever this worker may");
        }
        let agents = std::mem::take(&mut config.agents);
        let (slots, draining, served) = (Slots::new(config.slots), CancellationToken::new(), Arc::default());
        let holds = Holds::default();
        let record = presence(&config, &slots, &draining, &served, &holds, clock::now());
        let (reports, reporter) = reporter::start(bus.clone());
        let handle = Handle {
            announcer: Announcer::start(bus.clone(), record),
            payloads: bus.payloads().clone(),
            reporter: AbortOnDropHandle::new(reporter),
            consumers: tokio::sync::Mutex::default(),
            reports,
            draining,
            config,
            slots,
            served,
            holds,
            bus,
        };
        for agent in agents {
            handle.add_agent(agent).await?;
        }
        tracing::info!(worker = handle.id(), slots = handle.config.slots, "the worker is ready");
        Ok(handle)
    }
}

impl Handle {
    /// The worker's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.config.id
    }

    /// How many tasks it executes now.
    #[must_use]
    pub fn slots_used(&self) -> usize {
        self.slots.used()
    }

    /// The agent versions that it serves.
    #[must_use]
    pub fn agents(&self) -> Vec<AgentVersion> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves one more agent version from now on. False if it does so already: versions are immutable.
    ///
    /// # Errors
    /// As [`Worker::start`], [`Error::Draining`], and [`Error::Refused`] for an agent that cannot be kept to its access
    /// here or whose secrets are missing.
    pub async fn add_agent(&self, spec: AgentSpec) -> Result<bool, Error> {
        spec.check()?;
        let mut consumers = self.consumers.lock().await;
        if self.draining.is_cancelled() {
            return Err(Error::Draining);
        }
        if consumers.contains_key(&spec.version) {
            return Ok(false);
        }
        let version = spec.version.clone();
        let credit = spec.concurrency.unwrap_or(usize::MAX).clamp(1, self.slots.total());
        let executor = self.executor(spec)?;
        let puller = TaskPuller::open(&self.bus, version.clone(), credit).await?;
        let consumer = Consumer::open(&self.bus, puller, executor, self.config.drain_grace, self.holds.clone()).await?;
        consumers.insert(version.clone(), AbortOnDropHandle::new(tokio::spawn(consumer.run())));
        self.served.lock().unwrap_or_else(PoisonError::into_inner).push(version.clone());
        self.announcer.changed();
        tracing::info!(agent = %version, credit, "serving");
        Ok(true)
    }

    fn executor(&self, spec: AgentSpec) -> Result<Executor, Error> {
        Ok(Executor {
            worker: self.config.id.as_str().into(),
            agent: spec.version.clone(),
            meters: AgentMeters::new(&spec.version),
            runtime: Runtime::new(spec, &self.config, &self.bus).map_err(Error::Refused)?,
            slots: self.slots.clone(),
            payloads: self.payloads.clone(),
            leases: Arc::new(Leases::default()),
            reporter: self.reports.clone(),
            draining: self.draining.clone(),
        })
    }

    /// Ends the worker in order: asks for nothing more, gives back what has not started, waits for what runs up to the
    /// grace, reports, acknowledges, and leaves.
    pub async fn drain(self) -> Drained {
        crate::drain::drain(self).await
    }
}

/// What the worker says about itself, whenever it is asked.
fn presence(
    config: &Config,
    slots: &Slots,
    draining: &CancellationToken,
    served: &Arc<Mutex<Vec<AgentVersion>>>,
    holds: &Holds,
    started_at: Timestamp,
) -> impl Fn() -> Record + Send + 'static {
    // Whoever looks at the workers sees those that hold their agents to nothing.
    let remark = if config.sandbox == Sandbox::Off { " (sandbox off)" } else { "" };
    let (id, host) = (config.id.clone(), format!("{}{remark}", config.host));
    let (slots, draining, served, holds) = (slots.clone(), draining.clone(), Arc::clone(served), holds.clone());
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    move || Record {
        id: id.clone(),
        kind: Kind::Worker,
        agents: served.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        slots: count(slots.total()),
        slots_used: count(slots.used()),
        partitions: Vec::new(),
        started_at,
        host: host.clone(),
        draining: draining.is_cancelled(),
        held: holds.told(),
        version: env!("CARGO_PKG_VERSION").into(),
    }
}
