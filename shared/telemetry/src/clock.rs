//! The one place that reads the machine's clock.
//!
//! For logs, ages and deadlines at the edges. The engine never calls it: its time is the timestamp of the entry.

use std::time::{SystemTime, UNIX_EPOCH};

use kapelle_types::Timestamp;

/// Now, by this machine's clock; the epoch if it stands before 1970.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the clock that everyone else has to use")]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_later_than_this_line() {
        let written = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        assert!(now() > written);
    }
}
