//! The run log: append entries, read one run, list what is open.

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use bytes::Bytes;
use kapelle_engine::{Channel, Stamp};
use kapelle_proto::subject::RunSubject;
use kapelle_proto::{stream, subject};
use kapelle_types::{Partition, RunId, Timestamp, printed};
use serde_json::json;

use crate::direct::header;
use crate::leader::{self, Last};
use crate::publish::Acknowledgement;
use crate::{Bus, Error};

/// Messages that one batched direct get asks for.
const READ_BATCH: usize = 500;

/// One message of a run's log as it is stored; the wire crate decodes it.
#[derive(Debug, Clone)]
pub struct RawRecord {
    /// Whose log.
    pub run: RunId,
    /// Which of its two subjects.
    pub channel: Channel,
    /// Sequence and broker time.
    pub stamp: Stamp,
    /// A `LogRecord`.
    pub payload: Bytes,
}

/// What a partition's stream looks like now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// When the stream was created, in nanoseconds since the Unix epoch: another value is another stream.
    pub created: i64,
    /// The first sequence that is there.
    pub first_seq: u64,
    /// The last sequence that was given out.
    pub last_seq: u64,
    /// Messages that are there.
    pub messages: u64,
    /// When the first of them was stored; meaningless if there is none.
    pub first_at: Timestamp,
}

impl Bus {
    /// Sends one record to a run's log; the future is its acknowledgement. Pipelined: await many together.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the connection is gone.
    pub async fn append(&self, run: RunId, channel: Channel, record: Bytes) -> Result<Acknowledgement, Error> {
        let subject = RunSubject { partition: self.partitions().of(&run), run_id: run, channel };
        self.publisher().publish(printed(&subject), None, record).await
    }

    /// Appends one record and waits until it is durable.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if it was not acknowledged in time: it may or may not be there.
    pub async fn append_now(&self, run: RunId, channel: Channel, record: Bytes) -> Result<u64, Error> {
        self.append(run, channel, record).await?.await
    }

    /// Appends a run's first record, only if its control subject is empty.
    ///
    /// # Errors
    /// Refused with `NotFirst` if there is one already.
    pub async fn append_first(&self, run: RunId, record: Bytes) -> Result<Acknowledgement, Error> {
        let subject = RunSubject { partition: self.partitions().of(&run), run_id: run, channel: Channel::Control };
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        self.publisher().publish(printed(&subject), Some(headers), record).await
    }

