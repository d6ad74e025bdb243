//! What a run is told and answers to, against a real broker: at once, later, never, and by whichever coordinator is asked.

use std::time::Duration;

use kapelle_proto::v1::run_service_client::RunServiceClient;
use kapelle_proto::v1::{RunStatus, SignalRequest, SteerRequest, UpdateRequest, UpdateResponse};
use serde_json::{Value, json};
use tonic::Status;

use crate::fleet::{Fleet, eventually};

/// A parcel: its address may be changed while it is packed, which is answered when it has been packed with that.
fn workflow() -> Value {
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Workflow",
        "metadata": { "name": "parcel", "version": "1.0.0", "owner": "tests@example.com" },
        "spec": {
            "input": { "schema": { "type": "object" } },
            "signals": {
                "address": {
                    "schema": { "type": "object", "required": ["to"] },
                    "answer": { "to": "${steps.address.output.to}", "packed": "${steps.pack.output.n}" },
                },
                "sent": { "answer": "${steps.pack.output.nothing}" },
                "note": {},
            },
            "steps": [
                { "id": "first", "agent": "echo@^1", "with": "${input}" },
                { "id": "address", "needs": ["first"], "signal": "address" },
                { "id": "pack", "agent": "echo@^1", "needs": ["address"], "with": "${input}" },
                { "id": "sent", "needs": ["pack"], "signal": "sent" },
                { "id": "again", "needs": ["sent"], "signal": "address" },
            ],
            "output": "${steps.address.output}",
        },
    })
}

fn told(run: &str, name: &str, payload: &Value, id: &str) -> UpdateRequest {
    let (run_id, name, id) = (run.to_owned(), name.to_owned(), id.to_owned());
    UpdateRequest { run_id, name, payload: payload.to_string().into(), id, wait_millis: 20_000 }
}

fn value(answer: &UpdateResponse) -> Value {
    serde_json::from_slice(&answer.value).unwrap()
}

async fn update(fleet: &Fleet, request: UpdateRequest) -> Result<UpdateResponse, Status> {
    fleet.runs().update(request).await.map(tonic::Response::into_inner)
}

