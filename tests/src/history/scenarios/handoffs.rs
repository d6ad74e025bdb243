//! Steps that one agent hands to another.

use kapelle_proto::v1::RunStatus;
use kapelle_types::RunId;
use serde_json::{Value, json};

use super::stalls::letter;
use crate::harness::eventually;
use crate::history::manifests::{PLAYER, SECOND, workflow};
use crate::history::stage::Stage;

/// A step whose agents are named by the input, one after another.
fn desk(name: &str, max: u32, with: &Value) -> Value {
    let steps = json!([
        {
            "id": "desk", "agent": PLAYER, "with": { "to": "${input.to}" },
            "handoff": {
                "to": [SECOND, PLAYER], "max": max, "with": with,
                "next": "${round < size(output.to) ? output.to[round] : null}",
            },
        },
        { "id": "after", "agent": SECOND, "with": { "said": "${steps.desk.output}" } },
    ]);
    workflow(name, &steps, "${steps.after.output.said.to}")
}

/// The second attempt, which is the second agent's first, fails.
pub(in crate::history) async fn handed_on(stage: &Stage) -> RunId {
    let with = json!({ "to": "${output.to}", "fail_attempts": 2, "hop": "${round}" });
    let (run, _worker) = stage.play(&desk("handed-on", 5, &with), json!({ "to": ["second", "player"] })).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

/// Nobody is called `boss` whom the step may be handed to, however often the agent that has it is asked.
pub(in crate::history) async fn handed_astray(stage: &Stage) -> RunId {
    let with = json!({ "to": ["second", "boss"] });
    let (run, _worker) = stage.play(&desk("handed-astray", 1, &with), json!({ "to": ["second"] })).await;
    stage.until(run, RunStatus::Stalled).await;
    eventually("the dead letter is discarded", || async {
        let answer = stage.api.dead_letters().discard(letter(run)).await.unwrap().into_inner();
        (answer.affected.len() == 1).then_some(())
    })
    .await;
    stage.until_marked(run, RunStatus::Failed).await;
    run
}

pub(in crate::history) async fn handed_on_too_often(stage: &Stage) -> RunId {
    let with = json!({ "to": "${output.to}" });
    let (run, _worker) = stage.play(&desk("handed-too-often", 1, &with), json!({ "to": ["second", "player"] })).await;
    stage.until(run, RunStatus::Stalled).await;
    eventually("the dead letter is replayed", || async {
        let answer = stage.api.dead_letters().replay(letter(run)).await.unwrap().into_inner();
        (answer.affected.len() == 1).then_some(())
    })
    .await;
    eventually("it is handed on too often again, and discarded", || async {
        let answer = stage.api.dead_letters().discard(letter(run)).await.unwrap().into_inner();
        (answer.affected.len() == 1).then_some(())
    })
    .await;
    stage.until_marked(run, RunStatus::Failed).await;
    run
}
