//! What values weigh in memory: an estimate, computed once when a value arrives and once when it goes.

use kapelle_types::Payload;
use serde_json::Value;

/// Bytes that an entry of a JSON object costs beside its key and value.
const MEMBER_BYTES: usize = 16;

/// What a payload holds on the heap.
pub(crate) fn payload_bytes(payload: &Payload) -> usize {
    payload.value.as_deref().map_or(0, value_bytes)
}

/// What a JSON value holds, itself included. Not recursive beyond the depth that payloads may have.
pub(crate) fn value_bytes(value: &Value) -> usize {
    #[cfg(test)]
    crate::cost::count(1);
    let inner = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(value_bytes).sum(),
        Value::Object(members) => {
            members.iter().map(|(k, v)| MEMBER_BYTES + size_of::<String>() + k.len() + value_bytes(v)).sum()
        }
    };
    size_of::<Value>() + inner
}
