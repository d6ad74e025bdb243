//! Runs that stand still, and what people do with them.

use kapelle_engine::{Body, Channel};
use kapelle_proto::v1::{DeadLetterActionRequest, RunStatus};
use kapelle_types::RunId;
use serde_json::json;

use crate::harness::eventually;
use crate::history::manifests::{PLAYER, chain, workflow};
use crate::history::stage::{Stage, entry};

/// Waits for the dead letter and says what shall become of it.
pub(super) fn letter(run: RunId) -> DeadLetterActionRequest {
    let reason = "the scenario says so".to_owned();
    let filter = kapelle_proto::v1::DeadLetterFilter { run_id: run.to_string(), ..Default::default() };
    DeadLetterActionRequest { filter: Some(filter), reason, ..DeadLetterActionRequest::default() }
}

pub(in crate::history) async fn retried(stage: &Stage) -> RunId {
    let (run, _worker) = stage.play(&chain("stalled-retried", 1), json!({ "fail_attempts": 4 })).await;
    stage.until(run, RunStatus::Stalled).await;
    eventually("the dead letter is replayed", || async {
        let answer = stage.api.dead_letters().replay(letter(run)).await.unwrap().into_inner();
        (answer.affected.len() == 1).then_some(())
    })
    .await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn discarded(stage: &Stage) -> RunId {
    let (run, _worker) = stage.play(&chain("stalled-discarded", 2), json!({ "fail_attempts": 3 })).await;
    stage.until(run, RunStatus::Stalled).await;
    eventually("the dead letter is discarded", || async {
        let answer = stage.api.dead_letters().discard(letter(run)).await.unwrap().into_inner();
        (answer.affected.len() == 1).then_some(())
    })
    .await;
    stage.until_marked(run, RunStatus::Failed).await;
    run
}

pub(in crate::history) async fn fail_on_give_up(stage: &Stage) -> RunId {
    let steps = json!([
        { "id": "slow", "agent": PLAYER, "with": { "gate": "never" } },
        {
            "id": "vital", "agent": PLAYER, "with": { "gate": "go", "fail_attempts": 1, "final": true },
            "on_give_up": "fail",
        },
    ]);
    let failing = workflow("fail-on-give-up", &steps, "${steps.slow.output}");
    let (run, _worker) = stage.play(&failing, json!({})).await;
    stage.cues.begun("slow#1").await;
    stage.cues.open("go");
    stage.until_marked(run, RunStatus::Failed).await;
    run
}

pub(in crate::history) async fn expression_failed(stage: &Stage) -> RunId {
    let steps = json!([
        { "id": "s0", "agent": PLAYER, "with": "${input}" },
        { "id": "s1", "agent": PLAYER, "with": { "it": "${steps.s0.output.nothing.there}" } },
    ]);
    let failing = workflow("expression-failed", &steps, "${steps.s1.output}");
    let (run, _worker) = stage.play(&failing, json!({ "value": 1 })).await;
    stage.until(run, RunStatus::Stalled).await;
    stage.retry(run, &["s1"]).await;
    let reason = "the manifest is wrong".to_owned();
    stage.write(run, Channel::Control, &[entry("fail-1", Body::FailRequested { reason })]).await;
    stage.until_marked(run, RunStatus::Failed).await;
    run
}

pub(in crate::history) async fn output_failed(stage: &Stage) -> RunId {
    let steps = json!([{ "id": "s0", "agent": PLAYER, "with": "${input}" }]);
    let failing = workflow("output-failed", &steps, "${steps.s0.output.nothing.there}");
    let (run, _worker) = stage.play(&failing, json!({ "value": 1 })).await;
    stage.until(run, RunStatus::Stalled).await;
    stage.retry(run, &[]).await;
    stage.api.runs().cancel(Stage::steer(run)).await.unwrap();
    stage.until_marked(run, RunStatus::Canceled).await;
    run
}
