//! Runs schedules: each coordinator knows them all, and tends those of its partitions.
//!
//! ```text
//!   bucket `schedules` ──watch──▶ Known ──agenda──▶ due and ours ──▶ tend: look at open runs, decide, start, write back
//!        ▲                                                              │ over the very record that was seen
//!        └──────────────────────────────────────────────────────────────┘
//! ```
//!
//! A schedule belongs to the owner of the partition that its name falls to. Nothing depends on there being one owner alone: a
//! time is started under a key that derives from the schedule and the time, so that it is one run whoever starts it, and what
//! was decided is written over the record that it was decided from. A time is first a run and then written down; whoever takes
//! over in between finds the run by its key. What cannot be decided for now is decided again a second later.

mod known;
mod tend;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kapelle_bus::Bus;
use kapelle_bus::schedules::{News, Schedules};
use kapelle_telemetry::clock;
use kapelle_types::{Namespace, Partition, RunId, ScheduleName, Timestamp, WorkflowName};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::identity::TokenCache;
use crate::plans::PlanStore;
use crate::submit::Submitter;

pub(crate) use known::{Held, Known};

/// Schedules that are tended at once: each waits for the broker most of the time.
const AT_ONCE_MAX: usize = 64;
/// How soon is looked again: at what could not be decided, at open runs that something waits for, and at the clock.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How soon schedules that are due and others' are looked at: their owner may have gone.
const OTHERS_EVERY: Duration = Duration::from_millis(250);

/// Whoever runs schedules.
pub(crate) struct Scheduler {
    pub(crate) bus: Bus,
    pub(crate) store: Schedules,
    pub(crate) plans: Arc<PlanStore>,
    pub(crate) submitter: Arc<Submitter>,
    pub(crate) access: Arc<Access>,
    pub(crate) tokens: Arc<TokenCache>,
    pub(crate) namespace: Namespace,
    pub(crate) known: Arc<Known>,
    pub(crate) ours: watch::Receiver<BTreeSet<Partition>>,
}

impl Scheduler {
    /// Tends schedules until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.store.watch().await {
                Ok(news) => self.follow(news, &stop).await,
                Err(error) => tracing::debug!(%error, "the schedules cannot be watched right now"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Follows one watch until it ends.
    async fn follow(&self, mut news: mpsc::Receiver<News>, stop: &CancellationToken) {
        let mut tended = FuturesUnordered::new();
        let mut busy: HashSet<ScheduleName> = HashSet::new();
        let mut ours = self.ours.clone();
        let mut first = Some(HashSet::new());
        loop {
            let now = clock::now();
            for held in self.due(now, &busy, AT_ONCE_MAX - tended.len()) {
                busy.insert(held.name.clone());
                tended.push(self.tend(held));
            }
            let pause = self.pause(now, &busy);
            tokio::select! {
                () = stop.cancelled() => break,
                Some((name, again)) = tended.next(), if !tended.is_empty() => {
                    if let Some(at) = again {
                        self.known.look_at(&name, at);
                    }
                    busy.remove(&name);
                }
                change = news.recv() => match change {
                    Some(News::Schedule(name, seen)) => {
                        first.iter_mut().for_each(|first| first.extend([name.clone()]));
                        self.known.learn(name, seen.map(|seen| *seen));
                    }
                    // What was deleted while nobody watched is not told.
                    Some(News::CaughtUp) => if let Some(there) = first.take() { self.known.keep(&there) },
                    None => break,
                },
                changed = ours.changed() => if changed.is_err() { break },
                () = tokio::time::sleep(pause) => {}
            }
        }
        // What was begun is brought to its end: a run that is not written down would have to be found again.
        while tended.next().await.is_some() {}
    }

    /// What is due, ours and not being tended.
    fn due(&self, now: Timestamp, busy: &HashSet<ScheduleName>, at_most: usize) -> Vec<Arc<Held>> {
        let ours = self.ours.borrow();
        let tendable = |held: &Arc<Held>| !busy.contains(&held.name) && ours.contains(&self.partition(&held.name));
        self.known.due(now).filter(tendable).take(at_most).collect()
    }

    /// How long nothing has to be done.
    fn pause(&self, now: Timestamp, busy: &HashSet<ScheduleName>) -> Duration {
        let others = self.known.due(now).any(|held| !busy.contains(&held.name));
        let next = self.known.next(now).map_or(LOOK_EVERY, |at| at.since(now));
        next.min(if others { OTHERS_EVERY } else { LOOK_EVERY })
    }

    /// The partition whose owner tends a schedule.
    fn partition(&self, name: &ScheduleName) -> Partition {
        // Any run of its own would do; names of schedules are names of workflows by their shape.
        let named = name.as_str().parse::<WorkflowName>();
        named.map_or(Partition(0), |it| {
            self.bus.partitions().of(&RunId::keyed(self.namespace.as_str(), &it, "schedule"))
        })
    }
}
