//! Leaving in order.

use std::time::Duration;

use kapelle_engine::{Body, FailureKind};
use kapelle_types::Code;
use kapelle_worker::{AgentSpec, Config, Drained, Error, RuntimeSpec};
use serde_json::json;

use crate::rig::{Gate, Rig, echo, echoes, eventually, run_id, task, waits};

/// The kinds of all reports of a run: `None` for a success.
async fn kinds(rig: &Rig, run: &str, count: usize) -> Vec<Option<FailureKind>> {
    let kind = |body| match body {
        Body::StepSucceeded(_) => None,
        Body::StepFailed(failed) => Some(failed.failure.kind),
        other => panic!("{other:?}"),
    };
    rig.settled(run_id(run), count).await.into_iter().map(kind).collect()
}

#[tokio::test]
async fn what_runs_ends_and_what_waits_is_given_back() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    // Two agents with one slot each ask for two tasks together, so one of them has to wait.
    let worker = rig.worker(1, waits(&gate)).await;
    let second = "echo@2.0.0".parse().unwrap();
    rig.queue(&second).await;
    worker.add_agent(AgentSpec::new(second.clone(), RuntimeSpec::Native(std::sync::Arc::new(echoes())))).await.unwrap();
    rig.submit(&task("drain", 0, json!(0))).await;
    eventually("running", || async { (worker.slots_used() == 1).then_some(()) }).await;
    let mut waiting = task("drain", 1, json!(1));
    waiting.agent = second.clone();
    rig.submit(&waiting).await;
    eventually("held", || async { (rig.bus.queue_state(&second).await.ok()?.in_flight == 1).then_some(()) }).await;
    let draining = tokio::spawn(worker.drain());
    let first = rig.reports(run_id("drain"));
    drop(first);
    eventually("the one that waited", || async { (rig.reports(run_id("drain")).await.1.len() == 1).then_some(()) })
        .await;
    gate.open();
    assert_eq!(draining.await.unwrap(), Drained { abandoned: 0, all_reported: true });
    assert_eq!(kinds(&rig, "drain", 2).await, [Some(FailureKind::Returned), None]);
    rig.submit(&task("after", 0, json!(0))).await;
    assert_eq!(rig.bus.queue_state(&echo()).await.unwrap().pending, 1, "nobody pulls any more");
}

#[tokio::test]
async fn what_does_not_end_within_the_grace_is_abandoned_and_reported_at_once() {
    let rig = Rig::start().await;
    rig.queue(&echo()).await;
    let config = Config { slots: 2, drain_grace: Duration::from_millis(200), ..Config::new() };
    let worker = rig.worker_with(config.native(echo(), waits(&Gate::new()))).await;
    rig.submit(&task("stuck", 0, json!(0))).await;
    rig.submit(&task("stuck", 1, json!(0))).await;
    eventually("running", || async { (worker.slots_used() == 2).then_some(()) }).await;
    assert_eq!(worker.drain().await, Drained { abandoned: 2, all_reported: true });
    let (_, bodies) = rig.reports(run_id("stuck")).await;
    let lost = |b: &Body| matches!(b, Body::StepFailed(f) if f.failure.code == Code::LEASE_LOST.as_str());
    assert!(bodies.len() == 2 && bodies.iter().all(lost), "{bodies:?}");
    eventually("empty queue", || async { (rig.queued().await == 0).then_some(()) }).await;
}

#[tokio::test]
async fn a_drain_without_a_broker_ends_all_the_same() {
    let mut rig = Rig::start().await;
    let gate = Gate::new();
    let worker = rig.worker(1, waits(&gate)).await;
    rig.submit(&task("alone", 0, json!(0))).await;
    eventually("running", || async { (worker.slots_used() == 1).then_some(()) }).await;
    rig.server.kill9().await;
    gate.open();
    let drained = tokio::time::timeout(Duration::from_secs(30), worker.drain()).await.unwrap();
    assert_eq!(drained, Drained { abandoned: 0, all_reported: false });
}

#[tokio::test]
async fn nonsense_does_not_start() {
    let rig = Rig::start().await;
    let refused = kapelle_worker::Worker::start(Config { slots: 0, ..Config::new() }, rig.bus.clone()).await;
    assert!(matches!(refused.err(), Some(Error::Config(_))));
}
