//! Gives out turns: where tasks of an agent version differ in priority, fairness key or a limit by key, they wait, and go to
//! the queue in the order that these say.
//!
//! ```text
//!   dispatch ─▶ WAITING ─▶ lanes (priority, fairness key, limit) ─▶ window (what workers can take) ─▶ TASKS ─▶ workers
//! ```
//!
//! The tasks of most agent versions say nothing of all this and are queued at once. From the first that does on, all tasks of
//! its agent version take turns, so that none is overtaken by those that say nothing. One coordinator gives out the turns of an
//! agent version: the owner of the partition that it falls to. Two who believe that they do take tasks from each other and never
//! give out one twice; what one takes and does not queue, because it dies, is missed in the queue and dispatched again. See
//! `docs/adr/0020-tasks-take-turns.md`.

mod keys;
mod lanes;
mod recent;
mod tend;
mod window;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kapelle_bus::presence::Kind;
use kapelle_bus::tasks::QueueState;
use kapelle_bus::turns::Turns;
use kapelle_bus::{Acknowledgement, Bus, Error};
use kapelle_engine::TaskToken;
use kapelle_proto::subject::TaskSubject;
use kapelle_types::{AgentVersion, Flow, Partition, Partitions, Sha256};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use tend::Tender;

/// How often is looked who works, and how long a watch that broke off is left alone.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The agent versions whose tasks take turns, as every coordinator knows them.
pub(crate) struct Takers {
    bus: Bus,
    store: Turns,
    known: watch::Sender<Arc<BTreeSet<AgentVersion>>>,
}

/// How many tasks of each agent version the workers execute at once.
#[derive(Debug, Clone, Default)]
struct Capacity(HashMap<AgentVersion, u64>);

/// Whoever gives out the turns of the agent versions that fall to our partitions.
pub(crate) struct Giver {
    pub(crate) bus: Bus,
    pub(crate) takers: Arc<Takers>,
    pub(crate) ours: watch::Receiver<BTreeSet<Partition>>,
}

impl Takers {
    /// Nobody takes turns, as far as is known yet.
    pub(crate) async fn open(bus: &Bus) -> Result<Arc<Self>, Error> {
        let (known, _) = watch::channel(Arc::default());
        Ok(Arc::new(Self { bus: bus.clone(), store: Turns::open(bus).await?, known }))
    }

    /// Whether the tasks of an agent version take turns.
    pub(crate) fn contains(&self, agent: &AgentVersion) -> bool {
        let known = self.known.borrow();
        !known.is_empty() && known.contains(agent)
    }

    /// Makes the tasks of an agent version take turns, if they do not.
    async fn admit(&self, agent: &AgentVersion) -> Result<(), Error> {
        if !self.contains(agent) {
            self.store.take_turns(agent).await?;
            self.learn(agent.clone());
        }
        Ok(())
    }

    /// How much waits in the queue of an agent version, tasks that wait for their turn among those that are pending.
    pub(crate) async fn queue_state(&self, agent: &AgentVersion) -> Result<QueueState, Error> {
        let mut state = self.bus.queue_state(agent).await?;
        if self.contains(agent) {
            state.pending += self.bus.waiting_count(agent).await?;
        }
        Ok(state)
    }

    /// How an attempt stands among those that wait for their turn, if it is one of them.
    pub(crate) async fn turn(&self, task: &TaskSubject) -> Result<Option<Flow>, Error> {
        if self.contains(&task.agent) { self.bus.flow_of_waiting(task).await } else { Ok(None) }
    }

    /// Queues an attempt, or lets it wait for its turn. `AlreadyThere` in the acknowledgement means that it is queued or waits
    /// already; no acknowledgement that it is at work.
    pub(crate) async fn dispatch(
        &self,
        task: &TaskSubject,
        flow: Option<&Flow>,
        message: Bytes,
        again: bool,
    ) -> Result<Option<Acknowledgement>, Error> {
        if flow.is_some() {
            self.admit(&task.agent).await?;
        } else if !self.contains(&task.agent) {
            return self.bus.queue_task(task, message).await.map(Some);
        }
        // What waits can be let in at any moment: one that is at work shall not wait once more.
        if again && self.bus.is_queued(task).await? {
            return Ok(None);
        }
        let plain = Flow::default();
        self.bus.wait_for_turn(task, flow.unwrap_or(&plain), message).await.map(Some)
    }

