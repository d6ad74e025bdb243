//! Load: keyed jobs, as many open at once as are asked for, each submitted until it is acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kapelle_types::RunId;
use serde_json::Value;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::api::{Api, job};
use super::logbook::Logbook;

/// Submissions on their way at once.
const IN_FLIGHT_MAX: usize = 64;
/// How often the pump looks whether more is wanted.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The runs that were acknowledged, by idempotency key.
pub type Acked = BTreeMap<String, RunId>;

/// Submits in the background, over all coordinators, whatever happens to them.
#[derive(Debug)]
pub struct Pump {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Acked>,
}

impl Pump {
    /// Keeps `open` runs open, by the log, until it is stopped; `most` in all. The input is a function of the number.
    #[must_use]
    pub fn start(
        api: Api,
        book: Arc<Logbook>,
        workflow: &'static str,
        (open, most): (usize, usize),
        input: impl Fn(usize) -> Value + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let (mut acked, mut asked, mut on_their_way) = (Acked::new(), 0, JoinSet::new());
            while !stopped.load(Ordering::Relaxed) && asked < most {
                let unseen = asked.saturating_sub(book.submitted());
                let wanted = open.saturating_sub(book.open_runs() + unseen);
                for _ in 0..wanted.min(IN_FLIGHT_MAX - on_their_way.len()).min(most - asked) {
                    let (api, key, input) = (api.clone(), format!("job-{asked}"), input(asked));
                    asked += 1;
                    on_their_way.spawn(async move {
                        let answer = api.submit_surely(&job(workflow, Some(&key), &input)).await;
                        (key, answer.run_id.parse().expect("a run id"))
                    });
                }
                while let Some(answer) = on_their_way.try_join_next() {
                    acked.extend([answer.expect("every job is acknowledged")]);
                }
                sleep(LOOK_EVERY).await;
            }
            acked.extend(on_their_way.join_all().await);
            acked
        });
        Self { stop, task }
    }

    /// Submits nothing more; what was acknowledged.
    ///
    /// # Panics
    /// If a job was not.
    pub async fn stop(self) -> Acked {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("every job is acknowledged")
    }

    /// Waits until all that was asked for is submitted; what was acknowledged.
    ///
    /// # Panics
    /// If a job was not.
    pub async fn end(self) -> Acked {
        self.task.await.expect("every job is acknowledged")
    }
}
