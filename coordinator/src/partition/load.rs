//! Reading: raw records become items, and a run's whole log becomes a rebuild.

use std::time::Duration;

use bytes::Bytes;
use kapelle_bus::Bus;
use kapelle_bus::payloads::{self, Payloads};
use kapelle_bus::runlog::RawRecord;
use kapelle_bus::tail::Read;
use kapelle_engine::behaviour::knows;
use kapelle_engine::{Body, Channel, Entry, Kept, Record};
use kapelle_proto::{DecodeError, decode_record, v1};
use kapelle_retry::{Delays, Policy};
use kapelle_types::{Payload, RunId};
use prost::Message;
use tokio::time::Instant;

use super::effect::{Content, Item, Loaded};
use crate::plans::{PlanError, PlanStore};

/// How soon a replica that lags is asked again: most lag by milliseconds.
const LAG_PAUSE: Duration = Duration::from_millis(10);
/// A lag that is worth a warning.
const LAG_UNUSUAL: Duration = Duration::from_secs(5);
/// The longest pause between two questions.
const LAG_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Why a log could not be read now.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The broker did not answer; the same call may be repeated.
    #[error(transparent)]
    Bus(#[from] kapelle_bus::Error),
    /// A stored payload could not be fetched now.
    #[error(transparent)]
    Payload(payloads::Error),
}

/// Decodes what was read. Payloads that are stored elsewhere are fetched, since the engine sees values.
///
/// # Errors
/// The broker did not answer: the same chunk may be decoded again.
pub async fn decode(payloads: &Payloads, read: &Read) -> Result<Option<Item>, LoadError> {
    let Read::Record(raw) = read else { return Ok(None) };
    let content = match decode_raw(raw) {
        Ok(mut record) => {
            fetch(payloads, &mut record).await?;
            Content::Record(record)
        }
        Err(Unreadable::Garbage(reason)) => Content::Garbage { reason },
        Err(Unreadable::FromTheFuture(reason)) => Content::FromTheFuture { reason },
    };
    Ok(Some(Item { seq: raw.stamp.seq, run: raw.run, content }))
}