    /// Takes an attempt out, wherever it stands.
    pub(crate) async fn withdraw(&self, task: &TaskSubject, token: Option<&TaskToken>) -> Result<(), Error> {
        if self.contains(&task.agent) {
            self.bus.wait_no_more(task).await?;
        }
        self.bus.withdraw_task(task, token).await
    }

    fn learn(&self, agent: AgentVersion) {
        self.known.send_if_modified(|known| !known.contains(&agent) && Arc::make_mut(known).insert(agent));
    }

    /// Follows what is said of turns until `stop`.
    pub(crate) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.store.watch().await {
                Ok(mut marks) => {
                    while let Some(agent) = tokio::select! {
                        () = stop.cancelled() => None,
                        agent = marks.recv() => agent,
                    } {
                        self.learn(agent);
                    }
                }
                Err(error) => tracing::debug!(%error, "who takes turns cannot be watched right now"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }
}

impl Capacity {
    fn of(&self, agent: &AgentVersion) -> u64 {
        self.0.get(agent).copied().unwrap_or(0)
    }
}

impl Giver {
    /// Gives out turns until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let (capacity, seen) = watch::channel(Capacity::default());
        let mut known = self.takers.known.subscribe();
        let mut tended: BTreeMap<AgentVersion, (CancellationToken, JoinHandle<()>)> = BTreeMap::new();
        loop {
            let wanted = self.wanted(&known.borrow_and_update());
            if !wanted.is_empty() {
                self.look(&capacity).await;
            }
            let gone: Vec<_> = tended.extract_if(.., |agent, _| !wanted.contains(agent)).collect();
            gone.into_iter().for_each(|(_, (stop, _))| stop.cancel());
            for agent in wanted {
                tended.entry(agent.clone()).or_insert_with(|| {
                    let stop = stop.child_token();
                    let (bus, store) = (self.bus.clone(), self.takers.store.clone());
                    let tender = Tender { bus, store, agent, capacity: seen.clone() };
                    (stop.clone(), tokio::spawn(tender.run(stop)))
                });
            }
            tokio::select! {
                () = stop.cancelled() => break,
                changed = self.ours.changed() => if changed.is_err() { break },
                _ = known.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        // What was taken is brought into the queue.
        for (stop, task) in tended.into_values() {
            stop.cancel();
            let _ = task.await;
        }
    }

    /// Of the agent versions whose tasks take turns, those that are ours.
    fn wanted(&mut self, known: &BTreeSet<AgentVersion>) -> BTreeSet<AgentVersion> {
        let ours = self.ours.borrow_and_update();
        let is_ours = |agent: &&AgentVersion| {
            falls_to(self.bus.partitions(), &agent.to_string()).is_some_and(|it| ours.contains(&it))
        };
        known.iter().filter(is_ours).cloned().collect()
    }

    /// Who works, and how much of each at once.
    async fn look(&self, capacity: &watch::Sender<Capacity>) {
        let Ok(present) = self.bus.present().await else { return };
        let mut slots = Capacity::default();
        for worker in present.iter().filter(|it| it.kind == Kind::Worker && !it.draining) {
            for agent in worker.agents.iter().filter(|agent| worker.held.iter().all(|held| held.agent != **agent)) {
                *slots.0.entry(agent.clone()).or_default() += u64::from(worker.slots);
            }
        }
        capacity.send_replace(slots);
    }
}

/// The partition whose owner looks after what has this name: gives out the turns of an agent version, say.
pub(crate) fn falls_to(partitions: Partitions, name: &str) -> Option<Partition> {
    let digest = Sha256::of(name.as_bytes());
    let number = digest.0.iter().take(8).fold(0, |number: usize, byte| number << 8 | usize::from(*byte));
    let all: Vec<Partition> = partitions.all().collect();
    all.get(number % all.len().max(1)).copied()
}
