//! What is registered, kept current by watching the registry, and what a job resolves to.

mod resolved;
mod snapshot;

pub use resolved::Resolved;
pub use snapshot::Snapshot;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use kapelle_bus::Bus;
use kapelle_bus::provision::ensure_queue;
use kapelle_bus::registry::{Kind, Registered, Registry};
use kapelle_engine::KeyId;
use kapelle_types::{AgentVersion, Diagnosis};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::plans::PlanStore;

/// How long opening waits for the registry's content.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);
/// How soon a watch of the registry that ended or could not begin is begun again.
const WATCH_AGAIN: Duration = Duration::from_millis(250);

/// The registered manifests.
pub struct Catalog {
    registry: Registry,
    bus: Bus,
    plans: Arc<PlanStore>,
    snapshot: ArcSwap<Snapshot>,
    caught_up: Notify,
}

impl Catalog {
    /// Reads what is registered and follows what comes, until `stop`.
    ///
    /// # Errors
    /// The broker is not ready.
    pub async fn open(
        bus: &Bus,
        plans: Arc<PlanStore>,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, kapelle_bus::Error> {
        let registry = Registry::open(bus).await?;
        let snapshot = ArcSwap::from_pointee(Snapshot::default());
        let catalog = Arc::new(Self { registry, bus: bus.clone(), plans, snapshot, caught_up: Notify::new() });
        let caught_up = catalog.caught_up.notified();
        tokio::spawn(Arc::clone(&catalog).follow(stop));
        match tokio::time::timeout(OPEN_PATIENCE, caught_up).await {
            Ok(()) => Ok(Arc::clone(&catalog)),
            Err(_) => Err(kapelle_bus::Error::Unavailable("the registry does not answer".into())),
        }
    }

    /// What is registered now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Every registered agent version.
    #[must_use]
    pub fn agent_versions(&self) -> Vec<AgentVersion> {
        self.snapshot.load().agent_versions()
    }

    /// What a job's workflow and version requirement resolve to: the highest match, its agents pinned.
    ///
    /// # Errors
    /// `UNKNOWN_WORKFLOW`, `UNKNOWN_AGENT`, `REQUEST_INVALID`, `PLAN_MISSING`.
    pub fn resolve(&self, workflow: &str, requirement: &str) -> Result<Arc<Resolved>, Diagnosis> {
        self.snapshot.load().resolve(workflow, requirement, &self.plans)
    }

    /// The signing key that new runs are submitted under.
    pub(crate) fn newest_key(&self) -> KeyId {
        self.plans.newest_key()
    }

    /// The registry itself.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Takes a record in at once, so that whoever registered it can use it with the next call.
    pub async fn learn(&self, record: &Registered) -> Result<(), kapelle_bus::Error> {
        if let Some(agent) = self.take(record) {
            let (version, concurrency) = agent;
            ensure_queue(self.bus.jetstream(), &version, concurrency).await?;
        }
        Ok(())
    }

    /// Makes the queue of every registered agent be there.
    ///
    /// # Errors
    /// The broker is not ready.
    pub(crate) async fn ensure_queues(&self) -> Result<(), kapelle_bus::Error> {
        for (agent, concurrency) in self.snapshot.load().queues() {
            ensure_queue(self.bus.jetstream(), &agent, concurrency).await?;
        }
        Ok(())
    }

    /// Adds a record to the snapshot; says which queue an agent needs.
    fn take(&self, record: &Registered) -> Option<(AgentVersion, u32)> {
        let before = self.snapshot.load_full();
        let (after, queue) = match before.with(record) {
            Ok(Some(changed)) => changed,
            Ok(None) => return None,
            Err(error) => {
                tracing::warn!(name = record.name, version = %record.version, %error, "a manifest cannot be read");
                return None;
            }
        };
        // Two may add at once: whoever comes second starts from what the first left.
        let previous = self.snapshot.compare_and_swap(&before, Arc::new(after));
        if Arc::ptr_eq(&previous, &before) { queue } else { self.take(record) }
    }

    async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut queues = Vec::new();
        while !stop.is_cancelled() {
            let Ok(mut records) = self.registry.watch().await else {
                tokio::time::sleep(WATCH_AGAIN).await;
                continue;
            };
            loop {
                let record = tokio::select! {
                    () = stop.cancelled() => return,
                    record = records.recv() => record,
                };
                match record {
                    Some(Some(record)) => queues.extend(self.take(&record)),
                    Some(None) => self.caught_up.notify_waiters(),
                    None => break,
                }
                for (agent, concurrency) in std::mem::take(&mut queues) {
                    if let Err(error) = ensure_queue(self.bus.jetstream(), &agent, concurrency).await {
                        tracing::warn!(%agent, %error, "its queue is not there yet");
                        queues.push((agent, concurrency));
                    }
                }
            }
            tokio::time::sleep(WATCH_AGAIN).await;
        }
    }
}

/// The name of a kind as people write it.
#[must_use]
pub const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Agent => "Agent",
        Kind::Workflow => "Workflow",
    }
}
