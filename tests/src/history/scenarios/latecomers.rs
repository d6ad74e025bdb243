//! Successes of attempts that nobody waited for any more: a worker was out of sight and comes back.

use kapelle_engine::{Channel, FailureKind};
use kapelle_proto::v1::RunStatus;
use kapelle_types::RunId;
use serde_json::json;

use crate::history::manifests::{PLAYER, chain, workflow};
use crate::history::stage::{Stage, failed, succeeded};

pub(in crate::history) async fn late_success(stage: &Stage) -> RunId {
    let (run, _worker) = stage.play(&chain("late-success", 2), json!({ "fail_attempts": 3 })).await;
    stage.until(run, RunStatus::Stalled).await;
    stage.write(run, Channel::Report, &[succeeded("s0", 1, json!({ "from": "attempt 1" }))]).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn overtaken_in_flight(stage: &Stage) -> RunId {
    let (run, _worker) = stage.play(&chain("overtaken", 2), json!({ "gate": "never" })).await;
    stage.cues.begun("s0#1").await;
    stage.write(run, Channel::Report, &[failed("s0", 1, FailureKind::LeaseLost)]).await;
    stage.cues.begun("s0#2").await;
    stage.write(run, Channel::Report, &[succeeded("s0", 1, json!({ "from": "attempt 1" }))]).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn overtaken_retry(stage: &Stage) -> RunId {
    let step = json!({
        "id": "s0", "agent": PLAYER, "with": "${input}", "retry": { "initial": "10m", "max": "10m" },
    });
    let waiting = workflow("overtaken-retry", &json!([step]), "${steps.s0.output}");
    let (run, _worker) = stage.play(&waiting, json!({ "gate": "never" })).await;
    stage.cues.begun("s0#1").await;
    stage.write(run, Channel::Report, &[failed("s0", 1, FailureKind::Timeout)]).await;
    stage.until(run, RunStatus::Waiting).await;
    stage.write(run, Channel::Report, &[succeeded("s0", 1, json!({ "from": "attempt 1" }))]).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}
