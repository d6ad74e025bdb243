//! Serves the partitions that are ours, and lets go of the others.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kapelle_telemetry::metrics::{OLDEST_OVERDUE_TIMER, RUNS_OPEN, STALLED_RUNS};
use kapelle_types::Partition;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use crate::listing::{Answer, Query};
use crate::partition::service::{Asker, Config, Counts, Handle, Shared};

/// How often partitions that ended by themselves are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a partition that ended by itself (a newer build wrote to it) is left alone.
const LEAVE_ALONE: Duration = Duration::from_secs(30);

/// What every partition is served with.
#[derive(Clone)]
pub struct Template {
    /// Who serves.
    pub coordinator: String,
    /// Bytes of rebuilt runs kept in memory, over all partitions.
    pub cache_bytes_max: usize,
    /// Overdue runs looked at per second and partition.
    pub looks_per_second: usize,
}

/// The partitions that are being served. Cheap to clone.
#[derive(Clone)]
pub struct Served {
    handles: Arc<Mutex<HashMap<Partition, Handle>>>,
    own: watch::Sender<(BTreeSet<Partition>, u64)>,
}

impl Served {
    /// Follows `ours` until `stop`.
    #[must_use]
    pub fn start(
        template: Template,
        shared: Shared,
        mut ours: watch::Receiver<BTreeSet<Partition>>,
        own: watch::Sender<(BTreeSet<Partition>, u64)>,
        stop: CancellationToken,
    ) -> Self {
        let served = Self { handles: Arc::default(), own };
        let this = served.clone();
        tokio::spawn(async move {
            let mut resting: HashMap<Partition, tokio::time::Instant> = HashMap::new();
            loop {
                let wanted = ours.borrow_and_update().clone();
                this.follow(&wanted, &template, &shared, &mut resting).await;
                tokio::select! {
                    () = stop.cancelled() => return,
                    changed = ours.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        });
        served
    }

    async fn follow(
        &self,
        wanted: &BTreeSet<Partition>,
        template: &Template,
        shared: &Shared,
        resting: &mut HashMap<Partition, tokio::time::Instant>,
    ) {
        let mut handles = self.handles.lock().await;
        let over: Vec<Partition> = handles.iter().filter(|(_, h)| h.is_over()).map(|(p, _)| *p).collect();
        for partition in over {
            handles.remove(&partition);
            resting.insert(partition, tokio::time::Instant::now() + LEAVE_ALONE);
        }
        resting.retain(|_, until| *until > tokio::time::Instant::now());
        let surplus: Vec<Partition> = handles.keys().filter(|p| !wanted.contains(p)).copied().collect();
        let leaving: Vec<Handle> = surplus.iter().filter_map(|p| handles.remove(p)).collect();
        futures::future::join_all(leaving.into_iter().map(Handle::stop)).await;
        for partition in wanted {
            if handles.contains_key(partition) || resting.contains_key(partition) {
                continue;
            }
            let config = Config {
                partition: *partition,
                coordinator: template.coordinator.clone(),
                cache_bytes_max: template.cache_bytes_max / usize::from(shared.bus.partitions().count()),
                looks_per_second: template.looks_per_second,
            };
            handles.insert(*partition, Handle::start(config, shared.clone()));
        }
        let counts: Vec<Counts> = handles.values().map(Handle::counts).collect();
        self.own.send_replace((handles.keys().copied().collect(), observe(&counts)));
    }

    /// Whether a partition is served here.
    #[must_use]
    pub fn serves(&self, partition: Partition) -> bool {
        self.own.borrow().0.contains(&partition)
    }

    /// The partitions that are served here.
    #[must_use]
    pub fn partitions(&self) -> Vec<Partition> {
        self.own.borrow().0.iter().copied().collect()
    }

    /// The runs of our partitions that match.
    pub async fn list(&self, query: &Query) -> Answer {
        let mut answer = Answer::default();
        for (_, asker) in self.askers().await {
            answer.merge(asker.list(query.clone()).await, query.limit);
        }
        answer
    }

    /// Who answers questions about each of our partitions.
    pub(crate) async fn askers(&self) -> Vec<(Partition, Asker)> {
        self.handles.lock().await.iter().map(|(partition, handle)| (*partition, handle.asker())).collect()
    }

    /// Lets all partitions go.
    pub async fn stop(&self) {
        let handles: Vec<Handle> = self.handles.lock().await.drain().map(|(_, h)| h).collect();
        futures::future::join_all(handles.into_iter().map(Handle::stop)).await;
    }
}

/// Shows the sums over our partitions and says how many runs are open.
#[allow(clippy::cast_precision_loss)] // counts far below 2^52
fn observe(counts: &[Counts]) -> u64 {
    let open: usize = counts.iter().map(|c| c.open).sum();
    let stalled: usize = counts.iter().map(|c| c.stalled).sum();
    let overdue = counts.iter().map(|c| c.overdue).max().unwrap_or_default();
    RUNS_OPEN.gauge(&[]).set(open as f64);
    STALLED_RUNS.gauge(&[]).set(stalled as f64);
    OLDEST_OVERDUE_TIMER.gauge(&[]).set(overdue.as_secs_f64());
    open as u64
}
