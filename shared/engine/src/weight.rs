//! What values weigh in memory: an estimate, computed once when a value arrives and once when it goes.

use kapelle_types::Payload;
use serde_json::Value;

/// Bytes of a JSON object's table of places, and those that each string costs beside its text.
const TABLE_BYTES: usize = 64;
const STRING_BYTES: usize = 16;
/// The members that an object has room for at least.
const MEMBERS_MIN: usize = 3;

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
        Value::String(text) => STRING_BYTES + text.len(),
        Value::Array(items) => items.iter().map(value_bytes).sum(),
        Value::Object(members) if members.is_empty() => 0,
        Value::Object(members) => {
            let room = MEMBERS_MIN.saturating_sub(members.len()) * size_of::<(usize, String, Value)>();
            let member =
                |(k, v): (&String, &Value)| size_of::<(usize, String)>() + STRING_BYTES + k.len() + value_bytes(v);
            TABLE_BYTES + room + members.iter().map(member).sum::<usize>()
        }
    };
    size_of::<Value>() + inner
}
