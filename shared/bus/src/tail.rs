//! Reading a stream, or what matches of it, in stream order from a sequence on, for ever: a partition, the tasks that wait.
//!
//! A reader is an ordered consumer that is made anew from the last sequence read whenever something may have been missed:
//! an error, a new connection, or silence while the stream has more. It never skips and never goes back.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::message::Info;
use futures::StreamExt;
use kapelle_proto::{stream, subject};
use kapelle_types::Partition;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::runlog::{RawRecord, delivered_record};
use crate::{Bus, Error};

/// Messages handed over at once, at most.
const CHUNK: usize = 512;
/// Chunks that may wait for whoever reads; beyond it the reader stops reading: back-pressure.
const CHUNKS_WAITING_MAX: usize = 4;
/// How long the reader may be silent before it asks whether the stream has more.
const SILENCE: Duration = Duration::from_secs(2);

/// One thing read: a record, or a sequence whose subject is no run's (nothing to do but to count it).
#[derive(Debug, Clone)]
pub enum Read {
    /// A record of a run.
    Record(RawRecord),
    /// Something else that stands in the stream.
    Foreign {
        /// Where it stands.
        seq: u64,
    },
}

impl Read {
    /// Where it stands.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        match self {
            Self::Record(record) => record.stamp.seq,
            Self::Foreign { seq } => *seq,
        }
    }
}

/// What is read, and as what.
#[derive(Debug)]
pub(crate) struct Source<T> {
    pub(crate) stream: String,
    pub(crate) filter: String,
    /// Whether what messages carry is of no interest.
    pub(crate) headers_only: bool,
    /// What a message is.
    pub(crate) take: fn(&Message, &Info<'_>) -> T,
}

/// A running reader; dropping it stops it.
#[derive(Debug)]
pub struct Tail<T = Read> {
    chunks: mpsc::Receiver<Vec<T>>,
    task: JoinHandle<()>,
}

impl Tail {
    /// Starts reading a partition behind `after_seq`.
    #[must_use]
    pub fn start(bus: Bus, partition: Partition, after_seq: u64) -> Self {
        let take = |message: &Message, info: &Info<'_>| match delivered_record(message) {
            Some(record) => Read::Record(record),
            None => Read::Foreign { seq: info.stream_sequence },
        };
        let (stream, filter) = (stream::runs(partition), subject::runs_filter(partition));
        Self::of(bus, Source { stream, filter, headers_only: false, take }, after_seq)
    }
}

impl<T: Send + 'static> Tail<T> {
    /// Starts reading a source behind `after_seq`.
    pub(crate) fn of(bus: Bus, source: Source<T>, after_seq: u64) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS_WAITING_MAX);
        let task = tokio::spawn(read_on(bus, source, after_seq, sender));
        Self { chunks, task }
    }

    /// The next chunk, in stream order. `None` never comes while the reader lives. Cancel-safe.
    pub async fn next(&mut self) -> Option<Vec<T>> {
        self.chunks.recv().await
    }
}

impl<T> Drop for Tail<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read_on<T>(bus: Bus, source: Source<T>, mut last: u64, sender: mpsc::Sender<Vec<T>>) {
    let mut delays = kapelle_retry::Delays::new(&kapelle_retry::Policy {
        initial: Duration::from_millis(50),
        max: Duration::from_secs(1),
        ..kapelle_retry::Policy::default()
    });
    while !sender.is_closed() {
        let before = last;
        if let Err(error) = read_until_doubt(&bus, &source, &mut last, &sender).await {
            tracing::debug!(stream = source.stream, last, %error, "reading anew");
        }
        if last > before {
            delays.reset();
        }
        sleep(delays.next()).await;
    }
}

/// Reads with one consumer until there is a reason to doubt it.
async fn read_until_doubt<T>(
    bus: &Bus,
    source: &Source<T>,
    last: &mut u64,
    sender: &mpsc::Sender<Vec<T>>,
) -> Result<(), Error> {
    let mut epochs = bus.connection().epochs();
    epochs.mark_unchanged();
    let config = pull::OrderedConfig {
        filter_subject: source.filter.clone(),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: *last + 1 },
        headers_only: source.headers_only,
        ..pull::OrderedConfig::default()
    };
    let consumer =
        bus.jetstream().create_consumer_on_stream(config, &source.stream).await.map_err(Error::unavailable)?;
    let messages = consumer.messages().await.map_err(Error::unavailable)?;
    let mut chunks = Box::pin(messages.ready_chunks(CHUNK));
    let mut heard = Instant::now();
    loop {
        let next = tokio::select! {
            // What was asked on the old connection is never answered.
            _ = epochs.changed() => return Ok(()),
            next = timeout(SILENCE, chunks.next()) => next,
        };
        let chunk = match next {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(()),
            Err(_) => {
                let waiting = bus.stream_state(&source.stream).await?.last_seq > *last;
                if waiting && heard.elapsed() > SILENCE * 2 {
                    return Err(Error::Unavailable("the stream has more than the consumer delivers".into()));
                }
                continue;
            }
        };
        heard = Instant::now();
        let mut reads = Vec::with_capacity(chunk.len());
        for message in chunk {
            let message = message.map_err(Error::unavailable)?;
            let info = message.info().map_err(Error::unavailable)?;
            if info.stream_sequence > *last {
                *last = info.stream_sequence;
                reads.push((source.take)(&message, &info));
            }
        }
        if sender.send(reads).await.is_err() {
            return Ok(());
        }
    }
}
