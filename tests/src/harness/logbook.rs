//! Follows the run logs while a test goes on: the truth about what is open, from the log and nobody's memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use kapelle_bus::Bus;
use kapelle_bus::tail::{Read, Tail};
use kapelle_coordinator::plans::PlanStore;
use kapelle_engine::{Body, Channel, Record, Run};
use kapelle_proto::{decode_record, stream, subject};
use kapelle_types::{Partition, RunId};
use tokio::task::JoinHandle;

use super::wait::eventually;

/// A reader of all partitions, from their beginning on.
#[derive(Debug)]
pub struct Logbook {
    bus: Bus,
    pages: Arc<Mutex<Pages>>,
    readers: Vec<JoinHandle<()>>,
}

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Pages {
    pub(super) runs: BTreeMap<RunId, Vec<Record>>,
    submitted: BTreeSet<RunId>,
    marked: BTreeSet<RunId>,
    reports: usize,
    /// Messages that are no entries.
    pub(super) garbage: usize,
    read: BTreeMap<Partition, u64>,
}

impl Logbook {
    /// Begins to read.
    #[must_use]
    pub fn open(bus: Bus) -> Self {
        let pages: Arc<Mutex<Pages>> = Arc::default();
        let reader = |partition| {
            let (bus, pages) = (bus.clone(), Arc::clone(&pages));
            tokio::spawn(async move {
                let mut tail = Tail::start(bus, partition, 0);
                while let Some(chunk) = tail.next().await {
                    let mut pages = pages.lock().unwrap();
                    chunk.into_iter().for_each(|read| pages.note(partition, read));
                }
            })
        };
        let readers = bus.partitions().all().map(reader).collect();
        Self { bus, pages, readers }
    }

    /// The broker that it reads from.
    #[must_use]
    pub const fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Runs that were submitted.
    #[must_use]
    pub fn submitted(&self) -> usize {
        self.pages().submitted.len()
    }

    /// Runs that were submitted and whose end is not marked.
    #[must_use]
    pub fn open_runs(&self) -> usize {
        let pages = self.pages();
        pages.submitted.difference(&pages.marked).count()
    }

    /// The runs that were submitted and whose end is not marked.
    #[must_use]
    pub fn open_ids(&self) -> Vec<RunId> {
        let pages = self.pages();
        pages.submitted.difference(&pages.marked).copied().collect()
    }

    /// Steps that workers reported as done, repeats included.
    #[must_use]
    pub fn reports(&self) -> usize {
        self.pages().reports
    }

    /// Waits until so many more reports were made than there are now: work goes on.
    pub async fn work_goes_on(&self, reports: usize) {
        let enough = self.reports() + reports;
        eventually("work goes on", || async { (self.reports() >= enough).then_some(()) }).await;
    }

    /// Waits until every submitted run has its mark.
    pub async fn all_ended(&self) {
        let what = "every run ends";
        eventually(what, || async { (self.submitted() > 0 && self.open_runs() == 0).then_some(()) }).await;
    }

    /// Waits until everything that stands in the logs now is read.
    pub async fn up_to_date(&self) {
        for partition in self.bus.partitions().all() {
            let last = eventually("the log's end", || self.last_seq(partition)).await;
            eventually("the log is read", || async {
                let read = self.pages().read.get(&partition).copied().unwrap_or(0);
                (read >= last).then_some(())
            })
            .await;
        }
    }

    /// The logs of all runs that stand there now, each with its run before its first entry.
    ///
    /// # Panics
    /// If the plan of a run is not registered.
    pub async fn logs(&self) -> Vec<(Run, Vec<Record>)> {
        self.up_to_date().await;
        let plans = PlanStore::open(&self.bus).await.expect("the registry is there");
        let logs = self.pages().runs.clone();
        let mut begun = Vec::new();
        for (id, records) in logs {
            let Some(Body::RunSubmitted(first)) = records.first().map(|r| &r.entries[0].body) else { continue };
            begun.push((plans.begin(id, first).await.expect("the plan of a run is registered"), records));
        }
        begun
    }

    /// Where the last message of a run stands; timers stand in the same stream and are not followed.
    async fn last_seq(&self, partition: Partition) -> Option<u64> {
        let stream = self.bus.jetstream().get_stream_no_info(stream::runs(partition)).await.ok()?;
        match stream.get_last_raw_message_by_subject(&subject::runs_filter(partition)).await {
            Ok(message) => Some(message.sequence),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Some(0),
            Err(_) => None,
        }
    }

    pub(super) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap()
    }
}

impl Drop for Logbook {
    fn drop(&mut self) {
        self.readers.iter().for_each(JoinHandle::abort);
    }
}

impl Pages {
    fn note(&mut self, partition: Partition, read: Read) {
        let raw = match read {
            Read::Foreign { seq } => {
                self.read.insert(partition, seq);
                return;
            }
            Read::Record(raw) => raw,
        };
        self.read.insert(partition, raw.stamp.seq);
        let Ok(record) = decode_record(raw.channel, raw.stamp, &raw.payload) else {
            self.garbage += 1;
            return;
        };
        for entry in &record.entries {
            match &entry.body {
                _ if record.channel == Channel::Report && !matches!(entry.body, Body::StepSucceeded(_)) => {}
                Body::RunSubmitted(_) => drop(self.submitted.insert(raw.run)),
                Body::RunFinished(_) => drop(self.marked.insert(raw.run)),
                Body::StepSucceeded(_) => self.reports += 1,
                _ => {}
            }
        }
        self.runs.entry(raw.run).or_default().push(record);
    }
}