/// Why a record cannot be understood.
enum Unreadable {
    Garbage(&'static str),
    FromTheFuture(String),
}

fn decode_raw(raw: &RawRecord) -> Result<Record, Unreadable> {
    decode_record(raw.channel, raw.stamp, &raw.payload).map_err(|error| {
        // Only the control plane writes control entries, so only there does an unknown kind mean a newer coordinator.
        if error.is_newer() && raw.channel == Channel::Control && is_signed(&raw.payload) {
            return Unreadable::FromTheFuture(format!("{} at {}: {error}", raw.run, raw.stamp.seq));
        }
        tracing::debug!(run = %raw.run, seq = raw.stamp.seq, %error, "unreadable record");
        Unreadable::Garbage(match error {
            DecodeError::Version(_) | DecodeError::Unknown(_) => "newer_report",
            DecodeError::Protobuf(_) => "not_protobuf",
            DecodeError::Missing(_) => "missing_field",
            DecodeError::Invalid { .. } => "invalid_field",
            DecodeError::TooLarge { .. } => "too_large",
        })
    })
}

/// Whether something that claims to be newer looks like a record at all: whoever writes one says who caused it. Bytes that
/// merely begin like a version must not stop a partition.
fn is_signed(payload: &Bytes) -> bool {
    let record = v1::LogRecord::decode(payload.clone());
    record.is_ok_and(|r| !r.entries.is_empty() && r.entries.iter().all(|e| !e.principal.is_empty()))
}

/// Puts values where only claim checks are. One that is gone for good stays without a value: the engine names it.
async fn fetch(payloads: &Payloads, record: &mut Record) -> Result<(), LoadError> {
    for entry in &mut record.entries {
        if let Some(payload) = entry.body.payload_mut() {
            fetch_one(payloads, payload).await?;
        }
        for payload in entry.body.kept_mut().iter_mut().filter_map(Kept::payload_mut) {
            fetch_one(payloads, payload).await?;
        }
    }
    Ok(())
}

async fn fetch_one(payloads: &Payloads, payload: &mut Payload) -> Result<(), LoadError> {
    let (None, Some(stored)) = (&payload.value, &payload.stored) else { return Ok(()) };
    match payloads.get(stored).await {
        Ok(value) => payload.value = Some(value),
        Err(error @ payloads::Error::Unavailable(_)) => return Err(LoadError::Payload(error)),
        Err(error) => tracing::warn!(%error, "a stored payload cannot be used"),
    }
    Ok(())
}

/// Reads a run's whole log and finds its plan. Says also which sequence of it was the last.
///
/// # Errors
/// The broker did not answer: the same call may be repeated.
pub async fn load(bus: &Bus, plans: &PlanStore, run: RunId) -> Result<(Loaded, u64), LoadError> {
    let raw = bus.read_run(run, 1).await?;
    let seen = raw.last().map_or(0, |r| r.stamp.seq);
    Ok((rebuild(bus, plans, run, &raw).await?, seen))
}

/// As [`load`], but from a replica that has everything up to `at_least`, or up to what the leader has now if that is 0. A
/// replica may lag behind what the leader has acknowledged and a consumer delivered; what it lacks is asked for again, until
/// it is there or the leader says that it was removed (it was garbage).
///
/// # Errors
/// The broker did not answer: the same call may be repeated.
pub async fn load_whole(bus: &Bus, plans: &PlanStore, run: RunId, at_least: u64) -> Result<(Loaded, u64), LoadError> {
    let mut wanted = if at_least == 0 { bus.last_seq(run).await? } else { at_least };
    let mut delays = Delays::new(&Policy { initial: LAG_PAUSE, max: LAG_PAUSE_MAX, ..Policy::default() });
    let begun = Instant::now();
    loop {
        let (loaded, seen) = load(bus, plans, run).await?;
        if seen >= wanted {
            return Ok((loaded, seen));
        }
        tokio::time::sleep(delays.next()).await;
        wanted = wanted.min(bus.last_seq(run).await?);
        if begun.elapsed() > LAG_UNUSUAL {
            tracing::warn!(%run, seen, wanted, "a replica of the run log lags; asking again");
        }
    }
}

async fn rebuild(bus: &Bus, plans: &PlanStore, run: RunId, raw: &[RawRecord]) -> Result<Loaded, LoadError> {
    let payloads = bus.payloads();
    let mut records = Vec::with_capacity(raw.len());
    for raw in raw {
        match decode_raw(raw) {
            Ok(mut record) => {
                fetch(payloads, &mut record).await?;
                records.push(record);
            }
            Err(Unreadable::Garbage(_)) => {} // counted where it was read first
            Err(Unreadable::FromTheFuture(reason)) => return Ok(Loaded::FromTheFuture { reason }),
        }
    }
    let Some(first) = first_control(&records) else { return Ok(Loaded::NotARun) };
    let Body::RunSubmitted(submitted) = &first.body else { return Ok(Loaded::NotARun) };
    if !knows(submitted.behaviour) {
        return Ok(Loaded::FromTheFuture { reason: format!("{run} follows behaviour {}", submitted.behaviour) });
    }
    match plans.begin(run, submitted).await {
        Ok(run) => Ok(Loaded::Run { run: Box::new(run), records }),
        Err(PlanError::Bus(error)) => Err(error.into()),
        Err(error) => Ok(Loaded::NoPlan { reason: error.to_string() }),
    }
}

/// The first entry that the control plane wrote.
fn first_control(records: &[Record]) -> Option<&Entry> {
    records.iter().find(|r| r.channel == Channel::Control).and_then(|r| r.entries.first())
}

#[cfg(test)]
mod tests {
    use kapelle_engine::Stamp;

    use super::*;

    fn read(channel: Channel, payload: Bytes) -> Result<Record, Unreadable> {
        let run = "0192f3c4-5a6b-7c8d-9e0f-112233445566".parse().unwrap();
        decode_raw(&RawRecord { run, channel, stamp: Stamp::default(), payload })
    }

    #[test]
    fn only_a_record_of_a_newer_coordinator_stops_a_partition() {
        let entry = |principal: &str| v1::LogEntry { principal: principal.into(), ..v1::LogEntry::default() };
        let newer = |entries| -> Bytes { v1::LogRecord { version: 99, entries }.encode_to_vec().into() };
        let signed = newer(vec![entry("coordinator:c")]);
        assert!(matches!(read(Channel::Control, signed.clone()), Err(Unreadable::FromTheFuture(_))));
        assert!(matches!(read(Channel::Report, signed), Err(Unreadable::Garbage("newer_report"))));
        for garbage in [newer(vec![]), newer(vec![entry("")]), Bytes::from_static(b"\x08\x63"), Bytes::new()] {
            assert!(matches!(read(Channel::Control, garbage), Err(Unreadable::Garbage(_))));
        }
    }
}
