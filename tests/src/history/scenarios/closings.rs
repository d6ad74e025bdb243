//! What a run does last: it undoes what was done, and cleans up.

use kapelle_engine::{Body, Channel};
use kapelle_proto::v1::RunStatus;
use kapelle_types::RunId;
use serde_json::{Value, json};

use crate::history::manifests::{PLAYER, workflow};
use crate::history::stage::{Stage, entry, succeeded};

fn booking(name: &str, last_fails: u32) -> Value {
    let undo = |what: &str| json!({ "agent": PLAYER, "with": { "undo": what } });
    let steps = json!([
        { "id": "hotel", "agent": PLAYER, "with": { "book": "hotel" }, "compensate": undo("hotel") },
        { "id": "flight", "needs": ["hotel"], "agent": PLAYER, "with": { "book": "flight" }, "compensate": undo("flight") },
        { "id": "car", "needs": ["flight"], "agent": PLAYER, "on_give_up": "fail", "compensate": undo("car"),
          "with": { "fail_attempts": last_fails, "final": true } },
    ]);
    let mut booking = workflow(name, &steps, "${steps.car.status}");
    booking["spec"]["on_failure"] = json!([
        { "id": "tell", "emit": "com.example.failed", "with": "${run.error.code}" },
        { "id": "grumble", "agent": PLAYER, "with": { "fail_attempts": 1, "final": true }, "on_give_up": "continue" },
    ]);
    booking["spec"]["finally"] =
        json!([{ "id": "file", "agent": PLAYER, "with": { "gate": "filed", "car": "${steps.car.status}" } }]);
    booking
}

/// While the last step waits at its gate, people and late workers say what changes nothing any more.
pub(in crate::history) async fn undone(stage: &Stage) -> RunId {
    let (run, _worker) = stage.play(&booking("undone", 1), json!({})).await;
    stage.cues.begun("file#1").await;
    let reason = || "too late".to_owned();
    let late = [
        entry("", Body::CancelRequested { reason: reason() }),
        entry("", Body::PauseRequested { reason: reason() }),
        entry("", Body::RetryRequested { steps: Vec::new() }),
    ];
    stage.write(run, Channel::Control, &late).await;
    stage.write(run, Channel::Report, &[succeeded("car", 1, json!({ "late": true }))]).await;
    stage.cues.open("filed");
    stage.until_marked(run, RunStatus::Failed).await;
    run
}

/// Cancelled in the middle: what was done by then is undone. What has to be done last fails, and is gone on without only
/// where it says so.
pub(in crate::history) async fn cancelled_and_undone(stage: &Stage) -> RunId {
    let mut booking = booking("cancelled-and-undone", 0);
    booking["spec"]["steps"][2]["with"] = json!({ "gate": "never" });
    booking["spec"]["finally"][0]["with"] = json!({ "fail_attempts": 3 });
    let (run, _worker) = stage.play(&booking, json!({})).await;
    stage.cues.begun("car#1").await;
    stage.api.runs().cancel(Stage::steer(run)).await.unwrap();
    stage.until(run, RunStatus::Stalled).await;
    stage.retry(run, &["file"]).await;
    stage.until_marked(run, RunStatus::Canceled).await;
    run
}
