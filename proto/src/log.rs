//! Records of the run log: what stands on `kapelle.run.<p>.<run>.control` and `….report`.
//!
//! Coordinators and workers encode; coordinators and readers of a history decode. The run is named by the subject, sequence
//! and time come from the broker, so neither travels in the bytes.

use bytes::Bytes;
use kapelle_engine::{Channel, Entry, Record, Stamp};
use prost::Message;

use crate::error::{DecodeError, WIRE_VERSION, check_version, missing_or_unknown};
use crate::v1;

/// Writes entries as one message. An empty list is no record; [`decode_record`] refuses it.
#[must_use]
pub fn encode_record(entries: &[Entry]) -> Bytes {
    let record = v1::LogRecord { version: WIRE_VERSION, entries: entries.iter().map(Into::into).collect() };
    record.encode_to_vec().into()
}

/// Reads the message that the broker stamped so on this channel.
///
/// # Errors
/// It is garbage, or a newer release wrote it: [`DecodeError::is_newer`] tells which.
pub fn decode_record(channel: Channel, stamp: Stamp, payload: &Bytes) -> Result<Record, DecodeError> {
    let wire = Unopened::decode(payload.clone())?;
    check_version(wire.version)?;
    if wire.entries.is_empty() {
        return Err(DecodeError::Missing("entries"));
    }
    let entries = wire.entries.iter().map(decode_entry).collect::<Result<_, _>>()?;
    Ok(Record { stamp, channel, entries })
}

/// [`v1::LogRecord`] with its entries still as bytes, which is the same on the wire. They are opened one by one: a message of
/// a million empty entries is refused at the first instead of filling the memory.
#[derive(Clone, PartialEq, prost::Message)]
struct Unopened {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    entries: Vec<Bytes>,
}

fn decode_entry(bytes: &Bytes) -> Result<Entry, DecodeError> {
    let entry = v1::LogEntry::decode(bytes.clone())?;
    entry.try_into().map_err(|error| missing_or_unknown::<v1::LogEntry>(error, bytes))
}
