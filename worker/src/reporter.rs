//! Reports into the run log: one write in flight per run, what comes meanwhile goes together into the next.
//!
//! ```text
//!   executor ──Report──▶ reporter ──LogRecord──▶ kapelle.run.<p>.<run>.report
//!                           │◀──stored──────────────┘
//!                           └──+ACK──▶ TASKS, and the slot of credit is free
//! ```
//!
//! A run's fan-out of a thousand so costs a few dozen writes; different runs never wait for each other. A report is
//! repeated until it is stored: the log ignores what it has already. The task is acknowledged after that.

mod groups;

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kapelle_bus::Bus;
use kapelle_engine::{Channel, Entry};
use kapelle_proto::encode_record;
use kapelle_retry::{Delays, Policy};
use kapelle_types::RunId;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::lease::{Key, Leases};
use groups::{Group, Groups};

/// Reports that may wait for the reporter; beyond it executors wait. A few milliseconds of the highest rate.
const WAITING_MAX: usize = 1_024;
/// Reports that are taken in at once, so that those of one run meet before the first is written.
const TAKEN_AT_ONCE_MAX: usize = 256;

/// What is to be said about an attempt, and whose task is acknowledged when it is stored.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) entry: Entry,
    /// About how many bytes the entry takes in a record.
    pub(crate) bytes: usize,
    pub(crate) key: Key,
    pub(crate) leases: Arc<Leases>,
}

/// Where reports are handed in.
#[derive(Debug, Clone)]
pub(crate) struct Sender(mpsc::Sender<Report>);

impl Sender {
    /// Hands a report in; waits while too many are waiting.
    pub(crate) async fn send(&self, report: Report) {
        // It fails only when the reporter is gone, and then the whole worker is: the task comes back by its lease.
        let _ = self.0.send(report).await;
    }
}

/// Starts the reporter. It ends when every sender is gone and everything is stored.
pub(crate) fn start(bus: Bus) -> (Sender, JoinHandle<()>) {
    let (sender, inbox) = mpsc::channel(WAITING_MAX);
    let reporter = Reporter { bus: Arc::new(bus), groups: Groups::default(), writes: FuturesUnordered::new() };
    (Sender(sender), tokio::spawn(reporter.run(inbox)))
}

type Write = Pin<Box<dyn Future<Output = (RunId, Group)> + Send>>;

struct Reporter {
    bus: Arc<Bus>,
    groups: Groups,
    writes: FuturesUnordered<Write>,
}

impl Reporter {
    async fn run(mut self, mut inbox: mpsc::Receiver<Report>) {
        let mut taken = Vec::with_capacity(TAKEN_AT_ONCE_MAX);
        let mut open = true;
        while open || !self.writes.is_empty() {
            tokio::select! {
                Some((run, group)) = self.writes.next(), if !self.writes.is_empty() => self.stored(run, group).await,
                count = inbox.recv_many(&mut taken, TAKEN_AT_ONCE_MAX), if open => {
                    open = count > 0;
                    for report in taken.drain(..) {
                        self.groups.add(report);
                    }
                    while let Some((run, group)) = self.groups.next_idle() {
                        self.write(run, group);
                    }
                }
            }
        }
    }

    /// Acknowledges what was stored and writes what came meanwhile.
    async fn stored(&mut self, run: RunId, group: Group) {
        if let Some(next) = self.groups.next_of(run) {
            self.write(run, next);
        }
        for (leases, key) in group.held {
            if let Some(delivery) = leases.release(&key) {
                delivery.ack().await;
            }
        }
    }

    fn write(&self, run: RunId, group: Group) {
        let record = encode_record(&group.entries);
        let bus = Arc::clone(&self.bus);
        self.writes.push(Box::pin(async move {
            append_until_stored(&bus, run, record).await;
            (run, group)
        }));
    }
}

/// Repeats an append until the broker has it.
async fn append_until_stored(bus: &Bus, run: RunId, record: Bytes) {
    let mut delays: Option<Delays> = None;
    loop {
        let stored = match bus.append(run, Channel::Report, record.clone()).await {
            Ok(ack) => ack.await,
            Err(error) => Err(error),
        };
        let Err(error) = stored else { return };
        metrics::counter!("kapelle_report_retries_total").increment(1);
        if delays.is_none() || !error.is_transient() {
            tracing::warn!(%run, %error, transient = error.is_transient(), "a report is not stored yet; trying again");
        }
        let delay = delays.get_or_insert_with(|| Delays::new(&Policy::default())).next();
        tokio::time::sleep(delay).await;
    }
}
