//! What is registered, kept current by watching the registry, and what a job resolves to.
//!
//! Others may ask how far everything here has followed the registry ([`Catalog::settled`]): beyond a sequence is only who
//! neither will resolve anything as it was before nor has something on its way that was. Whoever resolves and then writes
//! holds a [`Ticket`] meanwhile.

mod choice;
mod resolve;
mod resolved;
mod snapshot;
mod tickets;

pub use resolved::{Outgoing, Resolved};
pub use snapshot::Snapshot;
pub(crate) use snapshot::agent_of;
pub use tickets::Ticket;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use kapelle_bus::Bus;
use kapelle_bus::provision::ensure_queue;
use kapelle_bus::registry::{Change, Kind, News, Registered, Registry};
use kapelle_engine::{KeyId, RunSubmitted};
use kapelle_telemetry::clock;
use kapelle_types::{AgentVersion, Code, Diagnosis, RunId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::tickets::Tickets;
use crate::plans::PlanStore;
use snapshot::Queue;

/// How long opening waits for the registry's content.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);
/// How soon a watch of the registry that ended or could not begin is begun again.
const WATCH_AGAIN: Duration = Duration::from_millis(250);
/// How long is waited for the end of a time at least, and at most before the clock is looked at again.
const SUNSET_MIN: Duration = Duration::from_millis(1);
const SUNSET_MAX: Duration = Duration::from_secs(60);

/// The registered manifests.
pub struct Catalog {
    registry: Registry,
    bus: Bus,
    plans: Arc<PlanStore>,
    snapshot: ArcSwap<Snapshot>,
    tickets: Arc<Tickets>,
    caught_up: Notify,
    followed: Notify,
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
        let (caught_up, followed) = (Notify::new(), Notify::new());
        let (bus, tickets) = (bus.clone(), Arc::default());
        let catalog = Arc::new(Self { registry, bus, plans, snapshot, tickets, caught_up, followed });
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

    /// What a run of a workflow gets: the version that is released, or the highest that matches, with its agents pinned; of
    /// `None`, what runs get but those that are drawn for what is being brought in. That something is not
    /// registered is said only after all that is registered by now is known here: it may have been registered at another
    /// coordinator just now.
    ///
    /// # Errors
    /// `UNKNOWN_WORKFLOW`, `UNKNOWN_AGENT`, `REQUEST_INVALID`, `PLAN_MISSING`, `BROKER_UNAVAILABLE`.
    pub(crate) async fn resolve(
        &self,
        workflow: &str,
        requirement: &str,
        run: Option<RunId>,
    ) -> Result<Arc<Resolved>, Diagnosis> {
        let resolved = || self.snapshot.load().resolve((workflow, requirement), run, &self.plans);
        match resolved() {
            Err(unknown) if [Code::UNKNOWN_WORKFLOW, Code::UNKNOWN_AGENT].contains(&unknown.code) => {
                let unavailable = |e| Diagnosis::new(Code::BROKER_UNAVAILABLE, format!("{}: {e}", unknown.message));
                self.up_to_date().await.map_err(unavailable)?;
                resolved()
            }
            resolved => resolved,
        }
    }

    /// What an earlier submission resolved to, for another run of the same versions.
    ///
    /// # Errors
    /// `AGENT_RETIRED`, `PLAN_MISSING`.
    pub(crate) fn resolve_as(&self, submitted: &RunSubmitted) -> Result<Arc<Resolved>, Diagnosis> {
        self.snapshot.load().resolve_as(submitted).map(Arc::new)
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

    /// To be held by whoever resolves something and then writes it, from before the one until after the other.
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        Ticket::take(&self.tickets)
    }

    /// Up to which sequence the registry is followed by everything here, whoever holds a ticket included.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.tickets.settled()
    }

    /// Waits until everything that is registered by now is known here.
    ///
    /// # Errors
    /// The broker is not ready.
    pub(crate) async fn up_to_date(&self) -> Result<(), kapelle_bus::Error> {
        let last_seq = self.registry.last_seq().await?;
        let followed = async {
            loop {
                let more = self.followed.notified();
                if self.tickets.followed() >= last_seq {
                    return;
                }
                more.await;
            }
        };
        let late = |_| kapelle_bus::Error::Unavailable("the registry is not followed in time".into());
        tokio::time::timeout(OPEN_PATIENCE, followed).await.map_err(late)
    }

    /// Takes a record in at once, so that whoever registered it can use it with the next call.
    pub async fn learn(&self, record: &Registered) -> Result<(), kapelle_bus::Error> {
        if let Some(agent) = self.take(record) {
            let (version, limits) = agent;
            ensure_queue(self.bus.jetstream(), &version, limits).await?;
        }
        Ok(())
    }

    /// Makes a queue be as it should be, and has its workers look at it.
    async fn set_queue(&self, (agent, limits): &Queue) -> Result<(), kapelle_bus::Error> {
        ensure_queue(self.bus.jetstream(), agent, *limits).await?;
        self.bus.tell_to_look(agent).await
    }

    /// Stops the queue of an agent version, or lets it go on, as it stands.
    ///
    /// # Errors
    /// The broker is not ready.
    pub(crate) async fn settle_queue(&self, agent: &AgentVersion) -> Result<(), kapelle_bus::Error> {
        let queue = self.snapshot.load().queue(agent);
        match queue {
            Some(queue) => self.set_queue(&queue).await,
            None => Ok(()),
        }
    }

    /// Makes the queue of every registered agent be there.
    ///
    /// # Errors
    /// The broker is not ready.
    pub(crate) async fn ensure_queues(&self) -> Result<(), kapelle_bus::Error> {
        for (agent, limits) in self.snapshot.load().queues() {
            ensure_queue(self.bus.jetstream(), &agent, limits).await?;
        }
        Ok(())
    }

    /// Adds a record to the snapshot; says which queue an agent needs.
    fn take(&self, record: &Registered) -> Option<Queue> {
        let mut queue = None;
        self.change(|before| match before.with(record) {
            Ok(Some((after, needed))) => {
                queue = needed;
                Some(after)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(name = record.name, version = %record.version, %error, "a manifest cannot be read");
                None
            }
        });
        queue
    }

    /// Puts another snapshot in the place of this one, if there is another. Two may do it at once: whoever comes second
    /// starts from what the first left.
    fn change(&self, mut another: impl FnMut(&Snapshot) -> Option<Snapshot>) {
        loop {
            let before = self.snapshot.load_full();
            let Some(after) = another(&before) else { return };
            let previous = self.snapshot.compare_and_swap(&before, Arc::new(after));
            if Arc::ptr_eq(&previous, &before) {
                return;
            }
        }
    }

    /// Takes in what the registry tells; says which queue an agent needs.
    fn hear(&self, Change { seq, news }: Change) -> Option<Queue> {
        let mut queue = None;
        match &news {
            News::Registered(record) => queue = self.take(record),
            News::Standing(agent, standing) => {
                let closed = self.snapshot.load().closes_queue(agent);
                self.change(|before| before.standing(agent, standing.as_ref()));
                let now = self.snapshot.load();
                queue = now.queue(agent).filter(|_| now.closes_queue(agent) != closed);
            }
            News::Deprecation(agent, deprecation) => {
                let now = clock::now();
                self.change(|before| before.deprecating(agent, deprecation.as_ref(), now));
            }
            News::Release(subject, release) => self.change(|before| before.releasing(subject, release.as_ref())),
            News::Other | News::CaughtUp => {}
        }
        // After the snapshot: whoever reads this sequence resolves by nothing older.
        self.tickets.follow(seq);
        self.followed.notify_waiters();
        if news == News::CaughtUp {
            self.caught_up.notify_waiters();
        }
        queue
    }

    /// Waits until the time of some agent version is over.
    async fn sunset(&self) {
        match self.snapshot.load().next_sunset() {
            // A clock may be set: looked at again in a while, however far away it is.
            Some(at) => tokio::time::sleep(at.since(clock::now()).clamp(SUNSET_MIN, SUNSET_MAX)).await,
            None => std::future::pending().await,
        }
    }

    async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut queues = Vec::new();
        while !stop.is_cancelled() {
            let Ok(mut changes) = self.registry.watch().await else {
                tokio::time::sleep(WATCH_AGAIN).await;
                continue;
            };
            loop {
                let change = tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.sunset() => {
                        let now = clock::now();
                        self.change(|before| before.later(now));
                        continue;
                    }
                    change = changes.recv() => change,
                };
                let Some(change) = change else { break };
                queues.extend(self.hear(change));
                for (agent, _) in std::mem::take(&mut queues) {
                    // As it stands now, which may be otherwise than when it was heard.
                    let Some(queue) = self.snapshot.load().queue(&agent) else { continue };
                    if let Err(error) = self.set_queue(&queue).await {
                        tracing::warn!(%agent, %error, "its queue is not as it should be yet");
                        queues.push(queue);
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
