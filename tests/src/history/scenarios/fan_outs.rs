//! `foreach`.

use kapelle_engine::Body;
use kapelle_proto::v1::{RunStatus, RunView};
use kapelle_types::RunId;
use serde_json::{Value, json};

use crate::history::manifests::{PLAYER, fan_out, workflow};
use crate::history::stage::Stage;

pub(in crate::history) async fn wide(stage: &Stage) -> RunId {
    let item = |n: u64| match n {
        7 => json!({ "n": n, "fail_attempts": 1 }),
        11 => json!({ "n": n, "fail_attempts": 2, "code": "busy" }),
        35 => json!({ "n": n, "fail_attempts": 1, "after_ms": 400 }),
        _ => json!({ "n": n }),
    };
    let items: Vec<Value> = (0..36).map(item).collect();
    let (run, _worker) = stage.play(&fan_out("wide", 5), json!({ "items": items })).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn empty(stage: &Stage) -> RunId {
    let steps = json!([
        { "id": "none", "agent": PLAYER, "foreach": "${input.none}", "with": "${item}" },
        { "id": "nulls", "agent": PLAYER, "foreach": "${input.nulls}", "with": { "at": "${index}", "it": "${item}" } },
        { "id": "last", "agent": PLAYER, "with": { "none": "${steps.none.outputs}", "nulls": "${steps.nulls.outputs}" } },
    ]);
    let empty = workflow("empty", &steps, "${steps.last.output}");
    let (run, _worker) = stage.play(&empty, json!({ "none": [], "nulls": [null, 1, null] })).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn stalled(stage: &Stage) -> RunId {
    let item = |n: u64| match n {
        3 => json!({ "n": n, "fail_attempts": 3 }),
        4 => json!({ "n": n, "fail_attempts": 1, "final": true, "code": "refused" }),
        _ => json!({ "n": n }),
    };
    let items: Vec<Value> = (0..8).map(item).collect();
    let (run, _worker) = stage.play(&fan_out("stalled-members", 2), json!({ "items": items })).await;
    let stalled =
        |done: u32| move |view: &RunView| view.status() == RunStatus::Stalled && view.steps[0].members_done == done;
    stage.until_logged(run, 4, |body| matches!(body, Body::StepFailed(_))).await;
    stage.until_is(run, stalled(6)).await;
    stage.retry(run, &["each:4"]).await;
    stage.until_is(run, stalled(7)).await;
    stage.retry(run, &["each"]).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn no_list(stage: &Stage) -> RunId {
    let (run, _worker) = stage.play(&fan_out("no-list", 2), json!({ "items": "a text" })).await;
    stage.until(run, RunStatus::Stalled).await;
    stage.retry(run, &[]).await;
    stage.api.runs().cancel(Stage::steer(run)).await.unwrap();
    stage.until_marked(run, RunStatus::Canceled).await;
    run
}
