//! What breaks a contract is refused where it appears: at submit, at dispatch, at report, at the end of a run.

use crate::fleet::{Fleet, agent, chain, eventually, fan_out};
use kapelle_bus::keys::{self, Keys};
use kapelle_engine::{Body, Channel, Entry, StepSucceeded, Usage, Work};
use kapelle_proto::v1::log_entry::Body as WireBody;
use kapelle_proto::v1::{RunStatus, RunView};
use kapelle_types::{Principal, RunId, TaskId};
use serde_json::{Value, json};

const SECRET: &str = "a-value-that-nobody-repeats";
/// What is said of it: the place, the rule, and what was there instead of its value.
const VIOLATION: &str =
    "at /value: the value is not of type \"number\"; it is a string of 27 characters (rule /properties/value/type)";

fn number_in(field: &str) -> Value {
    json!({ "schema": { "type": "object", "required": [field], "properties": { field: { "type": "number" } } } })
}

/// The echo agent with contracts: it gives what it takes.
fn strict(input: Value, output: Value) -> Value {
    let mut agent = agent();
    agent["spec"]["input"] = input;
    agent["spec"]["output"] = output;
    agent
}

fn told(run: &RunView) -> (RunStatus, u32, String) {
    let error = run.error.as_ref().map(|e| format!("{}: {}", e.code, e.message)).unwrap_or_default();
    assert!(!format!("{error:?}").contains(SECRET), "a message repeats a value: {error}");
    (run.status(), run.steps[0].attempts, error)
}

async fn registered(agent: Value, workflow: Value) -> Fleet {
    let fleet = Fleet::start().await;
    fleet.apply_all(&[agent, workflow]).await.unwrap();
    fleet
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_submit() {
    let mut workflow = chain("strict", 1);
    workflow["spec"]["input"] = number_in("value");
    let fleet = registered(agent(), workflow).await;
    let refused = fleet.try_submit("strict", json!({ "value": SECRET })).await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0202");
    assert_eq!(refused.message(), format!("the input does not match the contract of strict@1.0.0: {VIOLATION}"));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_dispatch() {
    let fleet = registered(strict(number_in("value"), json!({ "schema": {} })), fan_out("strict", 4)).await;
    let run = fleet.execute("strict", json!({ "items": [{ "value": SECRET }, { "value": 2 }] })).await;
    let message = format!("K0309: step `each:0`: `with` breaks the input contract of echo@1.0.0: {VIOLATION}");
    assert_eq!(told(&run), (RunStatus::Stalled, 1, message));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_report() {
    let fleet = registered(strict(json!({ "schema": {} }), number_in("value")), chain("strict", 1)).await;
    let run = fleet.execute("strict", json!({ "value": SECRET })).await;
    let cause = format!("K0308: the output breaks the contract of echo@1.0.0: {VIOLATION}");
    let message = format!("K0301: step `s0` gave up after 1 attempt: {cause}");
    assert_eq!(told(&run), (RunStatus::Stalled, 1, message));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_the_end() {
    let mut workflow = chain("strict", 1);
    workflow["spec"]["result"] = number_in("value");
    let fleet = registered(agent(), workflow).await;
    let run = fleet.execute("strict", json!({ "value": SECRET })).await;
    let message = format!("K0310: the workflow's `output` breaks its `result` contract: {VIOLATION}");
    assert_eq!(told(&run), (RunStatus::Stalled, 1, message));
    fleet.stop().await;
}

/// Whoever may publish reports cannot speak for a task that it was not given, and the run does not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_for_anothers_task_is_ignored_by_name() {
    let fleet = Fleet::start().await;
    fleet.register(chain("chain", 1)).await;
    let bus = fleet.bus().await;
    let id = fleet.submit_input("chain", json!({ "value": 7, "sleep_ms": 1_500 })).await;
    let run: RunId = id.parse().unwrap();
    let task = TaskId { step: "s0".parse().unwrap(), attempt: 1 };
    eventually("the task is dispatched", || async { (fleet.get(&id).await.steps[0].attempts == 1).then_some(()) })
        .await;

    let key = Keys::open(&bus).await.unwrap().get(keys::FIRST).await.unwrap().unwrap();
    let other: RunId = "0192f3c4-5a6b-7c8d-9e0f-112233445566".parse().unwrap();
    let next = TaskId { attempt: 2, ..task.clone() };
    let foreign = [None, Some(key.of_run(other).token(&task)), Some(key.of_run(run).token(&next))];
    for token in foreign {
        let (work, usage) = (Work::default(), Usage::default());
        let report = StepSucceeded { task: task.clone(), output: json!("forged").into(), work, usage, token };
        let body = Body::StepSucceeded(report);
        let entry = Entry { id: String::new(), principal: Principal("worker:rogue".into()), traceparent: None, body };
        bus.append_now(run, Channel::Report, kapelle_proto::encode_record(&[entry])).await.unwrap();
    }
    let ended = fleet.until_ended(&id).await;
    assert_eq!((ended.status(), ended.output), (RunStatus::Completed, r#"{"value":7,"sleep_ms":1500}"#.into()));
    let history = fleet.history(&id).await;
    let ignored: Vec<&str> = history.iter().map(|e| e.ignored.as_str()).filter(|reason| !reason.is_empty()).collect();
    assert_eq!(ignored, ["bad_token"; 3]);
    let shown = history.iter().filter_map(|e| e.entry.as_ref()?.body.as_ref()).any(|body| match body {
        WireBody::StepSucceeded(report) => !report.token.is_empty(),
        _ => false,
    });
    assert!(!shown, "whoever may read a run may not speak for its tasks");
    fleet.stop().await;
}
