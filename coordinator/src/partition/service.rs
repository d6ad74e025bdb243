//! A partition that is being served: taken, driven, asked, let go.

use std::sync::Arc;
use std::time::Duration;

use kapelle_bus::Bus;
use kapelle_types::Partition;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::driver::{Driver, Why};
use crate::access::Access;
use crate::audit::Trail;
use crate::listing::{Answer, Query};
use crate::pinned::{Pinned, Wanted};
use crate::plans::PlanStore;
use crate::rollout::Outcomes;
use crate::runs::Waiters;
use crate::submit::Submitter;
use crate::turns::Takers;

/// How long a partition that cannot be taken is left alone.
const TAKE_AGAIN: Duration = Duration::from_millis(500);

/// What a partition is served with.
#[derive(Clone)]
pub struct Config {
    /// Which one.
    pub partition: Partition,
    /// Who serves it.
    pub coordinator: String,
    /// Bytes of rebuilt runs kept in memory.
    pub cache_bytes_max: usize,
    /// Overdue runs looked at per second, at most.
    pub looks_per_second: usize,
}

/// What a partition shares with the rest of the coordinator.
#[derive(Clone)]
pub struct Shared {
    /// The broker.
    pub bus: Bus,
    /// Compiled plans.
    pub plans: Arc<PlanStore>,
    /// Who waits for which run.
    pub waiters: Arc<Waiters>,
    /// Who records the runs that runs want.
    pub submitter: Arc<Submitter>,
    /// Whose tasks take turns.
    pub(crate) takers: Arc<Takers>,
    /// What versions do that are being brought in.
    pub outcomes: Arc<Outcomes>,
    /// Where refusals are put on record.
    pub(crate) trail: Arc<Trail>,
    /// Whether those who agreed still may.
    pub(crate) access: Arc<Access>,
}

/// A partition that is being served.
pub struct Handle {
    stop: CancellationToken,
    task: JoinHandle<()>,
    questions: mpsc::Sender<Question>,
    open: watch::Receiver<Counts>,
}

/// How many runs of the partition are open.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Not finished.
    pub open: usize,
    /// Of these, waiting for people.
    pub stalled: usize,
    /// How long the most overdue one has been waiting for a look.
    pub overdue: Duration,
}

/// What is asked of a running partition.
pub(super) enum Question {
    /// A listing.
    List(Query, oneshot::Sender<Answer>),
    /// The open runs that are pinned to an agent.
    Pinned(Wanted, oneshot::Sender<Pinned>),
}

/// Asks a running partition.
#[derive(Clone)]
pub struct Asker(mpsc::Sender<Question>);

impl Asker {
    /// The runs of the partition that match; nothing if it is being let go.
    pub async fn list(&self, query: Query) -> Answer {
        let (answer, answered) = oneshot::channel();
        if self.0.send(Question::List(query, answer)).await.is_err() {
            return Answer::default();
        }
        answered.await.unwrap_or_default()
    }

    /// The open runs of the partition that are pinned to an agent; `None` if it is being let go.
    pub async fn pinned(&self, wanted: Wanted) -> Option<Pinned> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Question::Pinned(wanted, answer)).await.ok()?;
        answered.await.ok()
    }
}

impl Handle {
    /// Starts serving.
    #[must_use]
    pub fn start(config: Config, shared: Shared) -> Self {
        let stop = CancellationToken::new();
        let (questions, asked) = mpsc::channel(16);
        let (counts, open) = watch::channel(Counts::default());
        let serving = serve(config, shared, stop.clone(), asked, counts);
        Self { stop, task: tokio::spawn(serving), questions, open }
    }

    /// Who answers questions about the partition.
    #[must_use]
    pub fn asker(&self) -> Asker {
        Asker(self.questions.clone())
    }

    /// How many runs are open now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *self.open.borrow()
    }

    /// Whether it serves no more, for a reason of its own.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Lets the partition go: reads no more, waits for what is in flight, writes the cursor.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

/// Takes the partition, again and again until it succeeds, and serves it until it is stopped.
async fn serve(
    config: Config,
    shared: Shared,
    stop: CancellationToken,
    mut asked: mpsc::Receiver<Question>,
    counts: watch::Sender<Counts>,
) {
    let partition = config.partition;
    while !stop.is_cancelled() {
        let taken = tokio::select! {
            () = stop.cancelled() => return,
            taken = Driver::take(&config, &shared) => taken,
        };
        match taken {
            Ok(mut driver) => {
                tracing::info!(%partition, cursor = driver.cursor(), "serving the partition");
                let why = driver.run(&stop, &mut asked, &counts).await;
                driver.let_go().await;
                match why {
                    Why::Stopped => return,
                    Why::Newer(reason) => {
                        tracing::error!(%partition, reason, "entries of a newer build; letting the partition go");
                        return;
                    }
                    Why::StreamChanged => {
                        tracing::warn!(%partition, "the log is another one; starting from what is there")
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%partition, %error, "cannot take the partition yet");
                sleep(TAKE_AGAIN).await;
            }
        }
    }
}
