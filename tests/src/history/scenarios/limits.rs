//! What an agent may cost in a run, and what one of its tasks may use up and be given.

use kapelle_engine::{Body, Channel, FailureKind};
use kapelle_proto::v1::RunStatus;
use kapelle_types::RunId;
use serde_json::json;

use crate::history::manifests::{THRIFTY, workflow};
use crate::history::stage::{Stage, failed};

pub(in crate::history) async fn cost(stage: &Stage) -> RunId {
    let each = json!([{
        "id": "each", "agent": THRIFTY, "foreach": "${input.items}", "max_parallel": 1, "with": "${item}",
    }]);
    let items = json!({ "items": [{ "cost": 0.5 }, { "cost": 0.75 }, { "cost": 0.25 }, {}] });
    let (run, _worker) = stage.play(&workflow("cost-per-run", &each, "${steps.each.outputs}"), items).await;
    stage.until(run, RunStatus::Stalled).await;
    stage.retry(run, &["each"]).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn failures(stage: &Stage) -> RunId {
    let step = json!([{ "id": "s0", "agent": THRIFTY, "with": "${input}", "on_give_up": "fail" }]);
    let run = stage.begin(&workflow("cost-of-attempts", &step, "${steps.s0.output}"), json!({ "value": 1 })).await;
    stage.until_is(run, |view| view.steps.iter().any(|step| step.attempts == 1)).await;
    let mut report = failed("s0", 1, FailureKind::Agent);
    if let Body::StepFailed(failed) = &mut report.body {
        failed.usage.cost_usd = 1.0;
    }
    stage.write(run, Channel::Report, &[report]).await;
    stage.until_marked(run, RunStatus::Failed).await;
    run
}

pub(in crate::history) async fn tasks(stage: &Stage) -> RunId {
    let steps = json!([
        { "id": "greedy", "agent": THRIFTY, "with": { "tokens": 101, "cost": 0.125 } },
        { "id": "fed", "agent": THRIFTY, "with": "${input}" },
    ]);
    let long = json!({ "text": "x".repeat(1_100) });
    let (run, _worker) = stage.play(&workflow("task-limits", &steps, "${steps.fed.output}"), long).await;
    stage.until_logged(run, 1, |body| matches!(body, Body::StepFailed(_))).await;
    stage.until(run, RunStatus::Stalled).await;
    stage.api.runs().cancel(Stage::steer(run)).await.unwrap();
    stage.until_marked(run, RunStatus::Canceled).await;
    run
}