    /// Reads a run's log from `from_seq` on, oldest first, both channels merged in stream order.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub async fn read_run(&self, run: RunId, from_seq: u64) -> Result<Vec<RawRecord>, Error> {
        let partition = self.partitions().of(&run);
        let filter = subject::run_filter(partition, run);
        let mut all = Vec::new();
        let mut next = from_seq.max(1);
        loop {
            let request = json!({ "seq": next, "next_by_subj": filter, "batch": READ_BATCH });
            let answer = self.direct_get(&stream::runs(partition), &request).await?;
            all.extend(answer.messages.iter().filter_map(stored_record));
            // By what was read, not by what could be parsed: a batch may hold nothing but garbage.
            let Some(behind) = answer.next() else { return Ok(all) };
            next = behind;
        }
    }

    /// The last sequence of a run's log by the word of the stream's leader; 0 if there is nothing.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the leader did not answer.
    pub async fn last_seq(&self, run: RunId) -> Result<u64, Error> {
        let partition = self.partitions().of(&run);
        let mut last = 0;
        for channel in [Channel::Control, Channel::Report] {
            let subject = printed(&RunSubject { partition, run_id: run, channel });
            if let Some(Last::There(m) | Last::Removed(m)) =
                leader::last(self.jetstream(), &stream::runs(partition), &subject).await?
            {
                last = last.max(m.sequence);
            }
        }
        Ok(last)
    }

    /// The first record of a run's control subject, by the word of the leader: whether a job was submitted before is decided
    /// by it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the leader did not answer.
    pub async fn first_record(&self, run: RunId) -> Result<Option<RawRecord>, Error> {
        let partition = self.partitions().of(&run);
        let subject = printed(&RunSubject { partition, run_id: run, channel: Channel::Control });
        let Some(message) = leader::next(self.jetstream(), &stream::runs(partition), &subject, 1).await? else {
            return Ok(None);
        };
        let at = i64::try_from(message.time.unix_timestamp_nanos()).unwrap_or(i64::MAX);
        let stamp = Stamp { seq: message.sequence, at: Timestamp::from_nanos(at) };
        Ok(Some(RawRecord { run, channel: Channel::Control, stamp, payload: message.payload }))
    }

    /// The last record of a run's control subject, from whichever replica answers.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub async fn last_control(&self, run: RunId) -> Result<Option<RawRecord>, Error> {
        let partition = self.partitions().of(&run);
        let subject = RunSubject { partition, run_id: run, channel: Channel::Control }.to_string();
        let request = json!({ "multi_last": [subject] });
        let answer = self.direct_get(&stream::runs(partition), &request).await?;
        Ok(answer.messages.iter().find_map(stored_record))
    }

    /// What a stream looks like now.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none, [`Error::Unavailable`] while the broker is not ready.
    pub async fn stream_state(&self, name: &str) -> Result<StreamState, Error> {
        let stream = self.jetstream().get_stream(name).await.map_err(|e| {
            if e.to_string().contains("not found") { Error::NotFound(name.to_owned()) } else { Error::unavailable(e) }
        })?;
        let info = stream.cached_info();
        let created = i64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(i64::MAX);
        let state = &info.state;
        Ok(StreamState {
            created,
            first_seq: state.first_sequence,
            last_seq: state.last_sequence,
            messages: state.messages,
            first_at: Timestamp::from_nanos(i64::try_from(state.first_timestamp.unix_timestamp_nanos()).unwrap_or(0)),
        })
    }

    /// The last control record of every run of a partition, in stream order: what is open and what is not.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker stopped answering.
    pub async fn last_controls(&self, partition: Partition) -> Result<Vec<RawRecord>, Error> {
        self.latest(&stream::runs(partition), subject::control_filter(partition), false, |m| delivered_record(&m)).await
    }

    /// Removes what a run's subjects hold up to and including a sequence: for garbage that never was a run. What came later
    /// stays, since it may be the submission that makes it one.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub async fn purge_run(&self, run: RunId, up_to: u64) -> Result<(), Error> {
        let partition = self.partitions().of(&run);
        let filter = subject::run_filter(partition, run);
        let name = stream::runs(partition);
        let stream = self.jetstream().get_stream_no_info(&name).await.map_err(Error::unavailable)?;
        // The broker keeps the sequence that it is given and everything behind it.
        stream.purge().filter(filter).sequence(up_to + 1).await.map(drop).map_err(Error::unavailable)
    }

    /// Removes the messages of a stream whose subject matches. Rare and large: boxed, so that futures which may need it do
    /// not carry its size.
    pub(crate) async fn purge(&self, stream: &str, filter: &str) -> Result<(), Error> {
        let purge = async {
            let stream = self.jetstream().get_stream_no_info(stream).await.map_err(Error::unavailable)?;
            stream.purge().filter(filter).await.map(drop).map_err(Error::unavailable)
        };
        Box::pin(purge).await
    }
}

fn stored_record(message: &async_nats::Message) -> Option<RawRecord> {
    let subject: RunSubject = header(message, "Nats-Subject")?.parse().ok()?;
    let stamp = Stamp { seq: stored_seq(message)?, at: Timestamp::parse(header(message, "Nats-Time-Stamp")?)? };
    Some(RawRecord { run: subject.run_id, channel: subject.channel, stamp, payload: message.payload.clone() })
}

fn stored_seq(message: &async_nats::Message) -> Option<u64> {
    header(message, "Nats-Sequence")?.parse().ok()
}

/// A record as a consumer delivers it; `None` for a subject that is not a run's.
pub(crate) fn delivered_record(message: &async_nats::jetstream::Message) -> Option<RawRecord> {
    let subject: RunSubject = message.subject.as_str().parse().ok()?;
    let info = message.info().ok()?;
    let at = Timestamp::from_nanos(i64::try_from(info.published.unix_timestamp_nanos()).ok()?);
    let stamp = Stamp { seq: info.stream_sequence, at };
    Some(RawRecord { run: subject.run_id, channel: subject.channel, stamp, payload: message.payload.clone() })
}
