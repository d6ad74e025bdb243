//! Runs that are started again, wholly or from a step: what is kept, what is refused, and whose they are.

use kapelle_proto::v1::log_entry::Body;
use kapelle_proto::v1::{self, ForkRunRequest, RestartRunRequest, RunStatus, RunView};
use kapelle_types::Role;
use serde_json::{Value, json};

use crate::callers::{self, Client, Place};
use crate::fleet::{Fleet, agent, chain};

fn fork(run: &str, step: &str) -> ForkRunRequest {
    ForkRunRequest { run_id: run.into(), step: step.into(), ..ForkRunRequest::default() }
}

fn restart(run: &str) -> RestartRunRequest {
    RestartRunRequest { run_id: run.into(), ..RestartRunRequest::default() }
}

fn attempts(run: &RunView) -> Vec<(&str, u32)> {
    run.steps.iter().map(|step| (step.step.as_str(), step.attempts)).collect()
}

fn output(run: &RunView) -> Value {
    serde_json::from_slice(&run.output).unwrap()
}

/// The same workflow in another version, with one of its steps given something else.
fn changed(name: &str, length: usize, step: usize) -> Value {
    let mut workflow = chain(name, length);
    workflow["metadata"]["version"] = json!("1.1.0");
    workflow["spec"]["steps"][step]["with"] = json!({ "new": workflow["spec"]["steps"][step]["with"] });
    workflow
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_keeps_what_does_not_depend_on_its_first_step() {
    let fleet = Fleet::start().await;
    fleet.register(chain("three", 3)).await;
    let old = fleet.execute("three", json!({ "word": "old", "long": "x".repeat(100_000) })).await;

    let forked = fleet.runs().fork(fork(&old.run_id, "s1")).await.unwrap().into_inner();
    let new = fleet.until_ended(&forked.run_id).await;
    assert_eq!((new.status(), new.output == old.output), (RunStatus::Completed, true), "{new:?}");
    assert_eq!(attempts(&new), [("s0", 0), ("s1", 1), ("s2", 1)]);
    assert_eq!((&new.forked_from, &new.labels["forked_from"]), (&old.run_id, &old.run_id));
    let reports = fleet.history(&new.run_id).await.into_iter().filter(|entry| entry.channel == "report").count();
    assert_eq!(reports, 2, "nobody did the first step again");

    let other = ForkRunRequest { input: r#"{"word":"new"}"#.into(), ..fork(&old.run_id, "s0") };
    let other = fleet.until_ended(&fleet.runs().fork(other).await.unwrap().into_inner().run_id).await;
    assert_eq!((output(&other), attempts(&other)), (json!({ "word": "new" }), vec![("s0", 1), ("s1", 1), ("s2", 1)]));

    let keyed = || ForkRunRequest { idempotency_key: Some("k".into()), ..fork(&old.run_id, "s2") };
    let first = fleet.runs().fork(keyed()).await.unwrap().into_inner();
    let again = fleet.runs().fork(keyed()).await.unwrap().into_inner();
    assert_eq!((first.existed, again.existed, &first.run_id), (false, true, &again.run_id));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_fork_cannot_keep_is_refused() {
    let fleet = Fleet::start().await;
    fleet.register(chain("three", 3)).await;
    let old = fleet.execute("three", json!({ "word": "old" })).await.run_id;
    let stalled = fleet.execute("three", json!({ "fail_attempts": 9 })).await;
    assert_eq!(stalled.status(), RunStatus::Stalled);
    let refused = async |request: ForkRunRequest| {
        let status = fleet.runs().fork(request).await.unwrap_err();
        (fleet.code(&status), status.message().to_owned())
    };
    assert_eq!(refused(fork(&old, "nowhere")).await.0, "K0219");
    let (code, message) = refused(fork(&stalled.run_id, "s1")).await;
    assert!(code == "K0219" && message.contains("needs s0"), "{code} {message}");

    fleet.register(changed("three", 3, 1)).await;
    let latest = |step| ForkRunRequest { latest: true, ..fork(&old, step) };
    let (code, message) = refused(latest("s2")).await;
    assert!(code == "K0220" && message.starts_with("step s1 "), "{code} {message}");
    // What changed is done again, by its new version; without `latest` the old versions go on.
    let new = fleet.until_ended(&fleet.runs().fork(latest("s1")).await.unwrap().into_inner().run_id).await;
    assert_eq!((new.workflow.as_str(), output(&new)), ("three@1.1.0", json!({ "new": { "word": "old" } })));
    assert_eq!(attempts(&new), [("s0", 0), ("s1", 1), ("s2", 1)]);
    let same = fleet.until_ended(&fleet.runs().fork(fork(&old, "s2")).await.unwrap().into_inner().run_id).await;
    assert_eq!((same.workflow.as_str(), attempts(&same)), ("three@1.0.0", vec![("s0", 0), ("s1", 0), ("s2", 1)]));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_is_a_new_run_of_the_same_input_and_versions() {
    let fleet = Fleet::start().await;
    fleet.register(chain("two", 2)).await;
    let old = fleet.execute("two", json!({ "word": "old", "long": "x".repeat(100_000) })).await;
    fleet.apply_all(&[agent(), changed("two", 2, 1)]).await.unwrap();

    let new = fleet.until_ended(&fleet.runs().restart(restart(&old.run_id)).await.unwrap().into_inner().run_id).await;
    assert_ne!(new.run_id, old.run_id);
    assert_eq!((new.workflow.as_str(), output(&new)), ("two@1.0.0", output(&old)));
    assert_eq!((&new.labels["restarted_from"], new.forked_from.as_str()), (&old.run_id, ""));
    let latest = RestartRunRequest { latest: true, ..restart(&new.run_id) };
    let latest = fleet.until_ended(&fleet.runs().restart(latest).await.unwrap().into_inner().run_id).await;
    assert_eq!((latest.workflow.as_str(), &latest.labels["restarted_from"]), ("two@1.1.0", &new.run_id));
    fleet.stop().await;
}

/// What somebody asked for is asked for again. What a run had of the one above it was for what its workflow does not say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_has_the_priority_that_was_asked_for() {
    let fleet = Fleet::start().await;
    let mut below = chain("below", 1);
    below["spec"]["priority"] = json!(5);
    let above = json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Workflow",
        "metadata": { "name": "above", "version": "1.0.0", "owner": "tests@example.com" },
        "spec": { "priority": 2, "steps": [{ "id": "sub", "workflow": "below@^1", "with": {} }] },
    });
    fleet.apply_all(&[agent(), below, above]).await.unwrap();
    let asked = v1::SubmitRequest { workflow: "above".into(), priority: 1, ..v1::SubmitRequest::default() };
    let asked = fleet.until_ended(&fleet.submit(asked).await.unwrap().run_id).await;
    assert_eq!((asked.status(), asked.priority), (RunStatus::Completed, 1), "{asked:?}");
    let sub = &asked.steps[0].run_id;
    let mut restarted = Vec::new();
    for run in [&asked.run_id, sub] {
        let new = fleet.runs().restart(restart(run)).await.unwrap().into_inner().run_id;
        restarted.push(fleet.until_ended(&new).await);
    }
    assert_eq!(restarted.iter().map(|run| run.priority).collect::<Vec<_>>(), [1, 0], "{restarted:?}");
    assert_eq!(fleet.get(sub).await.priority, 0, "nobody submitted it with one");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_starts_a_run_again_sees_no_more_of_it_than_before() {
    let place = Place::start(1).await;
    let (operator, _) = place.token("ops", &[Role::Operator], |_| {}).await;
    let (clinic, _) = place.token("clinic", &[Role::Publisher], |_| {}).await;
    let (other, _) = place.token("other", &[Role::Publisher], |_| {}).await;
    let (operator, clinic) = (place.client(&operator).await, place.client(&clinic).await);
    let other = place.client(&other).await;
    operator.apply(&callers::agent()).await.unwrap();
    operator.apply(&callers::workflow()).await.unwrap();
    let input = json!({ "wait": false, "word": "secret" }).to_string().into();
    let submit = v1::SubmitRequest { workflow: "say".into(), input, ..v1::SubmitRequest::default() };
    let execute = v1::ExecuteRequest { submit: Some(submit), wait_millis: 30_000 };
    let old = clinic.runs().execute(execute).await.unwrap().into_inner().run_id;

    let denied = other.runs().restart(restart(&old)).await.unwrap_err();
    assert_eq!(callers::code(&denied), "K0503", "publishers start their own runs again");
    let new = operator.runs().restart(restart(&old)).await.unwrap().into_inner().run_id;
    let get = async |client: &Client| {
        callers::eventually("the run's end", async || {
            let request = v1::GetRunRequest { run_id: new.clone() };
            let run = client.runs().get(request).await.unwrap().into_inner();
            (run.finished_at_unix_nanos != 0).then_some(run)
        })
        .await
    };
    let shown = get(&operator).await;
    assert_eq!(
        (shown.submitted_by.as_str(), shown.output.starts_with(b"\"[hidden")),
        ("token:clinic", true),
        "{shown:?}"
    );
    assert_eq!(get(&clinic).await.output.as_ref(), br#""secret""#);
    let own = clinic.runs().fork(fork(&old, "only")).await.unwrap().into_inner();
    assert!(!own.existed);
    let history = v1::HistoryRequest { run_id: new };
    let entries = operator.runs().history(history).await.unwrap().into_inner().entries;
    assert!(!format!("{entries:?}").contains("secret"), "{entries:?}");
    let first = entries[0].entry.as_ref().unwrap();
    let Some(Body::RunSubmitted(submitted)) = &first.body else { panic!("{first:?}") };
    assert_eq!((first.principal.as_str(), submitted.owner.as_str()), ("token:ops", "token:clinic"));
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_says_what_it_waits_for() {
    let fleet = Fleet::start().await;
    fleet.register(chain("two", 2)).await;
    let done = fleet.execute("two", json!({})).await.run_id;
    assert_eq!(fleet.get(&done).await.why.unwrap().because, "it is done");
    let stalled = fleet.execute("two", json!({ "fail_attempts": 9 })).await.run_id;
    let why = fleet.get(&stalled).await.why.unwrap();
    assert_eq!(why.because, "it is STALLED: step s0 gave up after 3 attempts: scripted");
    assert!(why.since_unix_nanos > 0 && why.advice.contains(&format!("`kapelle run retry {stalled}`")), "{why:?}");

    let mut lonely = agent();
    lonely["metadata"]["name"] = json!("lonely");
    let mut workflow = chain("alone", 1);
    workflow["spec"]["steps"][0]["agent"] = json!("lonely@^1");
    fleet.apply_all(&[lonely, workflow]).await.unwrap();
    let waits = fleet.submit_input("alone", json!({})).await;
    crate::fleet::eventually("it waits for a worker", async || {
        let why = fleet.get(&waits).await.why?;
        (why.because == "it waits for a worker of lonely@1.0.0 (step s0): none is connected").then_some(())
    })
    .await;
    fleet.stop().await;
}
