//! One verb on many runs: a preview, a coordinator that is killed in the middle, and the same command again: each run has it
//! done once, and no other run at all.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall panic where it stands")]

use std::collections::BTreeMap;

use kapelle_proto::v1::log_entry::Body;
use kapelle_proto::v1::{ListRunsRequest, RunStatus, SubmitRequest};
use kapelle_tests::harness::manifests::{chain, scripted_agent, workflow};
use kapelle_tests::harness::{Fleet, Outcome, Turn, eventually};
use serde_json::{Value, json};

/// Runs of the batch that wait for a worker, half of them PAUSED, and runs that are STALLED.
const WAITING: usize = 200;
const PAUSED: usize = 100;
const STALLED: usize = 100;
/// Runs of another batch, which nobody means.
const OTHERS: usize = 10;

async fn submit(fleet: &Fleet, workflow: &str, batch: &str, count: usize) {
    for n in 0..count {
        let request = SubmitRequest {
            workflow: workflow.into(),
            input: json!({ "n": n }).to_string().into(),
            idempotency_key: Some(format!("{batch}-{n}")),
            labels: [("batch".to_owned(), batch.to_owned())].into(),
            ..SubmitRequest::default()
        };
        fleet.api.submit_surely(&request).await;
    }
}

/// The runs of a batch by status.
async fn counted(fleet: &Fleet, batch: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for run in listed(fleet, batch).await.unwrap_or_default() {
        *counts.entry(run.1.as_str_name().trim_start_matches("RUN_STATUS_").to_owned()).or_default() += 1;
    }
    counts
}

async fn listed(fleet: &Fleet, batch: &str) -> Option<Vec<(String, RunStatus)>> {
    let labels = [("batch".to_owned(), batch.to_owned())].into();
    let request = ListRunsRequest { labels, limit: 1_000, ..ListRunsRequest::default() };
    let answer = fleet.api.runs().list(request).await.ok()?.into_inner();
    Some(answer.runs.into_iter().map(|run| (run.run_id.clone(), run.status())).collect())
}

async fn bulk(fleet: &Fleet, arguments: &str) -> Outcome {
    let words: Vec<&str> = ["run", "bulk"].into_iter().chain(arguments.split_whitespace()).collect();
    fleet.cli().run(&words).await
}

/// The last line of an operation, for programs.
fn summary(outcome: &Outcome) -> Value {
    let last = outcome.stdout.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|e| panic!("no summary ({e}): {outcome:?}"))
}

/// A wait for everything that was submitted to stand as it will.
async fn stands(fleet: &Fleet, expected: &[(&str, usize)]) {
    let expected: BTreeMap<String, usize> = expected.iter().map(|(status, n)| ((*status).to_owned(), *n)).collect();
    eventually(&format!("the batch stands at {expected:?}"), || async {
        (counted(fleet, "e2e").await == expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_is_cut_short_and_repeated_is_done_once_to_each_run() {
    let _turn = Turn::take().await;
    let mut fleet = Fleet::start(1).await;
    let step = json!([{ "id": "s0", "agent": "scripted@^1", "with": { "gone": "${input.not_there.at_all}" } }]);
    let stalls = workflow("stalls", &step, "${steps.s0.output}");
    fleet.register(&[scripted_agent(4), chain("waits", 1), stalls]).await;
    submit(&fleet, "waits", "e2e", WAITING).await;
    submit(&fleet, "stalls", "e2e", STALLED).await;
    submit(&fleet, "waits", "other", OTHERS).await;
    stands(&fleet, &[("RUNNING", WAITING), ("STALLED", STALLED)]).await;

    let paused = bulk(&fleet, &format!("pause --label batch=e2e --limit {PAUSED} --yes -o json")).await.expect(0);
    assert_eq!(summary(&paused)["done"], PAUSED);
    stands(&fleet, &[("PAUSED", PAUSED), ("RUNNING", WAITING - PAUSED), ("STALLED", STALLED)]).await;

    let nothing = bulk(&fleet, "cancel --yes -o json").await.expect(2);
    assert_eq!(nothing.error()["code"], "K0221");
    let preview = bulk(&fleet, "cancel --label batch=e2e --older-than 1h").await.expect(0);
    assert!(preview.stdout.contains("It would be done to 0 run(s)."), "{preview:?}");
    let preview = bulk(&fleet, "cancel --label batch=e2e").await.expect(0);
    assert!(preview.stdout.contains("It would be done to 300 run(s). Do it with --yes."), "{preview:?}");
    assert_eq!(counted(&fleet, "e2e").await.get("CANCELED"), None, "a preview does nothing");

    let cancel = "cancel --label batch=e2e --id op-e2e --reason because --yes -o json";
    let cut_short = {
        let cli = fleet.cli();
        let words: Vec<String> = format!("run bulk {cancel}").split_whitespace().map(str::to_owned).collect();
        let running = tokio::spawn(async move { cli.run(&words.iter().map(String::as_str).collect::<Vec<_>>()).await });
        eventually("some are canceled", || async {
            (counted(&fleet, "e2e").await.get("CANCELED").is_some_and(|n| *n >= 40)).then_some(())
        })
        .await;
        fleet.kill_coordinator();
        running.await.unwrap().expect(5)
    };
    assert!(cut_short.stderr.contains("--id op-e2e"), "{cut_short:?}");
    fleet.start_coordinator().await;
    let again = eventually("it can be repeated", || async {
        let outcome = bulk(&fleet, cancel).await;
        assert!([0, 5].contains(&outcome.code), "{outcome:?}");
        (outcome.code == 0).then_some(outcome)
    })
    .await;
    let told = summary(&again);
    assert!(told["done"].as_u64().unwrap() > 0 && told["failed"] == 0, "{told}");
    stands(&fleet, &[("CANCELED", WAITING + STALLED)]).await;
    for (run, _) in listed(&fleet, "e2e").await.unwrap() {
        let history = fleet.api.history(&run).await;
        let wishes = history.iter().filter_map(|entry| entry.entry.as_ref());
        let canceled = wishes.filter(|entry| matches!(entry.body, Some(Body::CancelRequested(_)))).collect::<Vec<_>>();
        assert_eq!(canceled.len(), 1, "{run}: {canceled:?}");
        assert_eq!(canceled[0].id, "bulk:op-e2e:cancel");
    }
    assert_eq!(counted(&fleet, "other").await, [("RUNNING".to_owned(), OTHERS)].into(), "nobody meant them");

    let restart = "restart --label batch=e2e --workflow stalls --id again --yes -o json";
    let first = summary(&bulk(&fleet, restart).await.expect(0));
    assert_eq!((&first["done"], &first["failed"]), (&json!(STALLED), &json!(0)), "{first}");
    stands(&fleet, &[("CANCELED", WAITING + STALLED), ("STALLED", STALLED)]).await;
    let second = summary(&bulk(&fleet, restart).await.expect(0));
    let counts = (&second["done"], &second["already"], &second["passed_over"]);
    assert_eq!(counts, (&json!(0), &json!(STALLED), &json!(STALLED)), "{second}");
    stands(&fleet, &[("CANCELED", WAITING + STALLED), ("STALLED", STALLED)]).await;
    fleet.stop().await;
}
