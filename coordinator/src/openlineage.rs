//! OpenLineage run events, for whoever collects lineage: derived from the run logs, beside everything that runs depend on.
//!
//! ```text
//!   RUNS_<p> ──a reader and a cursor of its own──▶ RunSubmitted: START   RunFinished: COMPLETE, FAIL, ABORT
//!                                                     └──▶ kapelle.event.lineage.<type>, acknowledged ──▶ the cursor moves
//! ```
//!
//! Whoever serves a partition publishes for it, if it was started with that. Nothing of it is on the way of a run: if the
//! broker does not take an event, the reader waits and no run does. An event is published at least once; a repeat has the
//! same `Nats-Msg-Id`, and the same run and type. A log is read from where it ends when events are switched on first, and from
//! the cursor afterwards, so that nothing is lost while nobody publishes but what the stream of events has let go of.

mod event;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use kapelle_bus::cursors::{Cursor, Cursors};
use kapelle_bus::runlog::RawRecord;
use kapelle_bus::tail::{Read, Tail};
use kapelle_bus::{Bus, Error};
use kapelle_engine::{Body, RunSubmitted};
use kapelle_proto::{decode_record, stream};
use kapelle_telemetry::metrics::LINEAGE_EVENTS;
use kapelle_types::{Namespace, Partition, RunId, Timestamp};
use lru::LruCache;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;
use crate::partitions::Served;
use event::{About, What, event};

/// How often is looked which partitions are ours.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How soon what the broker did not take is given to it again.
const AGAIN: Duration = Duration::from_secs(1);
/// Submissions of open runs that a partition remembers: beyond it, one read more for the run's end.
const SUBMISSIONS_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8_191);

/// What events are made with.
#[derive(Clone)]
pub(crate) struct Publisher {
    pub(crate) bus: Bus,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) namespace: Namespace,
}

impl Publisher {
    /// Publishes for the partitions that are served here, until `stop`.
    pub(crate) async fn run(self, served: Served, stop: CancellationToken) {
        let mut readers: HashMap<Partition, JoinHandle<()>> = HashMap::new();
        loop {
            let ours = served.partitions();
            readers.retain(|partition, reader| {
                let stays = ours.contains(partition) && !reader.is_finished();
                if !stays {
                    reader.abort();
                }
                stays
            });
            for partition in ours {
                let this = self.clone();
                readers.entry(partition).or_insert_with(|| tokio::spawn(async move { this.follow(partition).await }));
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(LOOK_EVERY) => {}
            }
        }
        readers.values().for_each(JoinHandle::abort);
    }

    async fn follow(self, partition: Partition) {
        let mut submissions = LruCache::new(SUBMISSIONS_MAX);
        loop {
            if let Err(error) = self.publish(partition, &mut submissions).await {
                tracing::debug!(%partition, %error, "lineage waits for the broker");
            }
            sleep(AGAIN).await;
        }
    }

    /// Reads on from the cursor until something fails.
    async fn publish(&self, partition: Partition, known: &mut LruCache<RunId, RunSubmitted>) -> Result<(), Error> {
        let cursors = Cursors::open(&self.bus).await?;
        let log = self.bus.stream_state(&stream::runs(partition)).await?;
        let cursor = cursors.load_lineage(partition).await?.filter(|it| it.stream_created == log.created);
        let (mut seq, stream_created) = (cursor.map_or(log.last_seq, |it| it.seq), log.created);
        cursors.save_lineage(partition, Cursor { seq, stream_created }).await?;
        let mut tail = Tail::start(self.bus.clone(), partition, seq);
        while let Some(chunk) = tail.next().await {
            let mut sent = Vec::new();
            for read in &chunk {
                seq = read.seq();
                if let Read::Record(raw) = read {
                    for (id, kind, body) in self.events(raw, known).await? {
                        sent.push(self.bus.publish_event(kind, headers(&id, kind), body).await?);
                    }
                }
            }
            let count = sent.len();
            for acknowledged in sent {
                acknowledged.await?;
            }
            LINEAGE_EVENTS.counter(&[]).increment(count as u64);
            cursors.save_lineage(partition, Cursor { seq, stream_created }).await?;
        }
        Ok(())
    }

    /// The events that a record is, with what identifies them and their type.
    async fn events(
        &self,
        raw: &RawRecord,
        known: &mut LruCache<RunId, RunSubmitted>,
    ) -> Result<Vec<(String, &'static str, Vec<u8>)>, Error> {
        // What cannot be read was passed over, and counted, by whoever drives the run.
        let Ok(record) = decode_record(raw.channel, raw.stamp, &raw.payload) else { return Ok(vec![]) };
        let mut events = Vec::new();
        for entry in record.entries {
            match entry.body {
                Body::RunSubmitted(submitted) => {
                    events.extend(self.event(raw.run, &submitted, What::Started, raw.stamp.at));
                    known.put(raw.run, *submitted);
                }
                Body::RunFinished(finished) => {
                    let submitted = match known.pop(&raw.run) {
                        Some(submitted) => Some(submitted),
                        None => self.submission(raw.run).await?,
                    };
                    if let Some(submitted) = submitted {
                        events.extend(self.event(raw.run, &submitted, What::Ended(&finished), raw.stamp.at));
                    }
                }
                Body::StepSucceeded(_)
                | Body::StepFailed(_)
                | Body::TimerFired { .. }
                | Body::SignalReceived(_)
                | Body::ApprovalDecided(_)
                | Body::ApprovalChecked(_)
                | Body::CancelRequested { .. }
                | Body::TerminateRequested { .. }
                | Body::PauseRequested { .. }
                | Body::ResumeRequested
                | Body::RetryRequested { .. }
                | Body::FailRequested { .. } => {}
            }
        }
        Ok(events)
    }

    /// What a run began with, read from its log.
    async fn submission(&self, run: RunId) -> Result<Option<RunSubmitted>, Error> {
        let first = self.bus.first_record(run).await?;
        let record = first.and_then(|raw| decode_record(raw.channel, raw.stamp, &raw.payload).ok());
        let entry = record.and_then(|it| it.entries.into_iter().next());
        Ok(entry.and_then(|it| if let Body::RunSubmitted(submitted) = it.body { Some(*submitted) } else { None }))
    }

    fn event(
        &self,
        run: RunId,
        submitted: &RunSubmitted,
        what: What<'_>,
        at: Timestamp,
    ) -> Option<(String, &'static str, Vec<u8>)> {
        let snapshot = self.catalog.snapshot();
        let workflow = snapshot.workflow(&submitted.workflow);
        let about = About { namespace: &self.namespace, run, submitted, workflow: workflow.as_deref() };
        let kind = match what.event_type() {
            "START" => "lineage.start",
            "COMPLETE" => "lineage.complete",
            "ABORT" => "lineage.abort",
            _ => "lineage.fail",
        };
        let body = serde_json::to_vec(&event(&about, what, at)).ok()?;
        Some((format!("{run}-{}", what.event_type()), kind, body))
    }
}

/// The event is a CloudEvent too, in the binary form: its body is what collectors of OpenLineage take, as it is.
fn headers(id: &str, kind: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", id);
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", id);
    headers.insert("ce-source", "kapelle/coordinator");
    headers.insert("ce-type", format!("dev.kapelle.{kind}").as_str());
    headers.insert("content-type", "application/json");
    headers
}
