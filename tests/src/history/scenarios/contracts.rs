//! What is refused at dispatch and at report: payloads that break a contract, reports of somebody else's task.

use kapelle_engine::{Body, Channel, FailureKind};
use kapelle_proto::v1::RunStatus;
use kapelle_types::RunId;
use serde_json::json;

use crate::history::manifests::{STRICT, chain, workflow};
use crate::history::stage::{PATIENCE, Stage, entry, failed, succeeded};

pub(in crate::history) async fn output(stage: &Stage) -> RunId {
    let strict = workflow(
        "output-contract",
        &json!([{ "id": "s0", "agent": STRICT, "with": "${input}" }]),
        "${steps.s0.output}",
    );
    let (run, _worker) = stage.play(&strict, json!({ "value": 1, "wrong_attempts": 1 })).await;
    stage.until(run, RunStatus::Stalled).await;
    stage.retry(run, &["s0"]).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn input(stage: &Stage) -> RunId {
    let each = json!([{ "id": "each", "agent": STRICT, "foreach": "${input.items}", "with": "${item}" }]);
    let strict = workflow("input-contract", &each, "${steps.each.outputs}");
    let items = json!({ "items": [{ "value": 1 }, { "value": "one" }, { "value": 3 }] });
    let (run, _worker) = stage.play(&strict, items).await;
    stage.until_logged(run, 2, |body| matches!(body, Body::StepSucceeded(_))).await;
    stage.until(run, RunStatus::Stalled).await;
    stage.api.runs().cancel(Stage::steer(run)).await.unwrap();
    stage.until_marked(run, RunStatus::Canceled).await;
    run
}

pub(in crate::history) async fn result(stage: &Stage) -> RunId {
    let mut strict = chain("result-contract", 1);
    strict["spec"]["result"] = json!({ "schema": { "type": "object", "required": ["missing"] } });
    let (run, _worker) = stage.play(&strict, json!({ "value": 1 })).await;
    stage.until(run, RunStatus::Stalled).await;
    let reason = "the manifest is wrong".to_owned();
    stage.write(run, Channel::Control, &[entry("fail-1", Body::FailRequested { reason })]).await;
    stage.until_marked(run, RunStatus::Failed).await;
    run
}

pub(in crate::history) async fn forged(stage: &Stage) -> RunId {
    let run = stage.begin(&chain("forged-reports", 2), json!({ "value": 1 })).await;
    stage.until_is(run, |view| view.steps.iter().any(|step| step.attempts == 1)).await;
    stage.write_as_they_are(run, Channel::Report, &[succeeded("s0", 1, json!("forged"))]).await;
    stage.write_as_they_are(run, Channel::Report, &[failed("s0", 1, FailureKind::Agent)]).await;
    let stolen = stage.signed_for(run, "s1", 1, succeeded("s0", 1, json!("forged"))).await;
    stage.write_as_they_are(run, Channel::Report, &[stolen]).await;
    let _worker = stage.worker(4, PATIENCE).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}
