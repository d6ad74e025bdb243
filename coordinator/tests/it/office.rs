//! An office of persons: Ada submits, Bob and Cyd are asked.

use kapelle_coordinator::Config;
use kapelle_proto::v1;
use serde_json::{Value, json};
use tonic::Status;

use crate::callers::{Client, Place, code, eventually};
use crate::issuer::Issuer;

/// A workflow with one approval, whose answer is its output.
pub(crate) fn workflow(name: &str, approval: &Value) -> Value {
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Workflow",
        "metadata": { "name": name, "version": "1.0.0", "owner": "t" },
        "spec": {
            "steps": [{ "id": "gate", "approval": approval, "with": { "amount": "${input.amount}" }, "on_give_up": "fail" }],
            "output": "${steps.gate.output}",
        },
    })
}

pub(crate) async fn submit(client: &Client, name: &str) -> String {
    submit_for(client, name, 5).await
}

pub(crate) async fn submit_for(client: &Client, name: &str, amount: u32) -> String {
    let input = format!(r#"{{"amount":{amount}}}"#).into();
    let request = v1::SubmitRequest { workflow: name.into(), input, ..Default::default() };
    client.runs().submit(request).await.unwrap().into_inner().run_id
}

pub(crate) async fn asked(client: &Client, run: &str) -> v1::ApprovalView {
    let request = || v1::GetApprovalRequest { run_id: run.to_owned(), step: "gate".into() };
    eventually("it is asked", || async { client.approvals().get(request()).await.ok() }).await.into_inner()
}

pub(crate) fn said(view: &v1::ApprovalView, decision: &str) -> v1::DecideApprovalRequest {
    v1::DecideApprovalRequest {
        run_id: view.run_id.clone(),
        step: view.step.clone(),
        digest: view.digest.clone(),
        decision: decision.into(),
        comment: "seen".into(),
        ..Default::default()
    }
}

pub(crate) async fn decide(client: &Client, view: &v1::ApprovalView, decision: &str) -> Result<String, Status> {
    client.approvals().decide(said(view, decision)).await.map(|answer| answer.into_inner().outcome)
}

/// The code of a refusal, which is on record too.
pub(crate) async fn refused(client: &Client, auditor: &Client, view: &v1::ApprovalView, decision: &str) -> String {
    let code = code(&decide(client, view, decision).await.unwrap_err());
    auditor.on_record("api", "denied", |record| record.code == code).await;
    code
}

pub(crate) async fn status(client: &Client, run: &str) -> v1::RunStatus {
    client.runs().get(v1::GetRunRequest { run_id: run.to_owned() }).await.unwrap().into_inner().status()
}

pub(crate) async fn until(client: &Client, run: &str, wanted: v1::RunStatus) -> Value {
    eventually(wanted.as_str_name(), || async { (status(client, run).await == wanted).then_some(()) }).await;
    let view = client.runs().get(v1::GetRunRequest { run_id: run.to_owned() }).await.unwrap().into_inner();
    serde_json::from_slice(&view.output).unwrap_or_default()
}

/// Ada submits; Bob and Cyd are asked.
pub(crate) struct Office {
    pub(crate) place: Place,
    pub(crate) issuer: Issuer,
    pub(crate) ada: Client,
    pub(crate) bob: Client,
    pub(crate) cyd: Client,
}

pub(crate) async fn office() -> Office {
    office_with(Config::default()).await
}

/// An office whose coordinator is set up like this.
pub(crate) async fn office_with(config: Config) -> Office {
    let issuer = Issuer::new();
    let place = Place::with(1, Config { accepted: issuer.accepted(), ..config }).await;
    let login = |login: &str, roles: &str| issuer.approver(login, &format!("{login}@example.com"), roles, "legal");
    let ada = place.client(&login("ada", "admin")).await;
    let bob = place.client(&login("bob", "approver")).await;
    let cyd = place.client(&login("cyd", "approver")).await;
    let two = json!({ "title": "Pay?", "groups": ["legal"], "quorum": 2 });
    ada.apply(&workflow("pay", &two)).await.unwrap();
    ada.apply(&workflow("quick", &json!({ "title": "Pay at once?", "expires": "3s" }))).await.unwrap();
    ada.apply(&workflow("one", &json!({ "title": "Pay?" }))).await.unwrap();
    Office { place, issuer, ada, bob, cyd }
}
