//! Runs that people steer, and the deadline, which nobody has to ask for.

use kapelle_engine::Body;
use kapelle_proto::v1::RunStatus;
use kapelle_types::RunId;
use serde_json::{Value, json};

use crate::history::manifests::{PLAYER, SECOND, workflow};
use crate::history::stage::Stage;

/// One step that waits at a gate, one that waits for its retry, and one behind the first.
fn busy(name: &str, retry_after_ms: u64) -> Value {
    let steps = json!([
        { "id": "slow", "agent": PLAYER, "with": { "gate": "slow" } },
        { "id": "again", "agent": SECOND, "with": { "fail_attempts": 1, "after_ms": retry_after_ms } },
        { "id": "last", "agent": PLAYER, "needs": ["slow"], "with": {} },
    ]);
    workflow(name, &steps, "${steps.last.output}")
}

/// Until it is as busy as it gets.
async fn until_busy(stage: &Stage, run: RunId) {
    stage.cues.begun("slow#1").await;
    stage.until_logged(run, 1, |body| matches!(body, Body::StepFailed(_))).await;
}

pub(in crate::history) async fn cancelled(stage: &Stage) -> RunId {
    let (run, _worker) = stage.play(&busy("cancelled", 60_000), json!({})).await;
    until_busy(stage, run).await;
    stage.api.runs().cancel(Stage::steer(run)).await.unwrap();
    stage.until_marked(run, RunStatus::Canceled).await;
    run
}

pub(in crate::history) async fn terminated(stage: &Stage) -> RunId {
    let (run, _worker) = stage.play(&busy("terminated", 60_000), json!({})).await;
    until_busy(stage, run).await;
    stage.api.runs().terminate(Stage::steer(run)).await.unwrap();
    stage.until_marked(run, RunStatus::Terminated).await;
    run
}

pub(in crate::history) async fn terminated_stalled(stage: &Stage) -> RunId {
    let steps = json!([
        { "id": "slow", "agent": PLAYER, "with": { "gate": "never" } },
        { "id": "bad", "agent": PLAYER, "with": { "fail_attempts": 1, "final": true } },
    ]);
    let stalling = workflow("terminated-stalled", &steps, "${steps.slow.output}");
    let (run, _worker) = stage.play(&stalling, json!({})).await;
    stage.cues.begun("slow#1").await;
    stage.until(run, RunStatus::Stalled).await;
    stage.api.runs().terminate(Stage::steer(run)).await.unwrap();
    stage.until_marked(run, RunStatus::Terminated).await;
    run
}

pub(in crate::history) async fn paused(stage: &Stage) -> RunId {
    let (run, _worker) = stage.play(&busy("paused", 2_000), json!({})).await;
    until_busy(stage, run).await;
    stage.api.runs().pause(Stage::steer(run)).await.unwrap();
    stage.until_logged(run, 1, |body| matches!(body, Body::TimerFired { .. })).await;
    stage.cues.open("slow");
    stage.until_logged(run, 1, |body| matches!(body, Body::StepSucceeded(_))).await;
    stage.until(run, RunStatus::Paused).await;
    stage.api.runs().resume(Stage::steer(run)).await.unwrap();
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn deadline(stage: &Stage) -> RunId {
    let mut timed = busy("deadline", 60_000);
    timed["spec"]["deadline"] = json!("2s");
    let (run, worker) = stage.play(&timed, json!({})).await;
    until_busy(stage, run).await;
    drop(worker); // it would report its own timeout a moment before
    stage.until_marked(run, RunStatus::TimedOut).await;
    run
}
