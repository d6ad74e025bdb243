//! The same job submitted 100 times at once with one idempotency key, from many processes to several coordinators: one run.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test: it fails by panics and prints its figures")]

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use kapelle_tests::harness::manifests::{chain, scripted_agent};
use kapelle_tests::harness::{Api, Audit, Fleet, Logbook, job};
use serde_json::json;
use tokio::sync::Barrier;

/// Submissions over gRPC; the others come from processes of their own.
const CALLS: usize = 84;
const PROCESSES: usize = 16;
const STEPS: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_is_one_run_whoever_submits_it() {
    let mut fleet = Fleet::start(3).await;
    fleet.register(&[scripted_agent(16), chain("two-steps", STEPS)]).await;
    fleet.start_worker(8).await;
    let book = Logbook::open(fleet.bus().await);
    let input = json!({ "value": 1 });

    let start = Arc::new(Barrier::new(CALLS + PROCESSES));
    let calls = (0..CALLS).map(|_| {
        let (api, start, request) = (fleet.api.clone(), Arc::clone(&start), job("two-steps", Some("the-key"), &input));
        async move {
            start.wait().await;
            let answer = api.submit(request).await.unwrap();
            (answer.run_id, answer.existed)
        }
    });
    let text = input.to_string();
    let processes = (0..PROCESSES).map(|n| {
        let address = &fleet.coordinators[n % fleet.coordinators.len()].address;
        let (cli, start, text) = (fleet.cli_at(address), Arc::clone(&start), &text);
        async move {
            start.wait().await;
            let answer = cli.json(&["run", "start", "two-steps", "--key", "the-key", "--input", text]).await;
            (answer["run_id"].as_str().unwrap().to_owned(), answer["existed"].as_bool().unwrap())
        }
    });
    let (calls, processes) = tokio::join!(join_all(calls), join_all(processes));
    let answers: Vec<(String, bool)> = calls.into_iter().chain(processes).collect();

    let ids: BTreeSet<&str> = answers.iter().map(|(id, _)| id.as_str()).collect();
    let created = answers.iter().filter(|(_, existed)| !existed).count();
    println!("{} submissions, {} run ids, {created} created", answers.len(), ids.len());
    assert_eq!((answers.len(), ids.len(), created), (CALLS + PROCESSES, 1, 1));

    // The same key with another input is another job: refused, and the run stays what it is.
    let other = fleet.api.submit(job("two-steps", Some("the-key"), &json!({ "value": 2 }))).await.unwrap_err();
    assert_eq!(Api::code(&other), "K0208", "{other:?}");
    let run = fleet.api.settled(ids.first().unwrap()).await;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&run.output).unwrap(), json!({ "value": 3 }));
    let again = fleet.api.submit(job("two-steps", Some("the-key"), &input)).await.unwrap();
    assert!(again.existed && again.run_id == run.run_id, "a run that has ended is found too: {again:?}");

    book.all_ended().await;
    let audit = Audit::of(&book).await;
    println!("{}", audit.summary());
    assert_eq!(audit.runs.len(), 1);
    audit.assert_completed_once(STEPS);
    fleet.stop().await;
}
