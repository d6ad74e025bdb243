//! The audit trail: written once each, read in order, never deleted.
//!
//! The stream takes no new record when it is full: what is there is worth more than what comes, and whoever writes decides
//! what must not be done without its record. A record that is written again under the same id within [`REPEATS_KNOWN`] is
//! dropped by the broker; beyond that it may stand there twice, under one id.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use kapelle_proto::subject::{AuditSubject, AuditWord, audit_filter};
use kapelle_proto::{decode_audit, encode_audit, stream};
use kapelle_types::{AuditRecord, Timestamp};
use serde_json::json;

use crate::direct::header;
use crate::{Bus, Error};

/// How long the broker knows the ids of records: longer than any take-over of a partition.
pub const REPEATS_KNOWN: Duration = Duration::from_secs(3600);
/// Messages that one batched direct get asks for.
const READ_BATCH: usize = 500;

/// Where a reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// At a sequence.
    Seq(u64),
    /// At the first record that was stored at or after a moment.
    Time(Timestamp),
}

/// What was read: some records, and where to go on.
#[derive(Debug, Clone, Default)]
pub struct Read {
    /// Sequence, when it was stored, and the record; `None` for one that a newer release wrote, or that is none.
    pub records: Vec<(u64, Timestamp, Option<AuditRecord>)>,
    /// The next sequence to ask for; `None` if there is nothing more for now.
    pub next: Option<u64>,
}

/// How full the trail is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Bytes that are stored.
    pub bytes: u64,
    /// Bytes that may be.
    pub bytes_max: u64,
    /// The last sequence that was given out.
    pub last_seq: u64,
}

impl Bus {
    /// Stores a record; it is durable when this returns.
    ///
    /// # Errors
    /// Refused with `Full` if the trail takes no more; [`Error::Unavailable`] if it was not acknowledged in time, and then it
    /// may or may not be there.
    pub async fn write_audit(&self, record: &AuditRecord) -> Result<u64, Error> {
        let word = |text: &str| text.parse().map_err(|e: kapelle_types::InvalidName| Error::Unreadable(e.to_string()));
        let subject = AuditSubject { component: word(&record.component)?, verb: word(&record.verb)? };
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, record.id.as_str());
        self.publisher().publish(subject.to_string(), Some(headers), encode_audit(record)).await?.await
    }

    /// Reads up to some hundred records of a component and a verb (`None` is any), in stream order.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub async fn read_audit(
        &self,
        from: From,
        component: Option<&AuditWord>,
        verb: Option<&AuditWord>,
    ) -> Result<Read, Error> {
        let mut request = json!({ "next_by_subj": audit_filter(component, verb), "batch": READ_BATCH });
        match from {
            From::Seq(seq) => request["seq"] = seq.max(1).into(),
            From::Time(at) => request["start_time"] = at.rfc3339().into(),
        }
        let answer = self.direct_get(stream::AUDIT, &request).await?;
        let mut read = Read::default();
        for message in &answer.messages {
            let seq = header(message, "Nats-Sequence").and_then(|seq| seq.parse().ok());
            let at = header(message, "Nats-Time-Stamp").and_then(Timestamp::parse);
            let (Some(seq), Some(at)) = (seq, at) else { continue };
            read.records.push((seq, at, decode_audit(&message.payload).ok()));
        }
        let last = read.records.last().map(|(seq, ..)| *seq);
        read.next = last.filter(|_| answer.pending > 0).map(|seq| seq + 1);
        Ok(read)
    }

    /// How full the trail is, by the word of its leader.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn audit_fill(&self) -> Result<Fill, Error> {
        let stream = self.jetstream().get_stream(stream::AUDIT).await.map_err(Error::unavailable)?;
        let info = stream.cached_info();
        // A trail without a limit is never full.
        let bytes_max = u64::try_from(info.config.max_bytes).ok().filter(|max| *max > 0).unwrap_or(u64::MAX);
        Ok(Fill { bytes: info.state.bytes, bytes_max, last_seq: info.state.last_sequence })
    }
}
