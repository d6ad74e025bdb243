//! What was written to a partition's log since a moment, read once and within a bound: for questions that somebody asks,
//! never for what runs depend on.

use std::time::Duration;

use async_nats::datetime::DateTime;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures::StreamExt;
use kapelle_proto::{stream, subject};
use kapelle_types::{Partition, Timestamp};

use crate::runlog::{RawRecord, delivered_record};
use crate::{Bus, Error};

/// How long a reading may be silent before it counts as broken off.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// How much of what was asked for was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// From when on everything was read; `None` if there was nothing since the moment that was asked for.
    pub from: Option<Timestamp>,
    /// There is more since that moment, from before `from`.
    pub cut: bool,
    /// The reader stopped before the end.
    pub stopped: bool,
}

impl Bus {
    /// Hands the records of a partition that were written since a moment to `take`, in stream order, until it gives false.
    /// Of more than `records_max` the newest are read. What is written while it is read is left out.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker stopped answering.
    pub async fn read_window(
        &self,
        partition: Partition,
        since: Timestamp,
        records_max: u64,
        mut take: impl FnMut(RawRecord) -> bool,
    ) -> Result<Window, Error> {
        let name = stream::runs(partition);
        let start_time = DateTime::from_unix_timestamp_nanos(i128::from(since.nanos()))
            .map_err(|e| Error::Unreadable(e.to_string()))?;
        let mut window = Window { from: None, cut: false, stopped: false };
        let consume = async |deliver_policy| {
            let filter_subject = subject::runs_filter(partition);
            let config = pull::OrderedConfig { filter_subject, deliver_policy, ..pull::OrderedConfig::default() };
            self.jetstream().create_consumer_on_stream(config, &name).await.map_err(Error::unavailable)
        };
        let mut consumer = consume(DeliverPolicy::ByStartTime { start_time }).await?;
        let there = consumer.cached_info().num_pending;
        if there > records_max {
            self.forget(&consumer.cached_info().name, &name).await;
            window.cut = true;
            let last_seq = self.stream_state(&name).await?.last_seq;
            let start_sequence = last_seq.saturating_sub(records_max) + 1;
            consumer = consume(DeliverPolicy::ByStartSequence { start_sequence }).await?;
        }
        let id = consumer.cached_info().name.clone();
        let mut left = consumer.cached_info().num_pending;
        let mut incoming = consumer.messages().await.map_err(Error::unavailable)?;
        while left > 0 && !window.stopped {
            let message = tokio::time::timeout(SILENCE_MAX, incoming.next())
                .await
                .map_err(|_| Error::Unavailable("reading stopped".into()))?
                .ok_or_else(|| Error::Unavailable("the connection is closed".into()))?
                .map_err(Error::unavailable)?;
            left -= 1;
            if let Some(record) = delivered_record(&message) {
                window.from.get_or_insert(record.stamp.at);
                window.stopped = !take(record);
            }
        }
        drop(incoming);
        self.forget(&id, &name).await;
        Ok(window)
    }

    /// A consumer would leave by itself, but half a minute later.
    async fn forget(&self, consumer: &str, stream: &str) {
        let _ = self.jetstream().delete_consumer_from_stream(consumer, stream).await;
    }
}
