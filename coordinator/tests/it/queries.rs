//! What a run is asked, against a real broker: before, while and after there is an answer.

use kapelle_proto::v1::run_service_client::RunServiceClient;
use kapelle_proto::v1::{QueryRequest, RunStatus, SignalRequest};
use serde_json::{Value, json};
use tonic::Status;

use crate::fleet::{Fleet, eventually};

fn workflow() -> Value {
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Workflow",
        "metadata": { "name": "asked", "version": "1.0.0", "owner": "tests@example.com" },
        "spec": {
            "input": { "schema": { "type": "object" } },
            "signals": { "approved": { "schema": { "type": "object", "required": ["by"] } } },
            "queries": {
                "total": "${steps.first.output.n}",
                "bare": "${steps.answer.output.by}",
                "by": "${has(steps.answer.output) ? steps.answer.output.by : 'nobody'}",
                "standing": { "answer": "${steps.answer.status}", "run": "${run.id}" },
            },
            "steps": [
                { "id": "first", "agent": "echo@^1", "with": "${input}" },
                { "id": "answer", "needs": ["first"], "signal": "approved" },
            ],
            "output": "${steps.answer.output}",
        },
    })
}

async fn ask(fleet: &Fleet, run: &str, name: &str) -> Result<(Value, u64), Status> {
    let request = QueryRequest { run_id: run.to_owned(), name: name.to_owned() };
    let answer = fleet.runs().query(request).await?.into_inner();
    Ok((serde_json::from_slice(&answer.value).unwrap(), answer.seq))
}

async fn until(fleet: &Fleet, run: &str, status: RunStatus) {
    let what = format!("{run} is {status:?}");
    eventually(&what, || async { (fleet.get(run).await.status == status as i32).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_asked_while_it_goes_on_and_when_it_has_ended() {
    let fleet = Fleet::start().await;
    fleet.register(workflow()).await;
    let run = fleet.submit_input("asked", json!({ "n": 7 })).await;
    until(&fleet, &run, RunStatus::Waiting).await;
    let (total, seq) = ask(&fleet, &run, "total").await.unwrap();
    assert_eq!(total, json!(7));
    let log = fleet.history(&run).await;
    assert_eq!(log.last().map(|entry| entry.seq), Some(seq), "it names the entry that it was evaluated after");
    assert_eq!(ask(&fleet, &run, "by").await.unwrap().0, json!("nobody"));
    assert_eq!(ask(&fleet, &run, "standing").await.unwrap().0, json!({ "answer": "AWAITING", "run": run }));

    let not_yet = ask(&fleet, &run, "bare").await.unwrap_err();
    assert_eq!(fleet.code(&not_yet), "K0236");
    assert!(
        not_yet.message().ends_with("`steps.answer.output` is not there: the step has no output yet"),
        "{not_yet:?}"
    );
    assert_eq!(fleet.history(&run).await.len(), log.len(), "asking leaves no trace in the log");

    let payload = json!({ "by": "ada" }).to_string().into();
    let signal = SignalRequest { run_id: run.clone(), name: "approved".into(), payload, id: String::new() };
    fleet.runs().signal(signal).await.unwrap();
    assert_eq!(fleet.until_ended(&run).await.status, RunStatus::Completed as i32);
    assert_eq!(ask(&fleet, &run, "bare").await.unwrap().0, json!("ada"));
    let (by, at) = ask(&fleet, &run, "by").await.unwrap();
    assert!(by == json!("ada") && at > seq);

    // Any coordinator answers, owner or not.
    let second = fleet.second().await;
    let mut there = RunServiceClient::connect(format!("http://{}", second.grpc_address())).await.unwrap();
    let answer = there.query(QueryRequest { run_id: run.clone(), name: "by".into() }).await.unwrap().into_inner();
    assert_eq!((answer.value.as_ref(), answer.seq), (br#""ada""#.as_slice(), at));
    second.stop().await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_declared_is_refused_with_what_is() {
    let fleet = Fleet::start().await;
    fleet.register(workflow()).await;
    let run = fleet.submit_input("asked", json!({})).await;
    let unknown = ask(&fleet, &run, "totl").await.unwrap_err();
    assert_eq!((fleet.code(&unknown).as_str(), unknown.message()), ("K0235", "asked@1.0.0 declares no query `totl`"));
    assert_eq!(fleet.code(&ask(&fleet, &run, "no name").await.unwrap_err()), "K0209");
    let nowhere = "0192f3c4-5a6b-7c8d-9e0f-112233445566";
    assert_eq!(fleet.code(&ask(&fleet, nowhere, "total").await.unwrap_err()), "K0205");
    fleet.stop().await;
}
