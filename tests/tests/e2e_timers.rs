//! Durable timers while owners die: none is early, none is lost, and how late they are is printed.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test: it fails by panics and prints its figures")]

use std::time::Duration;

use futures::{StreamExt, stream};
use kapelle_engine::RunStatus;
use kapelle_tests::harness::manifests::workflow;
use kapelle_tests::harness::{Audit, Fleet, Logbook, Turn, is_chaos, job};
use kapelle_types::Timestamp;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

/// Submissions in flight.
const IN_FLIGHT: usize = 256;
/// No run may be decided or marked later than this after its time, with an owner's death in between: several times what a
/// busy machine needs. How late they are on a quiet one is printed.
const LATE_MAX: Duration = Duration::from_secs(30);

/// How many runs wait, how long it may take to submit them, and over how long their times are spread.
fn sizes() -> (usize, Duration, Duration) {
    if is_chaos() {
        (100_000, Duration::from_secs(180), Duration::from_secs(60))
    } else {
        (2_000, Duration::from_secs(15), Duration::from_secs(3))
    }
}

/// The latest of all and of 99 in a hundred.
fn late(mut all: Vec<Duration>) -> (Duration, Duration) {
    all.sort_unstable();
    let at = |share: usize| all.get((all.len() * share / 100).min(all.len() - 1)).copied().unwrap_or_default();
    (at(99), at(100))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_end_in_time_though_owners_die_when_they_are_due() {
    let _turn = Turn::take().await;
    let (runs, lead, spread) = sizes();
    let mut fleet = Fleet::start(2).await;
    let step = json!([{ "id": "until", "wait": { "until": "${input.at}" } }]);
    fleet.register(&[workflow("alarm", &step, "${input.at}")]).await;
    let book = Logbook::open(fleet.bus().await);

    let (begun, first) = (Instant::now() + lead, kapelle_telemetry::clock::now().plus(lead));
    let part = |n: usize| spread * u32::try_from(n).unwrap() / u32::try_from(runs).unwrap();
    let due = |n: usize| first.plus(part(n));
    let submit = |n: usize| {
        let request = job("alarm", Some(&format!("alarm-{n}")), &json!({ "at": due(n).rfc3339() }));
        let api = fleet.api.clone();
        async move { api.submit_surely(&request).await }
    };
    let submitted = stream::iter(0..runs).map(submit).buffer_unordered(IN_FLIGHT).count().await;
    assert_eq!(submitted, runs);
    let early = begun.saturating_duration_since(Instant::now());
    println!("{runs} runs wait, {} ms before the first is due", early.as_millis());

    // One owner dies as the first are due, and the other when half of them are, with a fresh one beside it.
    sleep_until(begun).await;
    fleet.kill_coordinator();
    fleet.start_coordinator().await;
    sleep_until(begun + spread / 2).await;
    fleet.kill_coordinator();
    book.all_ended().await;

    let audit = Audit::of(&book).await;
    println!("{}", audit.summary());
    assert_eq!(audit.runs.len(), runs);
    let (mut decided, mut marked) = (Vec::new(), Vec::new());
    for (id, account) in &audit.runs {
        assert_eq!(account.status, RunStatus::Completed, "{id}: {account:?}");
        let text = account.output.as_ref().and_then(|at| at.as_str()).unwrap();
        let (due, at) = (Timestamp::parse(text).unwrap(), account.decided_at.unwrap());
        assert!(at >= due, "{id} is early: due {due}, decided {at}");
        decided.push(at.since(due));
        marked.push(account.marked_at.unwrap().since(due));
    }
    let ((p99, most), (marked_p99, marked_most)) = (late(decided), late(marked));
    println!(
        "late: p99 {} ms, at most {} ms; marked after p99 {} ms, at most {} ms",
        p99.as_millis(),
        most.as_millis(),
        marked_p99.as_millis(),
        marked_most.as_millis()
    );
    assert!(marked_most < LATE_MAX, "a run waited {marked_most:?} beyond its time");
    drop(book);
    fleet.stop().await;
}
