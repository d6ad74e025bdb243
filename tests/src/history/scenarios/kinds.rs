//! Steps that no agent does: values, switches, waits, signals, events.

use kapelle_engine::{Body, Channel, SignalReceived};
use kapelle_proto::v1::{RunStatus, SignalRequest};
use kapelle_types::RunId;
use serde_json::{Value, json};

use crate::history::manifests::{PLAYER, workflow};
use crate::history::stage::{Stage, entry};

pub(in crate::history) async fn quiet(stage: &Stage) -> RunId {
    let steps = json!([
        { "id": "sum", "value": "${input.n + 1}" },
        { "id": "each", "foreach": "${input.list}", "value": "${item * 2}" },
        { "id": "route", "switch": [{ "case": "big", "when": "${steps.sum.output > 5}" }, { "case": "small" }] },
        { "id": "big", "case": "route.big", "agent": PLAYER, "with": { "n": "${steps.sum.output}" } },
        { "id": "small", "case": "route.small", "agent": PLAYER, "with": {} },
        { "id": "pause", "needs": ["big"], "wait": "200ms" },
        { "id": "then", "needs": ["pause"], "wait": { "until": "2026-01-01T00:00:00Z" } },
        { "id": "tell", "needs": ["then"], "emit": "com.example.done", "with": "${steps.each.outputs}" },
    ]);
    let quiet =
        workflow("quiet", &steps, "${[steps.route.output, steps.each.outputs, steps.small.status, steps.tell.output]}");
    let (run, _worker) = stage.play(&quiet, json!({ "n": 7, "list": [1, 2, 3] })).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

/// A workflow that waits for two signals, one after the other.
fn listening(name: &str, timeout: &str, on_give_up: &str) -> Value {
    let steps = json!([
        { "id": "first", "signal": "go", "timeout": timeout, "on_give_up": on_give_up },
        { "id": "second", "needs": ["first"], "signal": "answer" },
    ]);
    let mut listening = workflow(name, &steps, "${[steps.first.output, steps.second.output]}");
    listening["spec"]["signals"] =
        json!({ "go": {}, "answer": { "schema": { "required": ["by"], "type": "object" } } });
    listening
}

fn signal(run: RunId, name: &str, payload: &Value, id: &str) -> SignalRequest {
    SignalRequest { run_id: run.to_string(), name: name.into(), payload: payload.to_string().into(), id: id.into() }
}

pub(in crate::history) async fn signalled(stage: &Stage) -> RunId {
    let (run, _worker) = stage.play(&listening("signalled", "1h", "stall"), json!({})).await;
    stage.api.runs().signal(signal(run, "answer", &json!({ "by": "ada" }), "early")).await.unwrap();
    // What the API refuses does not get into a log but by hand.
    let by_hand = |id: &str, name: &str, payload: Value| {
        let name = name.parse().unwrap();
        entry(id, Body::SignalReceived(SignalReceived { name, payload: payload.into() }))
    };
    let wrong = [by_hand("a", "nobody", json!(1)), by_hand("b", "answer", json!("no object"))];
    stage.write(run, Channel::Control, &wrong).await;
    stage.write(run, Channel::Control, &[by_hand("c", "go", json!(1)), by_hand("c", "go", json!(1))]).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn signalled_late(stage: &Stage) -> RunId {
    let (run, _worker) = stage.play(&listening("signalled-late", "200ms", "stall"), json!({})).await;
    stage.until(run, RunStatus::Stalled).await;
    stage.api.runs().signal(signal(run, "go", &json!(1), "")).await.unwrap();
    stage.api.runs().signal(signal(run, "answer", &json!({ "by": "ada" }), "")).await.unwrap();
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn gone_on_without(stage: &Stage) -> RunId {
    let steps = json!([
        { "id": "ask", "signal": "go", "timeout": "200ms", "on_give_up": "continue" },
        { "id": "each", "agent": PLAYER, "foreach": "${[0, 1]}", "on_give_up": "continue",
          "with": { "fail_attempts": "${item}", "final": true } },
        { "id": "last", "agent": PLAYER, "needs": ["ask", "each"], "with": { "asked": "${steps.ask.status}" } },
    ]);
    let mut without = workflow("gone-on-without", &steps, "${[steps.ask.output, steps.each.outputs]}");
    without["spec"]["signals"] = json!({ "go": {} });
    let (run, _worker) = stage.play(&without, json!({})).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}
