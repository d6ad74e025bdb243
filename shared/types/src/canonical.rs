//! Canonical JSON, so that what is equal has equal digests.

use serde_json::Value;

/// The value as RFC 8785 writes it.
#[must_use]
pub fn canonical(value: &Value) -> String {
    // It fails only for writers that fail and keys that are no strings.
    serde_json_canonicalizer::to_string(value).unwrap_or_else(|_| value.to_string())
}
