//! Time zones by their IANA names.
//!
//! The database is the one that was compiled in, never the machine's: two owners of one schedule have to agree, whatever
//! their systems were updated to.

use std::fmt;
use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::Invalid;

static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

/// A stretch of time in which the clocks of a zone go on evenly.
pub(crate) struct Stretch {
    /// Seconds that its clocks are ahead of UTC.
    pub(crate) offset: i64,
    /// The second at which the clocks are changed; `None` if that is not known ever to happen.
    pub(crate) end: Option<i64>,
}

impl Zone {
    /// The zone of this name: `Europe/Zurich`, `UTC`.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Self, Invalid> {
        let unknown = |_| {
            let what = format!("there is no time zone `{name}`");
            Invalid::new(what, "write its IANA name, such as `Europe/Zurich` or `UTC`")
        };
        let zone = if name == "UTC" { TimeZone::UTC } else { DATABASE.get(name).map_err(unknown)? };
        let name = zone.iana_name().unwrap_or(name).to_owned();
        Ok(Self { name, zone })
    }

    /// Its IANA name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stretch that a second of Unix time lies in. Beyond what the database can express, the clocks stay as they are.
    pub(crate) fn stretch(&self, second: i64) -> Stretch {
        let Ok(at) = jiff::Timestamp::from_second(second) else { return Stretch { offset: 0, end: None } };
        let offset = i64::from(self.zone.to_offset(at).seconds());
        // Not every transition moves the clocks; some only rename them.
        let moves = |next: &jiff::tz::TimeZoneTransition<'_>| i64::from(next.offset().seconds()) != offset;
        let end = self.zone.following(at).take(TRANSITIONS_MAX).find(moves).map(|next| next.timestamp().as_second());
        Stretch { offset, end }
    }

    /// What the clocks of the zone show at this second: `2026-03-29 03:00 +02:00`.
    #[must_use]
    pub fn shown(&self, at: kapelle_types::Timestamp) -> String {
        let at = jiff::Timestamp::from_nanosecond(i128::from(at.nanos())).unwrap_or_default();
        at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
    }
}

/// Changes of a zone that are looked at for one that moves its clocks: rules that repeat move them twice a year.
const TRANSITIONS_MAX: usize = 8;

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
