//! Lost workers, lost leases, lost brokers.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use kapelle_engine::{Body, FailureKind};
use kapelle_sdk::Output;
use kapelle_types::{Code, limits};
use serde_json::json;

use crate::rig::{Does, Gate, Rig, echo, echoes, eventually, run_id, task, waits};

#[tokio::test]
async fn a_task_that_was_delivered_before_is_reported_lost_and_not_executed() {
    let rig = Rig::start().await;
    rig.queue(&echo()).await;
    rig.submit(&task("again", 0, json!(0))).await;
    let tasks = rig.bus.jetstream().get_stream("TASKS").await.unwrap();
    let queue: async_nats::jetstream::consumer::PullConsumer = tasks.get_consumer("echo-1_0_0").await.unwrap();
    let first = queue.fetch().max_messages(1).messages().await.unwrap().next().await.unwrap().unwrap();
    first.ack_with(async_nats::jetstream::AckKind::Nak(None)).await.unwrap();
    let _worker = rig.worker(1, Does(|_| async { panic!("not to be executed") })).await;
    let failure = rig.failed(&task("again", 0, json!(0))).await.failure;
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::LeaseLost, Code::LEASE_LOST.as_str()));
    assert!(failure.retryable);
}

#[tokio::test]
async fn the_tasks_of_a_worker_that_died_are_reported_lost_by_another() {
    let rig = Rig::start().await;
    let dying = rig.worker(2, waits(&Gate::new())).await;
    rig.submit(&task("died", 0, json!(0))).await;
    eventually("running", || async { (dying.slots_used() == 1).then_some(()) }).await;
    drop(dying);
    let _other = rig.worker(2, echoes()).await;
    assert_eq!(rig.failed(&task("died", 0, json!(0))).await.failure.kind, FailureKind::LeaseLost);
}

#[tokio::test]
async fn a_task_that_runs_longer_than_a_lease_keeps_it() {
    let rig = Rig::start().await;
    let agent = Does(|_| async {
        tokio::time::sleep(limits::LEASE + Duration::from_secs(2)).await;
        Ok(Output::new(json!("done")))
    });
    let _worker = rig.worker(1, agent).await;
    let _other = rig.worker(1, echoes()).await; // would be given it
    let mut waiting = task("long", 1, json!(0)); // waits for a slot of its worker, or is done by the other
    waiting.timeout = Duration::from_secs(60);
    rig.submit(&task("long", 0, json!(0))).await;
    rig.submit(&waiting).await;
    let bodies = rig.settled(run_id("long"), 2).await;
    assert!(bodies.iter().all(|b| matches!(b, Body::StepSucceeded(_))), "{bodies:?}");
}

#[tokio::test]
async fn a_broker_that_is_killed_in_the_middle_costs_nothing_but_time() {
    let mut rig = Rig::start().await;
    let agent = Does(|task: kapelle_sdk::Task| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(Output::new(task.input.as_ref().clone()))
    });
    let _worker = rig.worker(20, agent).await;
    for item in 0..200 {
        rig.submit(&task(&format!("b{}", item % 10), item, json!(item))).await;
    }
    eventually("some reports", || async { (!rig.reports(run_id("b0")).await.1.is_empty()).then_some(()) }).await;
    rig.server.kill9().await;
    rig.server.restart().await;
    eventually("broker", || async { rig.bus.stream_state("TASKS").await.ok() }).await;
    let mut succeeded: BTreeMap<Option<u32>, usize> = BTreeMap::new();
    let mut lost = 0;
    for run in 0..10 {
        // TASKS is written behind: a task may come twice, or be lost with the broker, which is the reconciler's to mend.
        eventually("empty queue", || async { (rig.queued().await == 0).then_some(()) }).await;
        for body in rig.reports(run_id(&format!("b{run}"))).await.1 {
            match body {
                Body::StepSucceeded(done) => *succeeded.entry(done.task.step.item).or_default() += 1,
                Body::StepFailed(failed) if failed.failure.kind == FailureKind::LeaseLost => lost += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(succeeded.len() + lost >= 200, "{} succeeded, {lost} lost", succeeded.len());
}
