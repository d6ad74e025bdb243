//! Reports of one run travel together, and each comes at least once.

use std::collections::BTreeSet;

use kapelle_engine::Body;
use serde_json::json;

use crate::rig::{Gate, Rig, eventually, run_id, task, waits};

#[tokio::test]
async fn a_fan_out_of_a_thousand_is_a_few_records() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    let worker = rig.worker(1_000, waits(&gate)).await;
    for item in 0..1_000 {
        rig.submit(&task("fan", item, json!(item))).await;
    }
    eventually("all running", || async { (worker.slots_used() == 1_000).then_some(()) }).await;
    gate.open();
    let bodies = rig.settled(run_id("fan"), 1_000).await;
    let items: BTreeSet<_> = bodies
        .iter()
        .map(|body| match body {
            Body::StepSucceeded(done) => done.task.step.item,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!((bodies.len(), items.len()), (1_000, 1_000));
    let (records, _) = rig.reports(run_id("fan")).await;
    assert!(records <= 100, "{records} records");
}