async fn until(fleet: &Fleet, run: &str, status: RunStatus) {
    let what = format!("{run} is {status:?}");
    eventually(&what, || async { (fleet.get(run).await.status == status as i32).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_is_answered_with_what_became_of_it_and_again_whoever_is_asked() {
    let fleet = Fleet::start().await;
    fleet.register(workflow()).await;
    // Told before anybody waits for it: it is kept, taken, and answered after the step that packs has ended.
    let run = fleet.submit_input("parcel", json!({ "n": 7, "sleep_ms": 300 })).await;
    let request = told(&run, "address", &json!({ "to": "Ada" }), "u1");
    let answer = update(&fleet, request.clone()).await.unwrap();
    assert_eq!(value(&answer), json!({ "to": "Ada", "packed": 7 }));
    assert!(!answer.duplicate && answer.answered_seq > answer.seq, "{answer:?}");
    until(&fleet, &run, RunStatus::Waiting).await;
    let log = fleet.history(&run).await;
    let entry = |seq: u64| log.iter().find(|it| it.seq == seq).unwrap().entry.as_ref().unwrap().body.clone().unwrap();
    assert!(matches!(entry(answer.seq), kapelle_proto::v1::log_entry::Body::SignalReceived(_)));
    assert!(matches!(entry(answer.answered_seq), kapelle_proto::v1::log_entry::Body::StepSucceeded(_)));

    // The same answer for whoever asks under the same id, at any coordinator; it is told once.
    let second = fleet.second().await;
    let mut there = RunServiceClient::connect(format!("http://{}", second.grpc_address())).await.unwrap();
    let again = there.update(request.clone()).await.unwrap().into_inner();
    assert_eq!(again, UpdateResponse { duplicate: true, ..answer.clone() });
    assert_eq!(fleet.history(&run).await.len(), log.len());

    // One that nobody takes yet is kept, and says under which id to ask again.
    let waiting = UpdateRequest { wait_millis: 200, ..told(&run, "address", &json!({ "to": "Bob" }), "u2") };
    let pending = update(&fleet, waiting.clone()).await.unwrap_err();
    assert_eq!(
        (fleet.code(&pending).as_str(), pending.code()),
        ("K0239", tonic::Code::DeadlineExceeded),
        "{pending:?}"
    );
    assert!(pending.message().ends_with("no step has taken it yet"), "{pending:?}");
    // Its answer cannot be computed: what the step gave has no such field.
    let failed = update(&fleet, told(&run, "sent", &Value::Null, "")).await.unwrap_err();
    assert_eq!(fleet.code(&failed), "K0238", "{failed:?}");
    until(&fleet, &run, RunStatus::Completed).await;
    // What it refers to had ended long before it was taken.
    let late = update(&fleet, waiting).await.unwrap();
    assert_eq!((value(&late), late.duplicate), (json!({ "to": "Ada", "packed": 7 }), true));
    assert_eq!(value(&update(&fleet, request).await.unwrap()), json!({ "to": "Ada", "packed": 7 }));
    second.stop().await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_no_step_took_before_the_run_ended_has_no_answer() {
    let fleet = Fleet::start().await;
    fleet.register(workflow()).await;
    let run = fleet.submit_input("parcel", json!({ "n": 7, "sleep_ms": 60_000 })).await;
    let asked = {
        let (mut runs, request) = (fleet.runs(), told(&run, "address", &json!({ "to": "Ada" }), "u1"));
        tokio::spawn(async move { runs.update(request).await })
    };
    eventually("the update is recorded", || async { (fleet.history(&run).await.len() > 1).then_some(()) }).await;
    let signal = SignalRequest { run_id: run.clone(), name: "address".into(), id: "u1".into(), ..Default::default() };
    let payload = json!({ "to": "Eve" }).to_string().into();
    let same = fleet.runs().signal(SignalRequest { payload, ..signal }).await.unwrap().into_inner();
    assert!(same.duplicate, "an update and a signal of one name and id are one");
    let reason = "it is not wanted any more".to_owned();
    fleet.runs().terminate(SteerRequest { run_id: run.clone(), reason }).await.unwrap();
    let begun = tokio::time::Instant::now();
    let refused = asked.await.unwrap().unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(10), "it is told when the run ends, not when its time is over");
    assert_eq!((fleet.code(&refused).as_str(), refused.code()), ("K0238", tonic::Code::FailedPrecondition));
    assert!(refused.message().ends_with("is TERMINATED and no step has taken the update `address`"), "{refused:?}");
    let late = update(&fleet, told(&run, "address", &json!({ "to": "Bob" }), "u2")).await.unwrap_err();
    assert_eq!(fleet.code(&late), "K0206");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_answer_or_breaks_its_contract_is_not_told() {
    let fleet = Fleet::start().await;
    fleet.register(workflow()).await;
    let run = fleet.submit_input("parcel", json!({ "n": 7 })).await;
    until(&fleet, &run, RunStatus::Waiting).await;
    let log = fleet.history(&run).await.len();
    let refused = async |name: &str, payload: Value| {
        let status = update(&fleet, told(&run, name, &payload, "")).await.unwrap_err();
        (fleet.code(&status), status.message().to_owned())
    };
    let (code, message) = refused("note", Value::Null).await;
    assert_eq!((code.as_str(), message.as_str()), ("K0237", "parcel@1.0.0 declares no answer to the signal `note`"));
    assert_eq!(refused("adress", json!({ "to": "Ada" })).await.0, "K0228");
    assert_eq!(refused("address", json!({})).await.0, "K0229");
    assert_eq!(refused("no name", json!({})).await.0, "K0209");
    assert_eq!(fleet.history(&run).await.len(), log);
    fleet.stop().await;
}
