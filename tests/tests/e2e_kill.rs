//! `kill -9` of a worker, of coordinators and of the broker while 1,000 runs of 3 steps of 200 ms are in flight.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test: it fails by panics and prints its figures")]

use std::sync::Arc;

use kapelle_telemetry::clock;
use kapelle_tests::harness::manifests::{chain, scripted_agent};
use kapelle_tests::harness::{Audit, Fleet, Logbook, Pump, Turn, eventually, is_chaos};
use kapelle_types::Timestamp;
use serde_json::json;

/// Runs in flight.
const OPEN: usize = 1_000;
/// Runs that must be open at each kill.
const OPEN_MIN: usize = 500;
/// Tasks of one worker at once: two of them finish some 250 runs a second, so that none of the kills meets an empty house.
const SLOTS: usize = 80;
/// Steps that are reported after each kill before the next: work goes on.
const STEPS_BETWEEN: usize = 300;
const STEPS: usize = 3;

/// The moments of the kills, to look up in the log afterwards how many runs were open.
struct Kills(Vec<(&'static str, Timestamp)>);

impl Kills {
    async fn next(&mut self, what: &'static str, book: &Logbook) {
        eventually("enough runs are open", || async { (book.open_runs() >= OPEN * 9 / 10).then_some(()) }).await;
        self.0.push((what, clock::now()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_processes_are_killed() {
    let _turn = Turn::take().await;
    let mut fleet = Fleet::start(2).await;
    fleet.register(&[scripted_agent(400), chain("three-steps", STEPS)]).await;
    fleet.start_worker(SLOTS).await;
    fleet.start_worker(SLOTS).await;
    let book = Arc::new(Logbook::open(fleet.bus().await));
    let input = |n| json!({ "value": n, "sleep_ms": 200 });
    let pump = Pump::start(fleet.api.clone(), Arc::clone(&book), "three-steps", (OPEN, usize::MAX), input);
    let mut kills = Kills(Vec::new());

    for _ in 0..if is_chaos() { 10 } else { 1 } {
        book.work_goes_on(STEPS_BETWEEN).await;
        kills.next("a worker", &book).await;
        fleet.kill_worker();
        fleet.start_worker(SLOTS).await;

        book.work_goes_on(STEPS_BETWEEN).await;
        kills.next("a coordinator of two", &book).await;
        fleet.kill_coordinator();

        book.work_goes_on(STEPS_BETWEEN).await;
        kills.next("the only coordinator", &book).await;
        fleet.kill_coordinator();
        fleet.start_coordinator().await;

        book.work_goes_on(STEPS_BETWEEN).await;
        kills.next("the broker, in order", &book).await;
        fleet.broker.restart().await;

        book.work_goes_on(STEPS_BETWEEN).await;
        kills.next("the broker, by kill -9", &book).await;
        fleet.broker.kill9().await;
        fleet.broker.restart().await;
        fleet.start_coordinator().await;
    }
    book.work_goes_on(STEPS_BETWEEN).await;
    let acked = pump.stop().await;
    book.all_ended().await;

    let audit = Audit::of(&book).await;
    println!("{}", audit.summary());
    for (what, at) in &kills.0 {
        let open = audit.open_at(*at);
        println!("open when {what} was killed: {open}");
        assert!(open >= OPEN_MIN, "{open} runs were open when {what} was killed");
    }
    audit.assert_completed_once(STEPS);
    assert_all_there(&audit, &acked.into_iter().collect::<Vec<_>>());
    assert_the_api_agrees(&fleet, &audit).await;
    fleet.stop().await;
}

/// Every acknowledged job is a run with the output of its own input; there is no run that nobody submitted.
fn assert_all_there(audit: &Audit, acked: &[(String, kapelle_types::RunId)]) {
    for (key, run) in acked {
        let account = audit.runs.get(run).unwrap_or_else(|| panic!("{key} was acknowledged as {run} and is not there"));
        let number: u64 = key.trim_start_matches("job-").parse().unwrap();
        assert_eq!(account.output, Some(json!({ "value": number + 3, "sleep_ms": 200 })), "{key} {run}");
    }
    assert_eq!(acked.len(), audit.runs.len(), "one run for each job");
}

/// What clients see is what the logs say.
async fn assert_the_api_agrees(fleet: &Fleet, audit: &Audit) {
    for run in audit.runs.keys().step_by(audit.runs.len().div_ceil(25)) {
        let history = fleet.api.history(&run.to_string()).await;
        let succeeded = |e: &&kapelle_proto::v1::HistoryEntry| {
            let body = e.entry.as_ref().and_then(|e| e.body.as_ref());
            e.ignored.is_empty() && matches!(body, Some(kapelle_proto::v1::log_entry::Body::StepSucceeded(_)))
        };
        assert_eq!(history.iter().filter(succeeded).count(), STEPS, "{run}");
    }
    let open = ["RUNNING", "WAITING", "PENDING", "STALLED"].map(|status| ["--status", status]).concat();
    let arguments: Vec<&str> = ["run", "count"].into_iter().chain(open).collect();
    eventually("no run is listed as open", || async {
        (fleet.cli().json(&arguments).await["count"] == 0).then_some(())
    })
    .await;
}
