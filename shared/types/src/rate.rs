//! How often something may begin: `10/s`, `600/min`, `5000/h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::limits::RATE_PER_SECOND_MAX;

/// The units, with what they last in seconds.
const UNITS: [(&str, u64); 3] = [("s", 1), ("min", 60), ("h", 3_600)];

/// So many beginnings in a unit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u32,
    /// Index into [`UNITS`], so that it is printed as it was written.
    unit: usize,
}

impl Rate {
    /// The time between two beginnings.
    #[must_use]
    pub fn interval(self) -> Duration {
        Duration::from_nanos(self.unit_seconds() * 1_000_000_000 / u64::from(self.count))
    }

    /// How many may begin at once after a pause: as many as in one second, at least one.
    #[must_use]
    pub fn burst(self) -> u32 {
        u32::try_from(u64::from(self.count) / self.unit_seconds()).unwrap_or(u32::MAX).max(1)
    }

    fn unit_seconds(self) -> u64 {
        UNITS.get(self.unit).map_or(1, |(_, seconds)| *seconds)
    }
}

impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (count, unit) = text.split_once('/').ok_or("a rate has a number, a `/` and a unit")?;
        let unit = UNITS.iter().position(|(name, _)| *name == unit.trim()).ok_or("the units are `s`, `min` and `h`")?;
        let count: u32 = count.trim().parse().map_err(|_| "the number before the `/` has to be a whole one")?;
        if count == 0 {
            return Err("a rate of zero would let nothing begin at all");
        }
        let rate = Self { count, unit };
        if u64::from(count) > RATE_PER_SECOND_MAX * rate.unit_seconds() {
            return Err("no rate is higher than 10000/s");
        }
        Ok(rate)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, UNITS.get(self.unit).map_or("s", |(name, _)| *name))
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_printed() {
        for (text, micros, burst) in
            [("10/s", 100_000, 10), ("600/min", 100_000, 10), ("5000/h", 720_000, 1), ("1/h", 3_600_000_000, 1)]
        {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.to_string().as_str(), rate.burst()), (text, burst));
            assert_eq!(rate.interval(), Duration::from_micros(micros));
        }
        for text in ["", "10", "10/d", "0/s", "-1/s", "1.5/s", "10001/s", "36000001/h", "/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        assert!("36000000/h".parse::<Rate>().is_ok());
    }
}
