//! Steps that wait for people, and decisions that are none. What the API refuses does not get into a log but by hand.

use kapelle_engine::{ApprovalDecided, Body, Channel, Decider, Entry, Verdict};
use kapelle_proto::v1::{ApprovalView, DecideApprovalRequest, GetApprovalRequest, RunStatus};
use kapelle_types::{RunId, Sha256};
use serde_json::{Value, json};

use crate::harness::eventually;
use crate::history::manifests::{STRICT, workflow};
use crate::history::stage::{Stage, entry};

/// What waits for people at a step, once it does, and as often as it was asked.
async fn asked(stage: &Stage, run: RunId, step: &str) -> ApprovalView {
    let request = || GetApprovalRequest { run_id: run.to_string(), step: step.into() };
    let view = || async { Some(stage.api.approvals().get(request()).await.ok()?.into_inner()) };
    eventually("somebody is asked", view).await
}

async fn decide(stage: &Stage, view: &ApprovalView, decision: &str, arguments: &Value) {
    let request = DecideApprovalRequest {
        run_id: view.run_id.clone(),
        step: view.step.clone(),
        digest: view.digest.clone(),
        decision: decision.into(),
        arguments: if arguments.is_null() { bytes::Bytes::new() } else { arguments.to_string().into() },
        comment: "seen".into(),
        id: String::new(),
    };
    stage.api.approvals().decide(request).await.unwrap();
}

/// What somebody of the lawyers says.
fn said(view: &ApprovalView, person: &str, verdict: Verdict) -> Entry {
    let (step, digest) = (view.step.parse().unwrap(), Sha256::parse(&view.digest).unwrap());
    let by = Decider {
        person: person.into(),
        groups: vec!["legal".into()],
        policies: "of old".into(),
        in_place_of: String::new(),
    };
    let comment = "by hand".into();
    entry("", Body::ApprovalDecided(Box::new(ApprovalDecided { step, digest, verdict, comment, by })))
}

fn changed(entry: Entry, change: impl FnOnce(&mut ApprovalDecided)) -> Entry {
    let Body::ApprovalDecided(mut decided) = entry.body else { return entry };
    change(&mut decided);
    Entry { body: Body::ApprovalDecided(decided), ..entry }
}

pub(in crate::history) async fn asked_of(stage: &Stage) -> RunId {
    let gate = json!({ "title": "Pay?", "groups": ["legal"], "quorum": 2, "expires": "1h" });
    let pay = json!({ "title": "Pay it?", "self_approval": true });
    let steps = json!([
        { "id": "gate", "approval": gate, "with": { "value": 1 }, "on_give_up": "continue" },
        { "id": "pay", "needs": ["gate"], "agent": STRICT, "with": { "value": 5 }, "approve": pay },
    ]);
    let asking = workflow("asked-of", &steps, "${[steps.gate.status, steps.pay.output]}");
    let (run, _worker) = stage.play(&asking, json!({})).await;
    let view = asked(stage, run, "gate").await;
    let approve = |person: &str| said(&view, person, Verdict::Approve);
    let elsewhere = ApprovalView { step: "pay".into(), ..view.clone() };
    let wrong = [
        said(&elsewhere, "bob", Verdict::Approve),
        changed(approve("bob"), |it| it.digest = Sha256::of(b"something else")),
        approve(""),
        changed(approve("bob"), |it| it.by.groups.clear()),
        approve(&view.submitted_by),
        said(&view, "bob", Verdict::Undo),
        approve("bob"),
        approve("bob"),
        said(&view, "bob", Verdict::Undo),
        approve("eve"),
    ];
    stage.write(run, Channel::Control, &wrong).await;
    // The policies that let them are not those that are served: nobody has agreed.
    stage.write(run, Channel::Control, &[approve("cyd")]).await;
    stage.until_logged(run, 1, |body| matches!(body, Body::ApprovalChecked(_))).await;
    stage.write(run, Channel::Control, &[said(&view, "dee", Verdict::Reject)]).await;

    let view = asked(stage, run, "pay").await;
    stage.write(run, Channel::Control, &[said(&view, "bob", Verdict::Edit(json!({}).into()))]).await;
    decide(stage, &view, "edit", &json!({ "value": 4 })).await;
    stage.until_marked(run, RunStatus::Completed).await;
    run
}

pub(in crate::history) async fn asked_too_late(stage: &Stage) -> RunId {
    let gate = json!({ "title": "Pay?", "expires": "300ms" });
    let steps = json!([{ "id": "gate", "approval": gate, "with": {}, "on_give_up": "stall" }]);
    let (run, _worker) = stage.play(&workflow("asked-too-late", &steps, "${steps.gate.status}"), json!({})).await;
    let view = asked(stage, run, "gate").await;
    stage.until(run, RunStatus::Stalled).await;
    stage.write(run, Channel::Control, &[said(&view, "bob", Verdict::Approve)]).await;
    stage.api.runs().cancel(Stage::steer(run)).await.unwrap();
    stage.until_marked(run, RunStatus::Canceled).await;
    run
}
