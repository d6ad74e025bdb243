//! Runs that begin runs, through the binary: the example of the guide, and `kill -9` of every coordinator while 200 runs with
//! runs below them go on.
#![allow(clippy::unwrap_used, reason = "a test: it fails by panics")]

use std::collections::{BTreeMap, BTreeSet};

use kapelle_proto::v1::{ListRunsRequest, RunStatus, RunSummary};
use kapelle_tests::harness::{Fleet, eventually, job};
use serde_json::{Value, json};

/// The examples that the guide speaks of.
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/patterns/sub-workflows");
const COUNTDOWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/patterns/countdown");
/// Runs that begin another each.
const ABOVE: usize = 200;
/// How often those go on as another that they wait for next.
const AGAIN: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_delivers_each_parcel() {
    let fleet = Fleet::start(1).await;
    let cli = fleet.cli();
    cli.json(&["apply", "-f", EXAMPLE]).await;
    let input = json!({ "parcels": [3, 30] }).to_string();
    let started = cli.json(&["run", "start", "shipment", "--input", &input]).await;
    let run = started["run_id"].as_str().unwrap();
    let ended = eventually("the shipment has ended", || async {
        let seen = cli.json(&["run", "describe", run]).await;
        (seen["status"] == "COMPLETED").then_some(seen)
    })
    .await;
    assert_eq!(
        (&ended["status"], &ended["output"]["ways"]),
        (&json!("COMPLETED"), &json!(["bike", "truck"])),
        "{ended}"
    );
    let survey = ended["output"]["survey"].as_str().unwrap();
    let step = ended["steps"].as_array().unwrap().iter().find(|s| s["step"] == "survey").unwrap();
    assert_eq!(step["run_id"], survey);
    eventually("the survey has ended", || async {
        let survey = cli.json(&["run", "describe", survey]).await;
        (survey["status"] == "COMPLETED" && survey["labels"]["parent"] == ended["run_id"]).then_some(())
    })
    .await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_counts_down_in_runs_that_follow_each_other() {
    let fleet = Fleet::start(1).await;
    let cli = fleet.cli();
    cli.json(&["apply", "-f", COUNTDOWN]).await;
    let input = json!({ "from": 5 }).to_string();
    let launched = cli.json(&["run", "start", "launch", "--input", &input]).await;
    let run = launched["run_id"].as_str().unwrap();
    let ended = eventually("the launch has ended", || async {
        let seen = cli.json(&["run", "describe", run]).await;
        (seen["status"] == "COMPLETED").then_some(seen)
    })
    .await;
    assert_eq!(ended["output"], json!({ "left": 0 }), "{ended}");
    let listed = cli.json(&["run", "list", "--parent", run]).await.to_string();
    let (mut next, mut before) = (ended["steps"][0]["run_id"].clone(), Value::Null);
    for left in (0..5).rev() {
        let id = next.as_str().unwrap_or_else(|| panic!("{left} are left and nobody goes on"));
        let seen = cli.json(&["run", "describe", id]).await;
        assert_eq!((&seen["output"]["left"], &seen["continued_from"]), (&json!(left), &before), "{seen}");
        assert!(listed.contains(id), "{id} is not in {listed}");
        (before, next) = (next, seen["continued_as"].clone());
    }
    assert_eq!(next, Value::Null);
    fleet.stop().await;
}

fn workflow(name: &str, steps: Value) -> Value {
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Workflow",
        "metadata": { "name": name, "version": "1.0.0", "owner": "tests@example.com" }, "spec": { "steps": steps },
    })
}

async fn runs_of(fleet: &Fleet, workflow: &str) -> Vec<RunSummary> {
    let request = ListRunsRequest { workflow: workflow.to_owned(), limit: 1_000, ..ListRunsRequest::default() };
    fleet.api.runs().list(request).await.map(|it| it.into_inner().runs).unwrap_or_default()
}

async fn completed(fleet: &Fleet, workflow: &str) -> usize {
    runs_of(fleet, workflow).await.iter().filter(|it| it.status() == RunStatus::Completed).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_run_below_is_begun_once_whoever_is_killed() {
    let mut fleet = Fleet::start(2).await;
    let below = workflow(
        "below",
        json!([{ "id": "waits", "wait": 2 }, { "id": "n", "needs": ["waits"], "value": "${input.n}" }]),
    );
    let mut rest = workflow("rest", json!([{ "id": "n", "value": "${input.n}" }]));
    rest["spec"]["continue"] = json!({
        "when": "${input.again > 0}", "with": { "n": "${input.n}", "again": "${input.again - 1}" },
    });
    let again = json!({ "n": "${steps.sub.output}", "again": AGAIN });
    let above = workflow(
        "above",
        json!([
            { "id": "sub", "workflow": "below@^1", "with": { "n": "${input.n}" } },
            { "id": "rest", "needs": ["sub"], "workflow": "rest@^1", "with": again },
        ]),
    );
    fleet.register(&[below, rest, above]).await;
    let mut expected = BTreeMap::new();
    for n in 0..ABOVE {
        let key = n.to_string();
        let submitted = fleet.api.submit_surely(&job("above", Some(&key), &json!({ "n": n }))).await;
        expected.insert(submitted.run_id, n);
        if n == ABOVE / 2 {
            fleet.kill_coordinator();
        }
    }
    fleet.kill_coordinator();
    fleet.start_coordinator().await;
    eventually("all above have ended", || async { (completed(&fleet, "above").await == ABOVE).then_some(()) }).await;
    let mut begun = BTreeSet::new();
    for (run, n) in &expected {
        let seen = fleet.api.get(run).await;
        assert_eq!((seen.output, seen.steps[0].attempts), (n.to_string().into(), 1), "{run}");
        begun.insert(seen.steps[0].run_id.clone());
    }
    let below: BTreeSet<String> = runs_of(&fleet, "below").await.into_iter().map(|it| it.run_id).collect();
    assert_eq!((begun.len(), &below), (ABOVE, &begun));
    assert_eq!(runs_of(&fleet, "rest").await.len(), ABOVE * (AGAIN + 1), "each goes on as one");
    fleet.stop().await;
}
