//! Points in time and spans as people read them.

use std::time::Duration;

use kapelle_types::Timestamp;

/// How long ago: `42s`, `5m`, `3h`, `12d`.
pub(crate) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.since(then).as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// How long something took: `3 ms`, `1.24 s`, `4 m 02 s`.
pub(crate) fn span(duration: Duration) -> String {
    match duration.as_millis() {
        millis @ 0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{:.2} s", duration.as_secs_f64()),
        _ => format!("{} m {:02} s", duration.as_secs() / 60, duration.as_secs() % 60),
    }
}

/// RFC 3339 for machines; `None` for the zero that stands for "not yet".
pub(crate) fn moment(unix_nanos: i64) -> Option<String> {
    (unix_nanos != 0).then(|| Timestamp::from_nanos(unix_nanos).rfc3339())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_fits_the_size() {
        let then = Timestamp::from_millis(0);
        for (seconds, text) in [(0, "0s"), (119, "119s"), (120, "2m"), (7_200, "2h"), (172_800, "2d")] {
            assert_eq!(age(then, then.plus(Duration::from_secs(seconds))), text);
        }
        assert_eq!(age(Timestamp::from_millis(5_000), then), "0s", "a clock that is ahead");
        for (millis, text) in [(3, "3 ms"), (1_240, "1.24 s"), (242_000, "4 m 02 s")] {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
        assert_eq!((moment(0), moment(1_000_000_000).as_deref()), (None, Some("1970-01-01T00:00:01.000Z")));
    }
}
