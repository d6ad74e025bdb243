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
use kapelle_bus::schedules::{News, Schedules, Seen};
use kapelle_telemetry::clock;
use kapelle_types::{Namespace, Partition, RunId, ScheduleName, WorkflowName};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::identity::TokenCache;
use crate::plans::PlanStore;
use crate::submit::Submitter;

pub(crate) use known::{Held, Known};

/// Schedules that are tended at once: each waits for the broker most of the time, twice for a run that it starts. Those that are
/// due at the same moment are as late as their number over this many times what that takes.
const AT_ONCE_MAX: usize = 256;
/// How soon is looked again: at what could not be decided, at open runs that something waits for, and at the clock.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
        let mut ours = self.ours.clone();
        self.known.serve(ours.borrow_and_update().clone());
        let mut first = Some(HashSet::new());
        loop {
            let now = clock::now();
            while tended.len() < AT_ONCE_MAX
                && let Some(held) = self.known.take_due(now)
            {
                tended.push(self.tend(held));
            }
            // What is due and has no room yet is looked at when something else was tended.
            let next = self.known.next().filter(|at| *at > now);
            let pause = next.map_or(LOOK_EVERY, |at| at.since(now).min(LOOK_EVERY));
            tokio::select! {
                () = stop.cancelled() => break,
                Some((name, again)) = tended.next(), if !tended.is_empty() => self.known.put_back(&name, again),
                change = news.recv() => match change {
                    Some(News::Schedule(name, seen)) => {
                        first.iter_mut().for_each(|first| first.extend([name.clone()]));
                        self.learn(name, seen.map(|seen| *seen));
                    }
                    // What was deleted while nobody watched is not told.
                    Some(News::CaughtUp) => if let Some(there) = first.take() { self.known.retain(&there) },
                    None => break,
                },
                changed = ours.changed() => match changed {
                    Ok(()) => self.known.serve(ours.borrow_and_update().clone()),
                    Err(_) => break,
                },
                () = tokio::time::sleep(pause) => {}
            }
        }
        // What was begun is brought to its end: a run that is not written down would have to be found again.
        while let Some((name, again)) = tended.next().await {
            self.known.put_back(&name, again);
        }
    }

    fn learn(&self, name: ScheduleName, seen: Option<Seen>) {
        let partition = self.partition(&name);
        self.known.learn(name, partition, seen);
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
