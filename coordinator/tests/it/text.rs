//! Reading along with a run, against a real broker: whose words are passed on, to whom, and until when. The test says them,
//! as a worker does.

use futures::StreamExt;
use kapelle_bus::Bus;
use kapelle_engine::TaskToken;
use kapelle_proto::subject::{TaskSubject, WordsSubject};
use kapelle_proto::v1::run_service_client::RunServiceClient;
use kapelle_proto::v1::{GetRunRequest, SteerRequest, SubmitRequest, TextPiece, WatchTextRequest};
use kapelle_proto::{Task, Words};
use kapelle_types::Role;
use serde_json::json;
use tonic::Streaming;

use crate::callers::{self, Place, code};
use crate::fleet::Fleet;

fn of(run: &str, step: &str) -> WatchTextRequest {
    WatchTextRequest { run_id: run.to_owned(), step: step.to_owned() }
}

/// Says a piece of the first answer, as the worker of a task does.
fn say(bus: &Bus, task: &Task, agent: &str, token: Option<TaskToken>, offset: u64, text: &str) {
    let subject = WordsSubject { agent: agent.parse().unwrap(), run_id: task.run_id };
    let words = Words { task: task.task.clone(), token, answer: 1, offset, text: text.into(), last: false };
    assert!(bus.tell_words(&subject, words.encode()));
}

async fn next(stream: &mut Streaming<TextPiece>) -> TextPiece {
    stream.message().await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_with_the_tasks_token_are_passed_on_by_any_coordinator_until_the_run_ends() {
    let fleet = Fleet::start().await;
    let workflow = json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Workflow",
        "metadata": { "name": "told", "version": "1.0.0", "owner": "tests@example.com" },
        "spec": {
            "input": { "schema": { "type": "object" } },
            "steps": [
                { "id": "one", "agent": "echo@^1", "with": "${input}" },
                { "id": "each", "agent": "echo@^1", "foreach": "${[1, 2]}", "with": "${input}" },
            ],
            "output": "${steps.one.output}",
        },
    });
    fleet.register(workflow).await;
    let bus = fleet.bus().await;
    let mut queued = bus.client().subscribe("kapelle.task.>").await.unwrap();
    bus.client().flush().await.unwrap();
    let run = fleet.submit_input("told", json!({ "sleep_ms": 60_000 })).await;
    let mut tasks = Vec::new();
    while tasks.len() < 3 {
        let message = queued.next().await.unwrap();
        let subject: TaskSubject = message.subject.as_str().parse().unwrap();
        tasks.push((subject.task.to_string(), Task::decode(&message.payload).unwrap()));
    }
    tasks.sort_by(|a, b| a.0.cmp(&b.0));
    let [(_, first), (_, second), (_, one)] = tasks.as_slice() else { panic!("{tasks:?}") };

    let elsewhere = fleet.second().await;
    let mut there = RunServiceClient::connect(format!("http://{}", elsewhere.grpc_address())).await.unwrap();
    let mut all = fleet.runs().watch_text(of(&run, "")).await.unwrap().into_inner();
    let mut each = there.watch_text(of(&run, "each")).await.unwrap().into_inner();
    let mut member = there.watch_text(of(&run, "each:1")).await.unwrap().into_inner();

    // Workers of the same agent without the attempt's token, and of another agent with it, are not heard.
    say(&bus, one, "echo@1.0.0", None, 0, "without a token");
    say(&bus, one, "echo@1.0.0", first.token, 0, "with another's");
    say(&bus, one, "echo@1.0.0", TaskToken::from_bytes(&[7; 16]), 0, "with a made-up one");
    say(&bus, one, "other@1.0.0", one.token, 0, "of another agent");
    say(&bus, one, "echo@1.0.0", one.token, 0, "the whole ");
    say(&bus, first, "echo@1.0.0", first.token, 0, "its first");
    say(&bus, second, "echo@1.0.0", second.token, 40, "its second");
    say(&bus, one, "echo@1.0.0", one.token, 10, "run");
    let told = |it: &TextPiece| (it.step.clone(), it.attempt, it.answer, it.offset, it.text.clone());
    let piece = |step: &str, offset, text: &str| (step.to_owned(), 1, 1, offset, text.to_owned());
    let expected = [
        piece("one", 0, "the whole "),
        piece("each:0", 0, "its first"),
        piece("each:1", 40, "its second"),
        piece("one", 10, "run"),
    ];
    for wanted in &expected {
        let it = next(&mut all).await;
        assert_eq!((told(&it), it.agent.as_str()), (wanted.clone(), "echo@1.0.0"));
    }
    assert_eq!([told(&next(&mut each).await), told(&next(&mut each).await)], expected[1..3]);
    assert_eq!(told(&next(&mut member).await), expected[2]);

    let end = SteerRequest { run_id: run.clone(), ..SteerRequest::default() };
    fleet.runs().terminate(end).await.unwrap();
    for mut stream in [all, each, member] {
        assert_eq!(stream.message().await.unwrap(), None, "it ends with the run");
    }
    let mut after = fleet.runs().watch_text(of(&run, "")).await.unwrap().into_inner();
    assert_eq!(after.message().await.unwrap(), None, "nothing is kept");
    elsewhere.stop().await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_are_payloads_and_for_those_who_see_the_runs() {
    let place = Place::start(1).await;
    let (operator, _) = place.token("ops", &[Role::Operator], |_| {}).await;
    let (admin, _) = place.token("root", &[Role::Admin], |w| w.sees_payloads = true).await;
    let (publisher, _) = place.token("clinic", &[Role::Publisher], |_| {}).await;
    let (operator, admin) = (place.client(&operator).await, place.client(&admin).await);
    let publisher = place.client(&publisher).await;
    operator.apply(&callers::agent()).await.unwrap();
    operator.apply(&callers::workflow()).await.unwrap();
    let input = json!({ "wait": true }).to_string().into();
    let job = SubmitRequest { workflow: "say".into(), input, ..SubmitRequest::default() };
    let run = publisher.runs().submit(job).await.unwrap().into_inner().run_id;
    for client in [&publisher, &admin] {
        client.runs().watch_text(of(&run, "only")).await.unwrap();
    }
    let refused = operator.runs().watch_text(of(&run, "")).await.unwrap_err();
    assert_eq!((refused.code(), code(&refused).as_str()), (tonic::Code::PermissionDenied, "K0503"), "{refused:?}");
    assert!(refused.message().contains("may not see the payloads of run"), "{refused:?}");
    operator.runs().get(GetRunRequest { run_id: run.clone() }).await.unwrap();
    let is_it = |record: &kapelle_proto::v1::AuditRecord| format!("{record:?}").contains("WatchText");
    admin.on_record("api", "denied", is_it).await;

    for (request, refusal) in [
        (of(&run, "nowhere"), "K0209"),
        (of(&run, "no step"), "K0209"),
        (of("0192f3c4-5a6b-7c8d-9e0f-112233445566", ""), "K0205"),
        (of("no run", ""), "K0209"),
    ] {
        assert_eq!(code(&admin.runs().watch_text(request).await.unwrap_err()), refusal);
    }
    place.stop().await;
}
