//! Who did what: asked of the logs, and published for others.

use std::collections::BTreeMap;

use crate::fleet::{Fleet, agent, chain, eventually};
use futures::StreamExt;
use kapelle_bus::cursors::Cursors;
use kapelle_coordinator::Config;
use kapelle_proto::v1::{LineageRequest, LineageResponse};
use serde_json::{Value, json};

async fn lineage(fleet: &Fleet, workflow: &str) -> LineageResponse {
    let request = LineageRequest { workflow: workflow.to_owned(), since_seconds: 3_600 };
    fleet.runs().lineage(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_logs_say_who_did_what_and_what_flowed() {
    let fleet = Fleet::start().await;
    let mut chained = chain("chained", 3);
    chained["spec"]["steps"][2]["when"] = json!("${input.all == true}");
    fleet.apply_all(&[agent(), chained, chain("other", 1)]).await.unwrap();
    fleet.execute("chained", json!({ "fail_attempts": 1, "all": false })).await;
    fleet.execute("chained", json!({ "all": true })).await;
    fleet.execute("other", json!({})).await;

    let told = eventually("all ends are marked", || async {
        let told = lineage(&fleet, "chained").await;
        (told.steps.len() == 3 && told.steps[2].runs_skipped == 1).then_some(told)
    })
    .await;
    assert_eq!((told.runs, told.complete), (2, true));
    let rows: Vec<_> =
        told.steps.iter().map(|it| (it.step.as_str(), it.runs, it.attempts_succeeded, it.attempts_failed)).collect();
    assert_eq!(rows, [("s0", 2, 2, 1), ("s1", 2, 2, 1), ("s2", 2, 1, 0)]);
    assert!(told.steps.iter().all(|it| it.agent == "echo@1.0.0" && it.workflow == "chained@1.0.0"));
    let edges: Vec<_> = told.edges.iter().map(|it| (it.from.as_str(), it.to.as_str(), it.runs)).collect();
    assert_eq!(edges, [("s0", "s1", 2), ("s1", "s2", 1)]);
    assert!(told.edges.iter().all(|it| it.schema_digest.len() == 64 && it.agent == "echo@1.0.0"));
    let all = lineage(&fleet, "").await;
    assert_eq!((all.runs, all.steps.len()), (3, 4));
    assert_eq!(lineage(&fleet, "nobody").await.runs, 0);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_two_events_for_collectors_of_lineage() {
    let fleet = Fleet::start_with(Config { openlineage: true, ..Config::default() }).await;
    fleet.apply_all(&[agent(), chain("chained", 1)]).await.unwrap();
    let bus = fleet.bus().await;
    let cursors = Cursors::open(&bus).await.unwrap();
    eventually("every partition is followed", || async {
        let mut all = true;
        for partition in bus.partitions().all() {
            all &= cursors.load_lineage(partition).await.unwrap().is_some();
        }
        all.then_some(())
    })
    .await;
    let mut events = fleet.events("lineage.>").await;
    let (well, badly) = (json!({ "secret": "nobody shows this" }), json!({ "fail_attempts": 9 }));
    let done = fleet.execute("chained", well).await;
    let stalled = fleet.submit_input("chained", badly).await;
    eventually("it gives up", || async { (!fleet.dead_letters().await.is_empty()).then_some(()) }).await;
    let request = kapelle_proto::v1::SteerRequest { run_id: stalled.clone(), reason: String::new() };
    fleet.runs().cancel(request).await.unwrap();

    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while told.values().map(Vec::len).sum::<usize>() < 4 {
        let message = tokio::time::timeout(std::time::Duration::from_secs(30), events.next()).await.unwrap().unwrap();
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        assert!(!event.to_string().contains("nobody shows this"));
        let headers = message.headers.unwrap();
        let (run, kind) = (event["run"]["runId"].as_str().unwrap(), event["eventType"].as_str().unwrap());
        assert_eq!(headers.get("ce-id").unwrap().as_str(), format!("{run}-{kind}"));
        assert_eq!(message.subject.as_str(), format!("kapelle.event.lineage.{}", kind.to_lowercase()));
        assert_eq!((&event["job"]["namespace"], &event["job"]["name"]), (&json!("default"), &json!("chained")));
        assert_eq!(event["run"]["facets"]["kapelle_steps"]["steps"][0]["agent"], "echo@1.0.0");
        assert_eq!(event["outputs"].as_array().unwrap().len(), usize::from(kind == "COMPLETE"));
        told.entry(run.to_owned()).or_default().push(kind.to_owned());
    }
    assert_eq!(told[&done.run_id], ["START", "COMPLETE"]);
    assert_eq!(told[&stalled], ["START", "ABORT"]);
    fleet.stop().await;
}
