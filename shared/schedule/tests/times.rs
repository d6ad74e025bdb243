//! The times of timetables: cases of clocks that are changed, as data, and what holds for every timetable.
#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

use std::time::Duration;

use kapelle_schedule::{Cron, Rule, Timetable, Zone};
use kapelle_types::Timestamp;
use proptest::prelude::*;

fn table(line: &str, zone: &str) -> Timetable {
    let rule = Rule::Crons(vec![Cron::parse(line).unwrap()]);
    Timetable::new(rule, Zone::named(zone).unwrap(), Duration::ZERO, None, None).unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn times(table: &Timetable, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    std::iter::successors(table.next_after(from), |time| table.next_after(*time))
        .take_while(|time| *time <= until)
        .collect()
}

/// zone | line | from | until | what the clocks of the zone show at each time
const CASES: &[(&str, &str, &str, &str, &[&str])] = &[
    // Put forward, 02:00 becomes 03:00: a named time runs when they have been.
    (
        "Europe/Zurich",
        "30 2 * * *",
        "2026-03-28T00:00:00Z",
        "2026-03-30T12:00:00Z",
        &["03-28 02:30", "03-29 03:00", "03-30 02:30"],
    ),
    (
        "Europe/Zurich",
        "0,30 2,3 * * *",
        "2026-03-28T23:30:00Z",
        "2026-03-29T12:00:00Z",
        &["03-29 03:00", "03-29 03:30"],
    ),
    ("Europe/Zurich", "0 3 * * *", "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z", &["03-29 03:00"]),
    // What follows the clocks has nothing in the hour that is not there.
    (
        "Europe/Zurich",
        "*/30 * * * *",
        "2026-03-29T00:20:00Z",
        "2026-03-29T01:40:00Z",
        &["03-29 01:30", "03-29 03:00", "03-29 03:30"],
    ),
    ("Europe/Zurich", "30 * * * *", "2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z", &["03-29 01:30", "03-29 03:30"]),
    // Put back, 03:00 becomes 02:00: a named time runs the first time.
    ("Europe/Zurich", "30 2 * * *", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z", &["10-25 02:30", "10-26 02:30"]),
    ("Europe/Zurich", "30 2 * * *", "2026-10-25T00:45:00Z", "2026-10-25T12:00:00Z", &[]),
    ("Europe/Zurich", "30 2 * * *", "2026-10-25T01:10:00Z", "2026-10-25T12:00:00Z", &[]),
    ("Europe/Zurich", "0 3 * * *", "2026-10-25T00:45:00Z", "2026-10-25T12:00:00Z", &["10-25 03:00"]),
    // What follows the clocks runs in both hours.
    (
        "Europe/Zurich",
        "*/30 * * * *",
        "2026-10-25T00:10:00Z",
        "2026-10-25T02:10:00Z",
        &["10-25 02:30", "10-25 02:00", "10-25 02:30", "10-25 03:00"],
    ),
    // Half an hour, at midnight, on the other half of the Earth; a zone without changes; a day that was not there.
    (
        "Australia/Lord_Howe",
        "15 2 * * *",
        "2026-10-02T16:00:00Z",
        "2026-10-04T16:00:00Z",
        &["10-04 02:30", "10-05 02:15"],
    ),
    ("Africa/Cairo", "30 0 * * *", "2026-04-23T00:00:00Z", "2026-04-24T23:00:00Z", &["04-24 01:00", "04-25 00:30"]),
    ("America/New_York", "30 2 8 3 *", "2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z", &["03-08 03:00"]),
    ("Asia/Kolkata", "0 9 * * MON", "2026-11-22T00:00:00Z", "2026-11-30T12:00:00Z", &["11-23 09:00", "11-30 09:00"]),
    (
        "Pacific/Apia",
        "0 12 * * *",
        "2011-12-29T00:00:00Z",
        "2011-12-31T12:00:00Z",
        &["12-29 12:00", "12-31 00:00", "12-31 12:00"],
    ),
    // Leap days, last days, weekdays by number.
    ("UTC", "0 0 29 2 *", "2026-01-01T00:00:00Z", "2032-12-31T00:00:00Z", &["02-29 00:00", "02-29 00:00"]),
    (
        "UTC",
        "0 0 L * *",
        "2026-01-01T00:00:00Z",
        "2026-03-31T00:00:00Z",
        &["01-31 00:00", "02-28 00:00", "03-31 00:00"],
    ),
    ("UTC", "0 0 * * FRI#2", "2026-01-01T00:00:00Z", "2026-02-28T00:00:00Z", &["01-09 00:00", "02-13 00:00"]),
    ("UTC", "0 0 15W * *", "2026-08-01T00:00:00Z", "2026-08-31T00:00:00Z", &["08-14 00:00"]),
];

#[test]
fn clocks_that_are_changed() {
    for (zone, line, from, until, shown) in CASES {
        let table = table(line, zone);
        let found: Vec<String> = times(&table, at(from), at(until))
            .into_iter()
            .map(|time| table.zone().shown(time)[5..16].to_owned())
            .collect();
        assert_eq!(found, *shown, "{line} in {zone}");
    }
}

#[test]
fn what_has_no_times_is_refused() {
    for line in ["", "* * * *", "* * * * * *", "@daily", "61 * * * *", "0 0 30 2 *", "0 0 31 4,6,9,11 *", "x * * * *"] {
        assert!(Cron::parse(line).is_err(), "{line}");
    }
    for zone in ["", "Mars/Olympus", "+01:00"] {
        assert!(Zone::named(zone).is_err(), "{zone}");
    }
    let utc = || Zone::named("UTC").unwrap();
    let every =
        |every, offset| Rule::Every { every: Duration::from_millis(every), offset: Duration::from_millis(offset) };
    for rule in [Rule::Crons(vec![]), every(500, 0), every(1_500, 0), every(60_000, 60_000)] {
        assert!(Timetable::new(rule, utc(), Duration::ZERO, None, None).is_err());
    }
    let (from, until) = (at("2026-02-01T00:00:00Z"), at("2026-01-01T00:00:00Z"));
    assert!(Timetable::new(every(1_000, 0), utc(), Duration::ZERO, Some(from), Some(until)).is_err());
}

#[test]
fn nothing_runs_before_from_or_after_until() {
    let rule = Rule::Every { every: Duration::from_secs(3_600), offset: Duration::from_secs(900) };
    let (from, until) = (at("2026-01-01T10:15:00Z"), at("2026-01-01T12:15:00Z"));
    let table = Timetable::new(rule, Zone::named("UTC").unwrap(), Duration::ZERO, Some(from), Some(until)).unwrap();
    let all = times(&table, at("2025-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
    assert_eq!(all, [from, at("2026-01-01T11:15:00Z"), until]);
}

fn any_table() -> impl Strategy<Value = Timetable> {
    let lines = prop::sample::select(vec![
        "* * * * *",
        "*/7 * * * *",
        "30 2 * * *",
        "0 */2 * * *",
        "15,45 1-3 * * *",
        "0 0 1 * *",
        "5 4 * * SUN",
        "0 0 29 2 *",
    ]);
    let zones = prop::sample::select(vec![
        "UTC",
        "Europe/Zurich",
        "America/New_York",
        "Australia/Lord_Howe",
        "Africa/Cairo",
        "Asia/Kolkata",
        "Pacific/Apia",
        "America/Santiago",
        "Africa/Casablanca",
        "Asia/Tehran",
    ]);
    let crons = prop::collection::vec(lines, 1..3)
        .prop_map(|lines| Rule::Crons(lines.into_iter().map(|it| Cron::parse(it).unwrap()).collect()));
    let every = (1_u64..100_000, 0_u64..100_000).prop_map(|(every, offset)| Rule::Every {
        every: Duration::from_secs(every),
        offset: Duration::from_secs(offset % every),
    });
    (prop_oneof![3 => crons, 1 => every], zones, 0_u64..7_200).prop_map(|(rule, zone, jitter)| {
        Timetable::new(rule, Zone::named(zone).unwrap(), Duration::from_secs(jitter), None, None).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever asks from whenever finds the same times: none is passed over, none comes twice, and none is due early.
    #[test]
    fn times_go_on_and_do_not_depend_on_who_asks(
        table in any_table(), second in 1_700_000_000_i64..1_900_000_000, back in 1_i64..200_000
    ) {
        let from = Timestamp::from_millis(second * 1_000);
        let mut last = from;
        for _ in 0..30 {
            let Some(next) = table.next_after(last) else { break };
            prop_assert!(next > last);
            // From anywhere before, with nothing in between.
            let between = Timestamp::from_nanos(next.nanos() - 1 - (back * 7_777_777) % (next.nanos() - last.nanos()));
            prop_assert_eq!(table.next_after(between.max(last)), Some(next));
            let due = table.due("a", next);
            prop_assert!(due >= next && due == table.due("a", next));
            prop_assert!(table.next_after(next).is_none_or(|after| due < after));
            last = next;
        }
    }
}
