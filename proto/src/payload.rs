//! Payloads: JSON text inline, or a claim check on the object store. Used by every message that carries one.

use bytes::Bytes;
use kapelle_types::limits::PAYLOAD_INLINE_BYTES_MAX;
use kapelle_types::{Payload, PayloadRef, Sha256};
use serde_json::Value;

use crate::error::DecodeError;
use crate::v1;
use crate::v1::payload_data::Content;

/// Bytes of inline JSON that are read. Four times what may be written: a writer may measure the text that it was given, and
/// numbers that are written anew can grow by that much (`1e15` becomes `1000000000000000.0`).
pub const INLINE_BYTES_ACCEPTED_MAX: usize = 4 * PAYLOAD_INLINE_BYTES_MAX;

impl From<&Payload> for v1::PayloadData {
    /// A payload that is stored travels as its reference alone, whether its value is at hand or not.
    fn from(payload: &Payload) -> Self {
        let content = match (&payload.stored, &payload.value) {
            (Some(stored), _) => Some(Content::Reference(v1::PayloadReference {
                sha256: Bytes::copy_from_slice(&stored.sha256.0),
                size_bytes: stored.size_bytes,
            })),
            (None, Some(value)) => Some(Content::Inline(text(value))),
            // Nothing to send. The reader refuses it, which is better than a `null` that nobody meant.
            (None, None) => None,
        };
        Self { content }
    }
}

/// Reads a payload that must be there.
pub(crate) fn decode(data: Option<v1::PayloadData>, field: &'static str) -> Result<Payload, DecodeError> {
    match data.and_then(|data| data.content).ok_or(DecodeError::Missing(field))? {
        Content::Inline(text) if text.len() > INLINE_BYTES_ACCEPTED_MAX => {
            Err(DecodeError::TooLarge { field, bytes: text.len() })
        }
        Content::Inline(text) => {
            let value: Value = serde_json::from_slice(&text).map_err(|e| DecodeError::invalid(field, e))?;
            Ok(Payload::inline(value))
        }
        Content::Reference(at) => {
            Ok(Payload::reference(PayloadRef { sha256: digest(&at.sha256, field)?, size_bytes: at.size_bytes }))
        }
    }
}

/// Reads a SHA-256.
pub(crate) fn digest(bytes: &[u8], field: &'static str) -> Result<Sha256, DecodeError> {
    bytes.try_into().map(Sha256).map_err(|_| DecodeError::invalid(field, "a SHA-256 has 32 bytes"))
}

#[allow(clippy::expect_used)] // a `Value` has string keys and finite numbers, and memory takes every write
fn text(value: &Value) -> Bytes {
    serde_json::to_vec(value).expect("a JSON value can be written as text").into()
}
