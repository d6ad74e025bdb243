//! Workers that crash, leave and give back.

use std::time::Duration;

use kapelle_engine::{Body, FailureKind};
use kapelle_proto::v1::{ListQueuesRequest, RunStatus};
use kapelle_types::RunId;
use kapelle_types::limits::LEASE_LOST_MAX;
use serde_json::json;

use crate::harness::eventually;
use crate::history::manifests::{PLAYER, SECOND, chain, workflow};
use crate::history::stage::{PATIENCE, Stage};

pub(in crate::history) async fn lease_lost(stage: &Stage) -> RunId {
    let (run, crashing) = stage.play(&chain("lease-lost", 1), json!({ "hang_attempts": 1 })).await;
    stage.cues.begun("s0#1").await;
    drop(crashing);
    let _worker = stage.worker(4, PATIENCE).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn lost_for_good(stage: &Stage) -> RunId {
    let run = stage.begin(&chain("lost-for-good", 1), json!({ "gate": "go" })).await;
    for attempt in 1..=LEASE_LOST_MAX + 1 {
        let worker = stage.worker(4, Duration::ZERO).await;
        stage.cues.begun(&format!("s0#{attempt}")).await;
        worker.drain().await;
    }
    stage.until(run, RunStatus::Stalled).await;
    stage.retry(run, &["s0"]).await;
    stage.cues.open("go");
    let _worker = stage.worker(4, PATIENCE).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn given_back(stage: &Stage) -> RunId {
    let steps = json!([
        { "id": "one", "agent": PLAYER, "with": "${input}" },
        { "id": "other", "agent": SECOND, "with": "${input}" },
    ]);
    let both = workflow("given-back", &steps, "${steps.one.output}");
    let run = stage.begin(&both, json!({ "gate": "go" })).await;
    let leaving = stage.worker(1, PATIENCE).await;
    eventually("the worker holds both tasks", || async {
        let queues = stage.api.fleet().list_queues(ListQueuesRequest::default()).await.ok()?.into_inner().queues;
        (queues.iter().map(|q| q.in_flight).sum::<u64>() == 2).then_some(())
    })
    .await;
    let leaving = tokio::spawn(leaving.drain());
    let returned = |body: &Body| matches!(body, Body::StepFailed(it) if it.failure.kind == FailureKind::Returned);
    stage.until_logged(run, 1, returned).await;
    stage.cues.open("go");
    leaving.await.unwrap();
    let _worker = stage.worker(4, PATIENCE).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}
