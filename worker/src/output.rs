//! What an agent returned, made fit for a report: measured, and stored by hash where it is large.

use std::io::{self, Write};

use kapelle_bus::payloads::{self, Payloads};
use kapelle_engine::Failure;
use kapelle_retry::{Delays, Policy};
use kapelle_types::limits::{JSON_DEPTH_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_INLINE_BYTES_MAX};
use kapelle_types::{Code, Payload};
use serde_json::Value;

use crate::failure;

/// Bytes that a claim check takes in a record.
const REFERENCE_BYTES: usize = 64;

/// An output that fits, and how many bytes it takes in a record.
#[derive(Debug)]
pub(crate) struct Fitted {
    pub(crate) payload: Payload,
    pub(crate) record_bytes: usize,
    pub(crate) payload_bytes: usize,
}

/// Measures an output and stores it if it is too large to travel inside the report. Waits for a broker that is away, as the
/// report itself would have to.
///
/// # Errors
/// It exceeds the payload limit, or is nested deeper than any reader of it goes: K0404.
pub(crate) async fn fit(value: Value, store: &Payloads) -> Result<Fitted, Failure> {
    if !is_flat(&value, JSON_DEPTH_MAX - 1) {
        let message = format!("the output is nested {JSON_DEPTH_MAX} levels deep or more");
        return Err(failure::permanent(Code::AGENT_OUTPUT_TOO_LARGE, message));
    }
    let payload_bytes = json_bytes(&value).ok_or_else(too_large)?;
    if payload_bytes <= PAYLOAD_INLINE_BYTES_MAX {
        return Ok(Fitted { payload: Payload::inline(value), record_bytes: payload_bytes, payload_bytes });
    }
    let text = serde_json::to_vec(&value).map_err(|_| too_large())?; // a `Value` can always be written
    drop(value);
    let mut delays = Delays::new(&Policy::default());
    loop {
        match store.put(&text).await {
            Ok(stored) => {
                let payload = Payload::reference(stored);
                return Ok(Fitted { payload, record_bytes: REFERENCE_BYTES, payload_bytes });
            }
            Err(payloads::Error::TooLarge(_)) => return Err(too_large()),
            Err(error) => {
                tracing::warn!(%error, "an output cannot be stored yet; trying again");
                tokio::time::sleep(delays.next()).await;
            }
        }
    }
}

fn too_large() -> Failure {
    let message = format!("the output has more than {PAYLOAD_BYTES_MAX} bytes as JSON");
    failure::permanent(Code::AGENT_OUTPUT_TOO_LARGE, message)
}

/// Whether a value has no more than this many arrays and objects inside each other.
fn is_flat(value: &Value, depth_max: usize) -> bool {
    match value {
        Value::Array(items) => depth_max > 0 && items.iter().all(|v| is_flat(v, depth_max - 1)),
        Value::Object(fields) => depth_max > 0 && fields.values().all(|v| is_flat(v, depth_max - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// The length of a value as JSON text; `None` if it is above the payload limit. Nothing is kept of it.
fn json_bytes(value: &Value) -> Option<usize> {
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, value).ok().map(|()| counter.0)
}

struct Counter(usize);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        if self.0 > PAYLOAD_BYTES_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What passes can be read again by whoever reads the log.
    #[test]
    fn what_is_flat_enough_is_what_can_be_read_back() {
        let nested = |depth| (0..depth).fold(json!(1), |inner, _| json!([inner]));
        for (depth, flat) in
            [(0, true), (JSON_DEPTH_MAX - 1, true), (JSON_DEPTH_MAX, false), (JSON_DEPTH_MAX * 2, false)]
        {
            assert_eq!(is_flat(&nested(depth), JSON_DEPTH_MAX - 1), flat, "{depth}");
            assert_eq!(serde_json::from_str::<Value>(&nested(depth).to_string()).is_ok(), flat, "{depth}");
        }
    }

    #[test]
    fn values_are_measured_up_to_the_limit() {
        assert_eq!(json_bytes(&json!({ "a": [1, "ä"] })), Some(r#"{"a":[1,"ä"]}"#.len()));
        assert_eq!(json_bytes(&Value::String("x".repeat(PAYLOAD_BYTES_MAX - 2))), Some(PAYLOAD_BYTES_MAX));
        assert_eq!(json_bytes(&Value::String("x".repeat(PAYLOAD_BYTES_MAX - 1))), None);
    }
}
