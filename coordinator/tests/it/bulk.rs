//! What many runs are told and asked at once, and where they are begun anew, against a real broker.

use kapelle_proto::v1::bulk_answer::Answer;
use kapelle_proto::v1::bulk_done::Outcome;
use kapelle_proto::v1::{BulkDone, BulkRequest, BulkSummary, BulkVerb, ListRunsRequest, RunStatus};
use serde_json::{Value, json};

use crate::fleet::{Fleet, eventually};

const RUNS: usize = 5;

fn workflow() -> Value {
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Workflow",
        "metadata": { "name": "order", "version": "1.0.0", "owner": "tests@example.com" },
        "spec": {
            "input": { "schema": { "type": "object" } },
            "signals": {
                "price": { "schema": { "type": "object", "required": ["by"] }, "answer": "${steps.price.output.by}" },
                "go": {},
            },
            "queries": { "n": "${steps.first.output.n}", "by": "${steps.price.output.by}" },
            "steps": [
                { "id": "first", "agent": "echo@^1", "with": "${input}" },
                { "id": "price", "needs": ["first"], "signal": "price" },
                { "id": "go", "needs": ["price"], "signal": "go" },
            ],
            "output": "${steps.price.output.by}",
        },
    })
}

fn wish(verb: BulkVerb, name: &str) -> BulkRequest {
    let filter = Some(ListRunsRequest { workflow: "order".into(), ..ListRunsRequest::default() });
    BulkRequest { verb: verb.into(), filter, id: "op".into(), name: name.into(), ..BulkRequest::default() }
}

/// What came of each run, and of all together.
async fn bulk(fleet: &Fleet, request: BulkRequest) -> (Vec<BulkDone>, BulkSummary) {
    let mut answers = fleet.runs().bulk(request).await.unwrap().into_inner();
    let mut done = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        match answer.answer {
            Some(Answer::Done(it)) => done.push(it),
            Some(Answer::Summary(summary)) => return (done, summary),
            Some(Answer::Selected(_)) | None => {}
        }
    }
    panic!("an operation without a summary: {done:?}");
}

/// The outcomes and the values, whichever run they are of, in order.
fn told(done: &[BulkDone]) -> Vec<(Outcome, Value)> {
    let value = |it: &BulkDone| serde_json::from_slice::<Value>(&it.value).unwrap_or_default();
    let mut told: Vec<_> = done.iter().map(|it| (it.outcome(), value(it))).collect();
    told.sort_by_key(|(_, value)| value.to_string());
    told
}

async fn stand(fleet: &Fleet, status: RunStatus, count: usize) {
    let request = ListRunsRequest {
        workflow: "order".into(),
        statuses: vec![status as i32],
        limit: 100,
        ..ListRunsRequest::default()
    };
    let what = format!("{count} runs are {status:?}");
    eventually(&what, || async {
        let answer = fleet.runs().list(request.clone()).await.unwrap().into_inner();
        (answer.runs.len() == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_runs_are_asked_told_and_begun_anew_and_each_once() {
    let fleet = Fleet::start().await;
    fleet.register(workflow()).await;
    for n in 0..RUNS {
        fleet.submit_input("order", json!({ "n": n })).await;
    }
    stand(&fleet, RunStatus::Waiting, RUNS).await;
    let (asked, _) = bulk(&fleet, wish(BulkVerb::Query, "n")).await;
    assert_eq!(told(&asked), (0..RUNS).map(|n| (Outcome::Done, json!(n))).collect::<Vec<_>>());
    let (unanswered, summary) = bulk(&fleet, wish(BulkVerb::Query, "by")).await;
    assert_eq!(summary.failed, RUNS as u64, "{unanswered:?}");
    assert!(unanswered.iter().all(|it| it.error.as_ref().is_some_and(|error| error.code == "K0236")));

    let payload = json!({ "by": "ada" }).to_string();
    let update = BulkRequest { payload: payload.into(), ..wish(BulkVerb::Update, "price") };
    let (answered, _) = bulk(&fleet, update.clone()).await;
    assert_eq!(told(&answered), vec![(Outcome::Done, json!("ada")); RUNS]);
    let (again, summary) = bulk(&fleet, update).await;
    assert_eq!((told(&again), summary.already), (vec![(Outcome::Already, json!("ada")); RUNS], RUNS as u64));

    let (wrong, _) = bulk(&fleet, wish(BulkVerb::Signal, "gone")).await;
    assert!(wrong.iter().all(|it| it.error.as_ref().is_some_and(|error| error.code == "K0228")), "{wrong:?}");
    let (gone, _) = bulk(&fleet, wish(BulkVerb::Signal, "go")).await;
    assert_eq!(told(&gone), vec![(Outcome::Done, Value::Null); RUNS]);
    stand(&fleet, RunStatus::Completed, RUNS).await;

    let fork = BulkRequest { step: "price".into(), ..wish(BulkVerb::Fork, "") };
    let (forked, _) = bulk(&fleet, fork.clone()).await;
    assert!(forked.iter().all(|it| it.outcome() == Outcome::Done && !it.new_run_id.is_empty()), "{forked:?}");
    stand(&fleet, RunStatus::Waiting, RUNS).await;
    let (_, summary) = bulk(&fleet, fork).await;
    assert_eq!((summary.done, summary.already, summary.passed_over), (0, RUNS as u64, RUNS as u64));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_verb_lacks_is_said_before_anything_is_done() {
    let fleet = Fleet::start().await;
    let garbage = BulkRequest { payload: "{".into(), ..wish(BulkVerb::Signal, "go") };
    let stray = BulkRequest { payload: "{}".into(), ..wish(BulkVerb::Cancel, "") };
    for (request, code) in [
        (wish(BulkVerb::Signal, ""), "K0209"),
        (wish(BulkVerb::Cancel, "go"), "K0209"),
        (wish(BulkVerb::Fork, ""), "K0209"),
        (BulkRequest { step: "first".into(), ..wish(BulkVerb::Restart, "") }, "K0209"),
        (stray, "K0209"),
        (garbage, "K0204"),
    ] {
        let refused = fleet.runs().bulk(request.clone()).await.unwrap_err();
        assert_eq!(fleet.code(&refused), code, "{request:?}: {refused:?}");
    }
    fleet.stop().await;
}
