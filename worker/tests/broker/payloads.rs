//! Inputs and outputs above the inline limit.

use kapelle_engine::Body;
use kapelle_sdk::Output;
use kapelle_types::limits::{PAYLOAD_BYTES_MAX, PAYLOAD_INLINE_BYTES_MAX};
use kapelle_types::{Code, Payload, PayloadRef, Sha256};
use serde_json::{Value, json};

use crate::rig::{Does, Rig, echoes, run_id, task};

#[tokio::test]
async fn a_large_input_is_fetched_and_a_large_output_stored() {
    let rig = Rig::start().await;
    let _worker = rig.worker(2, echoes()).await;
    let large = json!("x".repeat(2 * PAYLOAD_INLINE_BYTES_MAX));
    let stored = rig.bus.payloads().put(&serde_json::to_vec(&large).unwrap()).await.unwrap();
    let mut large_task = task("large", 0, json!(0));
    large_task.input = Payload::reference(stored);
    rig.submit(&large_task).await;
    let Body::StepSucceeded(done) = rig.settled(run_id("large"), 1).await.remove(0) else { panic!() };
    assert_eq!(done.output, Payload::reference(stored), "the same value is the same object");
}

#[tokio::test]
async fn an_input_that_is_not_there_fails_the_attempt() {
    let rig = Rig::start().await;
    let _worker = rig.worker(2, echoes()).await;
    let mut missing = task("missing", 0, json!(0));
    missing.input = Payload::reference(PayloadRef { sha256: Sha256::of(b"nowhere"), size_bytes: 7 });
    rig.submit(&missing).await;
    let failure = rig.failed(&missing).await.failure;
    assert_eq!((failure.code.as_str(), failure.retryable), (Code::TASK_INVALID.as_str(), true));
}

#[tokio::test]
async fn an_output_above_the_payload_limit_fails_for_good() {
    let rig = Rig::start().await;
    let agent = Does(|_| async { Ok(Output::new(Value::String("x".repeat(PAYLOAD_BYTES_MAX)))) });
    let _worker = rig.worker(2, agent).await;
    let oversize = task("oversize", 0, json!(0));
    rig.submit(&oversize).await;
    let failure = rig.failed(&oversize).await.failure;
    assert_eq!((failure.code.as_str(), failure.retryable), (Code::AGENT_OUTPUT_TOO_LARGE.as_str(), false));
}
