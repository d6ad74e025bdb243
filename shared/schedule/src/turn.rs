//! What follows from a schedule's ledger now.

use std::time::Duration;

use kapelle_types::{RunId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ledger::WAITING_MAX;
use crate::{Ledger, Outcome, Overlap, Timetable};

/// Times that are decided in one turn: after a year of silence, a schedule of every minute takes fifty.
const TIMES_MAX: usize = 10_000;

/// A time that waits, or is to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "time", rename_all = "lowercase")]
pub enum Time {
    /// Of the timetable: the same time is the same run, however often it is asked for.
    Scheduled(Timestamp),
    /// Of somebody who wants a run now.
    Triggered(Timestamp),
}

impl Time {
    /// The moment.
    #[must_use]
    pub const fn at(self) -> Timestamp {
        match self {
            Self::Scheduled(at) | Self::Triggered(at) => at,
        }
    }
}

/// What a schedule is decided by.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Its name, which fixes its jitter.
    pub name: String,
    /// Its times.
    pub times: Timetable,
    /// What it does while its runs are open.
    pub overlap: Overlap,
    /// How late a time may still be run.
    pub catch_up: Duration,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Turn {
    /// Times to run, in order; whoever does it says with [`Ledger::decided`] what became of them.
    pub start: Vec<Time>,
    /// Runs to end first, and why nothing is started meanwhile.
    pub end: Vec<RunId>,
    /// Times that passed because of open runs.
    pub skipped: u64,
    /// Times that nobody was there for.
    pub missed: u64,
}

impl Turn {
    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Rules {
    /// The next time that is not decided yet, and when it is due.
    #[must_use]
    pub fn next(&self, ledger: &Ledger) -> Option<(Timestamp, Timestamp)> {
        let time = self.times.next_after(ledger.decided_to)?;
        Some((time, self.times.due(&self.name, time)))
    }

    /// Decides everything that is due at `now`. `ledger.open` has to be what is open then.
    #[must_use]
    pub fn turn(&self, ledger: &mut Ledger, now: Timestamp) -> Turn {
        let mut turn = Turn::default();
        self.pass(ledger, &mut turn, now, |_, due| due <= now);
        if ledger.pause.is_none() {
            self.release(ledger, &mut turn);
        }
        turn
    }

    /// Has the ledger go on from `now`, because other times follow: what has come by then and is not decided waits for its
    /// turn, also what is only due a little later.
    pub fn leave_off(&self, ledger: &mut Ledger, now: Timestamp) {
        let waiting = Self { overlap: Overlap::BufferAll, ..self.clone() };
        waiting.pass(ledger, &mut Turn::default(), now, |time, _| time <= now);
        ledger.decided_to = ledger.decided_to.max(now);
    }

    /// Goes through the times that are not decided yet and have come.
    fn pass(
        &self,
        ledger: &mut Ledger,
        turn: &mut Turn,
        now: Timestamp,
        has_come: impl Fn(Timestamp, Timestamp) -> bool,
    ) {
        for _ in 0..TIMES_MAX {
            let Some((time, due)) = self.next(ledger).filter(|(time, due)| has_come(*time, *due)) else { break };
            ledger.decided_to = time;
            if ledger.pause.is_some() {
                continue;
            }
            if now.since(due) > self.catch_up {
                turn.missed += 1;
                ledger.decided(time, now, Outcome::Missed);
            } else {
                self.arrive(ledger, turn, time, now);
            }
        }
    }

    /// A time is due.
    fn arrive(&self, ledger: &mut Ledger, turn: &mut Turn, time: Timestamp, now: Timestamp) {
        let mut skip = |ledger: &mut Ledger, time: Timestamp, why: String| {
            turn.skipped += 1;
            ledger.decided(time, now, Outcome::Skipped { why });
        };
        // What waits from this turn will be started below, if nothing is open.
        let busy = !ledger.open.is_empty() || !ledger.waiting.is_empty();
        let open = ledger.open.first().map(|it| it.run);
        let behind = || open.map_or_else(|| "another time is first".to_owned(), |run| format!("run {run} is open"));
        match self.overlap {
            Overlap::Skip if busy => skip(ledger, time, behind()),
            Overlap::BufferOne
                if ledger.waiting.iter().any(|it| matches!(it, Time::Scheduled(_))) && open.is_some() =>
            {
                skip(ledger, time, "another time waits already".to_owned());
            }
            Overlap::CancelOther | Overlap::TerminateOther if busy => {
                turn.end = ledger.open.iter().map(|it| it.run).collect();
                for passed in std::mem::take(&mut ledger.waiting) {
                    skip(ledger, passed.at(), format!("the time {time} came before it could run"));
                }
                ledger.waiting.push_back(Time::Scheduled(time));
            }
            _ if ledger.waiting.len() >= WAITING_MAX => {
                skip(ledger, time, format!("{WAITING_MAX} times wait already"));
            }
            _ if ledger.waiting.contains(&Time::Scheduled(time)) => {}
            _ => ledger.waiting.push_back(Time::Scheduled(time)),
        }
    }

    /// Starts what may start.
    fn release(&self, ledger: &mut Ledger, turn: &mut Turn) {
        if self.overlap == Overlap::AllowAll {
            turn.start.extend(ledger.waiting.drain(..));
        } else if ledger.open.is_empty() {
            turn.start.extend(ledger.waiting.pop_front());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pause, Rule, Zone};

    const MINUTE: i64 = 60_000;

    fn rules(overlap: Overlap) -> Rules {
        let rule = Rule::Every { every: Duration::from_secs(60), offset: Duration::ZERO };
        let times = Timetable::new(rule, Zone::named("UTC").unwrap(), Duration::ZERO, None, None).unwrap();
        Rules { name: "s".into(), times, overlap, catch_up: Duration::from_secs(600) }
    }

    fn minute(n: i64) -> Timestamp {
        Timestamp::from_millis(n * MINUTE)
    }

    fn run(n: i64) -> RunId {
        RunId::keyed("default", &"w".parse().unwrap(), &n.to_string())
    }

    /// Plays a story: `m` is a minute that passes, `e` the end of the oldest open run. Every start becomes a run.
    fn play(overlap: Overlap, story: &str) -> (Ledger, Vec<i64>, usize) {
        let (rules, mut ledger) = (rules(overlap), Ledger::new(minute(0)));
        let (mut now, mut started, mut ended) = (0, Vec::new(), 0);
        for event in story.chars() {
            match event {
                'm' => now += 1,
                'e' => drop(ledger.open.remove(0)),
                'p' => ledger.pause = Some(Pause { by: Default::default(), at: minute(now), note: String::new() }),
                'r' => ledger.pause = None,
                other => panic!("{other}"),
            }
            let turn = rules.turn(&mut ledger, minute(now));
            ended += turn.end.len();
            for time in turn.start {
                let n = time.at().millis() / MINUTE;
                started.push(n);
                ledger.decided(time.at(), minute(now), Outcome::Started { run: run(n) });
            }
        }
        (ledger, started, ended)
    }

    #[test]
    fn each_overlap_policy_does_what_it_says() {
        for (overlap, story, started, skipped, ended) in [
            (Overlap::Skip, "mmmem", vec![1, 4], 2, 0),
            (Overlap::BufferOne, "mmmee", vec![1, 2], 1, 0),
            (Overlap::BufferAll, "mmmee", vec![1, 2, 3], 0, 0),
            (Overlap::AllowAll, "mmm", vec![1, 2, 3], 0, 0),
            (Overlap::CancelOther, "mme", vec![1, 2], 0, 1),
            (Overlap::CancelOther, "mmme", vec![1, 3], 1, 2),
            (Overlap::TerminateOther, "mme", vec![1, 2], 0, 1),
            (Overlap::Skip, "mepmmrm", vec![1, 4], 0, 0),
        ] {
            let (ledger, ran, ends) = play(overlap, story);
            assert_eq!((ran, ledger.skipped, ends), (started, skipped, ended), "{overlap:?} {story}");
        }
    }

    #[test]
    fn what_nobody_was_there_for_is_run_within_catch_up_and_counted_beyond() {
        let (rules, mut ledger) = (rules(Overlap::AllowAll), Ledger::new(minute(0)));
        let turn = rules.turn(&mut ledger, minute(30));
        let started: Vec<_> = turn.start.iter().map(|it| it.at()).collect();
        assert_eq!(started, (20..=30).map(minute).collect::<Vec<_>>(), "in order");
        assert_eq!((turn.missed, ledger.missed, ledger.decided_to), (19, 19, minute(30)));
        assert!(rules.turn(&mut ledger, minute(30)).is_empty(), "once");
    }

    #[test]
    fn what_has_come_before_the_times_are_changed_waits_for_its_turn() {
        let (before, mut ledger) = (rules(Overlap::Skip), Ledger::new(minute(0)));
        let mut later = before.clone();
        later.times = Timetable::new(
            Rule::Every { every: Duration::from_secs(3600), offset: Duration::ZERO },
            Zone::named("UTC").unwrap(),
            Duration::ZERO,
            None,
            None,
        )
        .unwrap();
        let half = Duration::from_secs(30);
        before.leave_off(&mut ledger, minute(1).plus(half));
        let turn = later.turn(&mut ledger, minute(1).plus(half));
        assert_eq!(turn.start, [Time::Scheduled(minute(1))], "it is not lost");
        assert_eq!(ledger.decided_to, minute(1).plus(half), "and nothing of the new times before is run");
        before.leave_off(&mut ledger, minute(1).plus(half));
        assert!(ledger.waiting.is_empty(), "once");

        let mut paused = Ledger::new(minute(0));
        paused.pause = Some(Pause { by: Default::default(), at: minute(0), note: String::new() });
        before.leave_off(&mut paused, minute(3));
        assert_eq!((paused.waiting.len(), paused.decided_to), (0, minute(3)), "what passes in a pause is not run");
    }

    #[test]
    fn what_is_asked_for_waits_for_its_turn_and_stands_there_once() {
        let (rules, mut ledger) = (rules(Overlap::Skip), Ledger::new(minute(0)));
        let times = || (-3..0).map(|n| Time::Scheduled(minute(n)));
        assert!(ledger.ask(times()) && ledger.ask(times()));
        assert_eq!(ledger.waiting.len(), 3);
        let turn = rules.turn(&mut ledger, minute(0));
        assert_eq!(turn.start, [Time::Scheduled(minute(-3))], "one after the other");
        assert!(!ledger.ask((0..2_000).map(|n| Time::Triggered(minute(n)))), "too many");
        assert_eq!(ledger.waiting.len(), 2);
    }
}
