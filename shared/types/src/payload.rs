//! Inputs and outputs of runs and steps.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The SHA-256 of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest;
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// Reads 64 hexadecimal digits; `None` for anything else.
    #[must_use]
    pub fn parse(hex: &str) -> Option<Self> {
        if hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        let mut out = [0u8; 32];
        for (slot, at) in out.iter_mut().zip((0..64).step_by(2)) {
            *slot = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self(out))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sha256 {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(d)?).ok_or_else(|| serde::de::Error::custom("not a SHA-256 in hexadecimal"))
    }
}

/// Where a payload above the inline limit lies: the object store's name for it is its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PayloadRef {
    /// SHA-256 of the stored bytes (JSON text).
    pub sha256: Sha256,
    /// Their length in bytes.
    pub size_bytes: u64,
}

/// A JSON value on its way through a run. Cloning is cheap.
///
/// Above the inline limit it is stored by hash and travels as a claim check. The coordinator fetches the value before the
/// engine sees the entry; `value` is `None` only where the object could not be found.
#[derive(Debug, Clone, PartialEq)]
pub struct Payload {
    /// The value, unless it is stored elsewhere and could not be fetched.
    pub value: Option<Arc<Value>>,
    /// Where it is stored, if it is not inline.
    pub stored: Option<PayloadRef>,
}

impl Payload {
    /// A value that is carried inline.
    #[must_use]
    pub fn inline(value: Value) -> Self {
        Self { value: Some(Arc::new(value)), stored: None }
    }

    /// A claim check whose value was not fetched.
    #[must_use]
    pub const fn reference(stored: PayloadRef) -> Self {
        Self { value: None, stored: Some(stored) }
    }

    /// JSON `null`: the output of a skipped step.
    #[must_use]
    pub fn null() -> Self {
        Self::inline(Value::Null)
    }

    /// Whether it has more bytes as JSON than this. One that is not at hand is judged by its claim check.
    #[must_use]
    pub fn exceeds(&self, bytes_max: u64) -> bool {
        match (&self.stored, &self.value) {
            (Some(stored), _) => stored.size_bytes > bytes_max,
            (None, Some(value)) => json_bytes(value, usize::try_from(bytes_max).unwrap_or(usize::MAX)).is_none(),
            (None, None) => false,
        }
    }
}

/// The length of a value as JSON text; `None` if that is more than `bytes_max`. Nothing is kept of it.
#[must_use]
pub fn json_bytes(value: &Value, bytes_max: usize) -> Option<usize> {
    let mut counter = Counter { bytes: 0, bytes_max };
    serde_json::to_writer(&mut counter, value).ok().map(|()| counter.bytes)
}

struct Counter {
    bytes: usize,
    bytes_max: usize,
}

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len();
        if self.bytes > self.bytes_max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How deeply a value is nested: 0 for a scalar, 1 for a list or object of scalars. Values that a parser read are at most
/// 128 deep, so the recursion is bounded.
#[must_use]
pub fn json_depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(json_depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(json_depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self::inline(value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_measured_up_to_a_limit() {
        let value = json!({ "a": [1, "ä"] });
        let length = value.to_string().len();
        assert_eq!((json_bytes(&value, length), json_bytes(&value, length - 1)), (Some(length), None));
        let inline = Payload::inline(value);
        assert!(!inline.exceeds(length as u64) && inline.exceeds(length as u64 - 1));
        let stored = Payload::reference(PayloadRef { sha256: Sha256::of(b""), size_bytes: 100 });
        assert!(!stored.exceeds(100) && stored.exceeds(99));
    }

    #[test]
    fn digests_print_and_parse() {
        let d = Sha256::of(b"abc");
        assert_eq!(d.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(Sha256::parse(&d.to_string()), Some(d));
        assert_eq!(Sha256::parse("zz"), None);
        assert_eq!(Sha256::parse(&"é".repeat(32)), None);
    }
}
