//! Payloads that lie in the object store.

use kapelle_engine::{Body, Channel};
use kapelle_proto::v1::RunStatus;
use kapelle_types::limits::PAYLOAD_INLINE_BYTES_MAX;
use kapelle_types::{Payload, PayloadRef, RunId, Sha256};
use serde_json::json;

use crate::history::manifests::{PLAYER, workflow};
use crate::history::stage::{Stage, succeeded};

pub(in crate::history) async fn stored(stage: &Stage) -> RunId {
    let steps = json!([
        { "id": "whole", "agent": PLAYER, "with": "${input}" },
        { "id": "part", "agent": PLAYER, "with": { "length": "${size(steps.whole.output.text)}" } },
        { "id": "again", "agent": PLAYER, "needs": ["part"], "with": "${steps.whole.output}" },
    ]);
    let large = workflow("stored-payload", &steps, "${steps.again.output}");
    let text = "0123456789".repeat(PAYLOAD_INLINE_BYTES_MAX / 10 + 1);
    let (run, _worker) = stage.play(&large, json!({ "text": text })).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

/// A run whose first step's output is not to be found, and whose second step takes it in like this.
async fn without_output(stage: &Stage, name: &str, with: &str) -> (RunId, kapelle_worker::Handle) {
    let steps = json!([
        { "id": "s0", "agent": PLAYER, "with": "${input}" },
        { "id": "s1", "agent": PLAYER, "with": with },
    ]);
    let taking = workflow(name, &steps, "${steps.s1.output}");
    let (run, worker) = stage.play(&taking, json!({ "gate": "never" })).await;
    stage.cues.begun("s0#1").await;
    let gone = Payload::reference(PayloadRef { sha256: Sha256::of(b"gone"), size_bytes: 70_000 });
    stage.write(run, Channel::Report, &[succeeded("s0", 1, gone)]).await;
    stage.until(run, RunStatus::Stalled).await;
    stage.retry(run, &["s1"]).await;
    (run, worker)
}

pub(in crate::history) async fn missing(stage: &Stage) -> RunId {
    let (run, _worker) = without_output(stage, "payload-missing", "${steps.s0.output.part}").await;
    stage.api.runs().cancel(Stage::steer(run)).await.unwrap();
    stage.until_marked(run, RunStatus::Canceled).await;
    run
}

pub(in crate::history) async fn missing_whole(stage: &Stage) -> RunId {
    let (run, _worker) = without_output(stage, "payload-handed-on", "${steps.s0.output}").await;
    stage.until_logged(run, 6, |body| matches!(body, Body::StepFailed(_))).await;
    stage.until(run, RunStatus::Stalled).await;
    stage.api.runs().cancel(Stage::steer(run)).await.unwrap();
    stage.until_marked(run, RunStatus::Canceled).await;
    run
}
