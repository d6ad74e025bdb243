//! What an agent returned, made fit for a report: measured, and stored by hash where it is large.

use kapelle_bus::payloads::{self, Payloads};
use kapelle_engine::{Failure, TaskLimits};
use kapelle_retry::{Delays, Policy};
use kapelle_types::limits::{JSON_DEPTH_MAX, PAYLOAD_BYTES_MAX, PAYLOAD_INLINE_BYTES_MAX};
use kapelle_types::{Code, Payload, json_bytes};
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
/// It exceeds the payload limit, or is nested deeper than any reader of it goes: K0404. It exceeds the agent's own: K0414.
pub(crate) async fn fit(value: Value, limits: &TaskLimits, store: &Payloads) -> Result<Fitted, Failure> {
    if !is_flat(&value, JSON_DEPTH_MAX - 1) {
        let message = format!("the output is nested {JSON_DEPTH_MAX} levels deep or more");
        return Err(failure::permanent(Code::AGENT_OUTPUT_TOO_LARGE, message));
    }
    let payload_bytes = json_bytes(&value, PAYLOAD_BYTES_MAX).ok_or_else(too_large)?;
    let payload = Payload::inline(value);
    if let Some((code, why)) = limits.refuses_output(&payload) {
        return Err(failure::permanent(code, why));
    }
    if payload_bytes <= PAYLOAD_INLINE_BYTES_MAX {
        return Ok(Fitted { payload, record_bytes: payload_bytes, payload_bytes });
    }
    let text = serde_json::to_vec(&payload.value).map_err(|_| too_large())?; // a `Value` can always be written
    drop(payload);
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
}
