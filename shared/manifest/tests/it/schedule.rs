//! Schedules: the one of the guide is read as it says, and what is wrong is told with its place.

use kapelle_manifest::schedules;
use kapelle_schedule::Overlap;

/// The manifest that the guide shows.
fn of_the_guide() -> String {
    let guide = include_str!("../../../../docs/guides/schedules.md");
    guide.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap().to_owned()
}

#[test]
fn the_schedule_of_the_guide_is_one() {
    let all = schedules("guide.yaml", &of_the_guide()).unwrap();
    let [schedule] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((schedule.name.as_str(), schedule.wanted().as_str()), ("nightly-count", "count@^1"));
    assert_eq!((schedule.rules.overlap, schedule.rules.catch_up.as_secs()), (Overlap::Skip, 3_600));
    assert!(schedule.pause_on_failure);
    assert_eq!(kapelle_manifest::Schedule::read(schedule.document()).unwrap(), *schedule, "as it is stored");
}

#[test]
fn what_is_wrong_is_told_where_it_stands() {
    for (from, to, code, line) in [
        ("30 2 * * MON-FRI", "30 2 30 2 *", "K0120", 7),
        ("Europe/Zurich", "Mars/Olympus", "K0120", 8),
        ("overlap: skip", "overlap: sometimes", "K0101", 10),
        ("count@^1", "count@one", "K0102", 5),
        ("jitter: 2m", "jiter: 2m", "K0101", 9),
    ] {
        let text = of_the_guide().replacen(from, to, 1);
        let problems = schedules("s.yaml", &text).unwrap_err();
        let told: Vec<_> = problems.iter().map(|it| (it.code().as_str(), it.line)).collect();
        assert_eq!(told, [(code, line)], "{to}: {problems:?}");
    }
}
