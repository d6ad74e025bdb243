//! The row of an agent version's starts, an interval apart, of which only the next free one is stored: pure arithmetic.

use std::time::Duration;

use kapelle_types::{Rate, Timestamp};

/// How long before it is due a start may be reserved: a way to the broker and back, and the way of the task.
///
/// It is short because what is reserved is lost with its worker. So the whole fleet has never more ahead of it than this and one
/// reservation, however many of its workers die.
pub(super) const AHEAD: Duration = Duration::from_millis(100);

/// Takes this many starts from the row: the first of them, and the next free one after them.
///
/// # Errors
/// When to come again, if the next free one is too far ahead to be reserved.
pub(super) fn take(
    next: Timestamp,
    now: Timestamp,
    rate: Rate,
    count: u32,
) -> Result<(Timestamp, Timestamp), Timestamp> {
    let first = next.max(now);
    let early = first.since(now).saturating_sub(AHEAD);
    if !early.is_zero() {
        return Err(now.plus(early));
    }
    Ok((first, first.plus(rate.interval().saturating_mul(count))))
}

/// The next free start when these, in order, are not used: those go back behind which nobody has reserved.
pub(super) fn returned(next: Timestamp, rate: Rate, unused: &[Timestamp]) -> Timestamp {
    unused.iter().rfold(next, |next, start| if start.plus(rate.interval()) == next { *start } else { next })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// As long as a worker uses a start after it is due.
    const GOOD_FOR: Duration = Duration::from_secs(1);
    const BEGIN: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    #[derive(Debug, Clone)]
    enum Event {
        Passes { permille: u64 },
        Reserves(usize, u32),
        Starts(usize),
        Drains(usize),
        Dies(usize),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            2 => (0..1_500u64).prop_map(|permille| Event::Passes { permille }),
            3 => (0..4usize, 1..20u32).prop_map(|(worker, count)| Event::Reserves(worker, count)),
            4 => (0..4usize).prop_map(Event::Starts),
            1 => (0..4usize).prop_map(Event::Drains),
            1 => (0..4usize).prop_map(Event::Dies),
        ]
    }

    fn rate() -> impl Strategy<Value = Rate> {
        prop::sample::select(vec!["1/h", "7/h", "90/min", "3/s", "20/s", "1000/s"]).prop_map(|it| it.parse().unwrap())
    }

    struct Fleet {
        rate: Rate,
        now: Timestamp,
        next: Timestamp,
        workers: [BTreeSet<Timestamp>; 4],
        started: Vec<Timestamp>,
    }

    impl Fleet {
        fn sees(&mut self, event: &Event) {
            match *event {
                Event::Passes { permille } => {
                    let nanos = u64::try_from(self.rate.interval().as_nanos()).unwrap() / 1_000 * permille;
                    self.now = self.now.plus(Duration::from_nanos(nanos));
                }
                Event::Reserves(worker, count) => {
                    let count = count.min(self.rate.burst());
                    let stale = |start: &&Timestamp| self.now.since(**start) > GOOD_FOR;
                    let unused: Vec<_> = self.workers[worker].iter().filter(stale).copied().collect();
                    let next = returned(self.next, self.rate, &unused);
                    self.workers[worker].retain(|it| !unused.contains(it));
                    let Ok((first, after)) = take(next, self.now, self.rate, count) else { return };
                    self.next = after;
                    self.workers[worker].extend((0..count).map(|n| first.plus(self.rate.interval() * n)));
                }
                Event::Starts(worker) => {
                    let (now, row) = (self.now, &mut self.workers[worker]);
                    let good = row.iter().find(|it| **it <= now && now.since(**it) <= GOOD_FOR).copied();
                    self.started.extend(good.filter(|it| row.remove(it)).map(|_| now));
                }
                Event::Drains(worker) => {
                    let unused: Vec<_> = std::mem::take(&mut self.workers[worker]).into_iter().collect();
                    self.next = returned(self.next, self.rate, &unused);
                }
                Event::Dies(worker) => self.workers[worker].clear(),
            }
        }
    }

    proptest! {
        /// Whatever restarts, in no time do more begin than the rate and one second's worth, and however many die, the fleet
        /// has lost no more than what is ahead: one interval, or a second of a rate that has several in one.
        #[test]
        fn the_rate_is_kept_and_little_is_lost(rate in rate(), events in prop::collection::vec(event(), 1..300)) {
            let mut fleet =
                Fleet { rate, now: BEGIN, next: Timestamp::default(), workers: Default::default(), started: vec![] };
            for event in &events {
                fleet.sees(event);
                let ahead = fleet.next.since(fleet.now);
                prop_assert!(ahead <= AHEAD + rate.interval() * rate.burst(), "{ahead:?} ahead after {event:?}");
            }
            for (nth, from) in fleet.started.iter().enumerate() {
                for (count, to) in (1..).zip(&fleet.started[nth..]) {
                    let room = (to.since(*from) + GOOD_FOR).as_nanos() / rate.interval().as_nanos() + 1;
                    prop_assert!(count <= room, "{count} starts in {:?}", to.since(*from));
                }
            }
        }

        /// A fleet that has always something to do loses one start of a slow rate with each kill, and none with a drain.
        #[test]
        fn a_kill_costs_one_interval_and_a_drain_none(ends in prop::collection::vec(0..3u8, 1..200)) {
            let rate: Rate = "1/h".parse().unwrap();
            let (mut now, mut next, mut gone) = (BEGIN, BEGIN, 0);
            for end in ends {
                now = take(next, now, rate, 1).err().unwrap_or(now);
                let (first, after) = take(next, now, rate, 1).unwrap();
                next = after;
                match end {
                    0 => next = returned(next, rate, &[first]),
                    _ => gone += 1, // used, or lost with a worker
                }
                now = now.max(if end == 1 { first } else { now });
                prop_assert_eq!(next, BEGIN.plus(rate.interval() * gone));
            }
        }
    }
}
