//! The times of a schedule: the next one after any other, and when each is due.
//!
//! **When clocks are changed.** A line that names times of a day (`30 2 * * *`) runs once a day: a time that is skipped runs when
//! the clocks have been put forward, one that comes twice runs the first time. A line with `*` in its minutes or hours
//! (`*/15 * * * *`) follows what clocks show: nothing for the skipped hour, and twice in the hour that comes twice. `every` counts
//! seconds and does not look at clocks.

use std::time::Duration;

use kapelle_types::{Sha256, Timestamp};

use crate::zone::Stretch;
use crate::{Cron, Invalid, Zone};

/// Changes of the clocks that are gone through in search of one time: twice a year for as long as a line may be without one.
const CHANGES_MAX: usize = 128;

/// What the times follow.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// Any of these lines; a time that several have is one time.
    Crons(Vec<Cron>),
    /// Evenly, counted from the Unix epoch plus an offset.
    Every {
        /// From one time to the next.
        every: Duration,
        /// By how much they are moved; less than `every`.
        offset: Duration,
    },
}

/// The times of a schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Timetable {
    rule: Rule,
    zone: Zone,
    jitter: Duration,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Timetable {
    /// Puts a timetable together. `from` is the first possible time, `until` the last.
    ///
    /// # Errors
    /// It could have no times.
    pub fn new(
        rule: Rule,
        zone: Zone,
        jitter: Duration,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Self, Invalid> {
        match &rule {
            Rule::Crons(lines) if lines.is_empty() => return Err(Invalid::new("there is no cron line", "")),
            Rule::Every { every, .. } if every.as_secs() == 0 || every.subsec_nanos() > 0 => {
                return Err(Invalid::new("`every` is a whole number of seconds", ""));
            }
            Rule::Every { every, offset } if offset >= every => {
                return Err(Invalid::new("`offset` has to be shorter than `every`", ""));
            }
            Rule::Crons(_) | Rule::Every { .. } => {}
        }
        if from.zip(until).is_some_and(|(from, until)| from > until) {
            return Err(Invalid::new("`until` is before `from`", ""));
        }
        Ok(Self { rule, zone, jitter, from, until })
    }

    /// The zone in which its lines are meant.
    #[must_use]
    pub const fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The first time after this one.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let before_first = |from: Timestamp| Timestamp::from_nanos(from.nanos().saturating_sub(1));
        let after = self.from.map_or(after, |from| after.max(before_first(from)));
        let next = match &self.rule {
            Rule::Crons(lines) => {
                let second = after.nanos().div_euclid(NANOS);
                lines.iter().filter_map(|line| self.next_of(line, second)).min().map(at_second)
            }
            Rule::Every { every, offset } => next_even(after, *every, *offset),
        };
        next.filter(|next| self.until.is_none_or(|until| *next <= until))
    }

    /// When a time of the schedule is due: it, and as much of the jitter later as falls to it, but before the next time. The same
    /// schedule and time always give the same.
    #[must_use]
    pub fn due(&self, schedule: &str, time: Timestamp) -> Timestamp {
        if self.jitter.is_zero() {
            return time;
        }
        let room = self.next_after(time).map_or(self.jitter, |next| next.since(time).min(self.jitter));
        let drawn = Sha256::of(format!("{schedule}\u{0}{}", time.nanos()).as_bytes());
        let drawn =
            drawn.to_string().bytes().fold(0_u64, |all, byte| all.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let millis = u64::try_from(room.as_millis()).unwrap_or(u64::MAX);
        time.plus(Duration::from_millis(drawn % millis.max(1)))
    }

    /// The first second after this one at which a line occurs: stretch by stretch of clocks that go on evenly.
    fn next_of(&self, line: &Cron, after: i64) -> Option<i64> {
        let mut after = after;
        let Stretch { mut offset, mut end } = self.zone.stretch(after);
        // Up to which reading of the clocks everything has been: what comes a second time is passed over.
        let mut been = self.been(line, after, offset);
        for _ in 0..CHANGES_MAX {
            let shown = line.after(been.max(after + offset))?;
            let Some(change) = end.filter(|change| shown - offset >= *change) else { return Some(shown - offset) };
            let next = self.zone.stretch(change);
            // The reading that the clocks skip lies before the one with which they go on.
            if !line.follows_the_clock() && shown < change + next.offset {
                return Some(change);
            }
            been = if line.follows_the_clock() { i64::MIN } else { change + offset - 1 };
            (after, offset, end) = (change - 1, next.offset, next.end);
        }
        None
    }

    /// The last reading that has been before clocks were put back, if they were that lately.
    fn been(&self, line: &Cron, after: i64, offset: i64) -> i64 {
        /// No clock was put back further since there are computers.
        const BACK_MAX: i64 = 3 * 3_600;
        if line.follows_the_clock() {
            return i64::MIN;
        }
        let before = self.zone.stretch(after - BACK_MAX);
        match before.end {
            Some(change) if change <= after && before.offset > offset => change + before.offset - 1,
            _ => i64::MIN,
        }
    }
}

const NANOS: i64 = 1_000_000_000;

fn at_second(second: i64) -> Timestamp {
    Timestamp::from_nanos(second.saturating_mul(NANOS))
}

fn next_even(after: Timestamp, every: Duration, offset: Duration) -> Option<Timestamp> {
    let every = i64::try_from(every.as_nanos()).ok()?;
    let offset = i64::try_from(offset.as_nanos()).ok()?;
    let passed = after.nanos().checked_sub(offset)?.div_euclid(every);
    passed.checked_add(1)?.checked_mul(every)?.checked_add(offset).map(Timestamp::from_nanos)
}
