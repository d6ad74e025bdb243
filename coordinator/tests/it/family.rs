//! Runs that begin runs.

use std::collections::BTreeSet;

use kapelle_proto::v1::{RunStatus, RunView, SteerRequest};
use serde_json::{Value, json};

use crate::fleet::{Fleet, agent, chain, eventually};

fn workflow(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Workflow",
        "metadata": { "name": name, "version": "1.0.0", "owner": "tests@example.com" }, "spec": spec,
    })
}

/// A workflow with one step that runs another.
fn above(name: &str, step: Value) -> Value {
    workflow(name, json!({ "steps": [step] }))
}

async fn fleet(above: &[Value]) -> Fleet {
    let fleet = Fleet::start().await;
    let manifests: Vec<Value> = [agent(), chain("below", 1)].into_iter().chain(above.iter().cloned()).collect();
    fleet.apply_all(&manifests).await.unwrap();
    fleet
}

/// The run that the only step of a run began.
async fn begun(fleet: &Fleet, run: &str) -> String {
    eventually("a run below", || async {
        let view = fleet.get(run).await;
        let below = view.steps[0].run_id.clone();
        let there = fleet.list().await.iter().any(|it| it.run_id == below);
        there.then_some(below)
    })
    .await
}

fn steer(run: &str) -> SteerRequest {
    SteerRequest { run_id: run.to_owned(), ..SteerRequest::default() }
}

fn output(run: &RunView) -> Value {
    serde_json::from_slice(&run.output).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_gives_what_the_run_that_it_began_gives() {
    let step = json!({ "id": "sub", "workflow": "below@^1", "with": { "value": "${input.value + 1}" } });
    let fleet = fleet(&[above("above", step)]).await;
    let run = fleet.execute("above", json!({ "value": 6 })).await;
    assert_eq!((run.status(), output(&run)), (RunStatus::Completed, json!({ "value": 7 })), "{run:?}");
    let below = fleet.get(&run.steps[0].run_id).await;
    assert_eq!((below.status(), below.workflow.as_str()), (RunStatus::Completed, "below@1.0.0"));
    assert_eq!((&below.labels["parent"], &below.labels["root"]), (&run.run_id, &run.run_id));
    assert_eq!(below.submitted_by, run.submitted_by);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_not_waited_for_goes_its_own_way() {
    let step = json!({ "id": "sub", "workflow": "below", "detach": true, "with": { "sleep_ms": 300 } });
    let fleet = fleet(&[above("above", step)]).await;
    let run = fleet.execute("above", json!({})).await;
    let below = run.steps[0].run_id.clone();
    assert_eq!((run.status(), output(&run)), (RunStatus::Completed, json!({ "run_id": below })), "{run:?}");
    assert_eq!(fleet.until_ended(&below).await.status(), RunStatus::Completed);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_ends_a_run_ends_those_that_it_waits_for() {
    let step = json!({ "id": "sub", "workflow": "below", "with": { "sleep_ms": 60_000 } });
    let middle = above("middle", json!({ "id": "sub", "workflow": "above", "with": {} }));
    let fleet = fleet(&[above("above", step), middle]).await;
    for terminate in [false, true] {
        let run = fleet.submit_input("middle", json!({})).await;
        let above = begun(&fleet, &run).await;
        let below = begun(&fleet, &above).await;
        let (status, steered) = match terminate {
            true => (RunStatus::Terminated, fleet.runs().terminate(steer(&run)).await),
            false => (RunStatus::Canceled, fleet.runs().cancel(steer(&run)).await),
        };
        steered.unwrap();
        for id in [&run, &above, &below] {
            assert_eq!(fleet.until_ended(id).await.status(), status);
        }
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_ended_is_begun_again_only_if_somebody_says_so() {
    let step = json!({ "id": "sub", "workflow": "below", "with": { "sleep_ms": "${input.sleep_ms}" } });
    let fleet = fleet(&[above("above", step)]).await;
    let run = fleet.submit_input("above", json!({ "sleep_ms": 500 })).await;
    let first = begun(&fleet, &run).await;
    fleet.runs().cancel(steer(&first)).await.unwrap();
    let stalled = eventually("a stall", || async {
        let view = fleet.get(&run).await;
        (view.status() == RunStatus::Stalled).then_some(view)
    })
    .await;
    assert_eq!(stalled.steps[0].failure.as_ref().unwrap().code, "K0319", "{stalled:?}");
    let retry = kapelle_proto::v1::RetryRunRequest { run_id: run.clone(), ..Default::default() };
    fleet.runs().retry(retry).await.unwrap();
    let ended = fleet.until_ended(&run).await;
    assert_eq!((ended.status(), ended.steps[0].attempts), (RunStatus::Completed, 2), "{ended:?}");
    assert_ne!(ended.steps[0].run_id, first);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_members_are_two_hundred_runs() {
    let step =
        json!({ "id": "each", "foreach": "${input.items}", "workflow": "below", "with": { "value": "${item}" } });
    let fleet = fleet(&[above("above", step)]).await;
    let items: Vec<u32> = (0..200).collect();
    let run = fleet.execute("above", json!({ "items": items })).await;
    let values: Vec<Value> = items.iter().map(|n| json!({ "value": n })).collect();
    assert_eq!((run.status(), output(&run)), (RunStatus::Completed, json!(values)), "{run:?}");
    let request = kapelle_proto::v1::ListRunsRequest { workflow: "below".into(), limit: 1_000, ..Default::default() };
    let below = fleet.runs().list(request).await.unwrap().into_inner().runs;
    assert_eq!(below.iter().map(|it| &it.run_id).collect::<BTreeSet<_>>().len(), 200);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_may_run_itself_to_a_certain_depth() {
    let step = json!({
        "id": "next", "workflow": "countdown", "when": "${input.n > 0}", "with": { "n": "${input.n - 1}" },
    });
    let mut always = above("always", step.clone());
    always["spec"]["steps"][0]["workflow"] = json!("always");
    always["spec"]["steps"][0].as_object_mut().unwrap().remove("when");
    let countdown = workflow("countdown", json!({ "steps": [step], "output": "${input.n}" }));
    let fleet = fleet(&[countdown]).await;
    let refused = fleet.apply_all(&[always]).await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0130", "{refused:?}");
    let run = fleet.execute("countdown", json!({ "n": 8 })).await;
    assert_eq!(run.status(), RunStatus::Completed, "{run:?}");

    let top = fleet.submit_input("countdown", json!({ "n": 9 })).await;
    let stalled = eventually("a stall", || async {
        let stalled = fleet.list().await.into_iter().find(|it| it.status() == RunStatus::Stalled)?;
        Some(fleet.get(&stalled.run_id).await)
    })
    .await;
    assert_eq!(stalled.error.as_ref().unwrap().code, "K0318", "{stalled:?}");
    assert_eq!(stalled.labels["root"], top);
    fleet.runs().cancel(steer(&top)).await.unwrap();
    assert_eq!(fleet.until_ended(&stalled.run_id).await.status(), RunStatus::Canceled);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_never_fit_is_refused_and_so_is_what_is_not_there() {
    let fleet = fleet(&[]).await;
    let strict = workflow(
        "strict",
        json!({
            "input": { "schema": { "type": "object", "required": ["n"], "properties": { "n": { "type": "integer" } } } },
            "steps": [{ "id": "a", "value": "${input.n}" }],
        }),
    );
    fleet.apply_all(&[strict]).await.unwrap();
    for (step, code) in [
        (json!({ "id": "sub", "workflow": "strict", "with": { "m": 1 } }), "K0113"),
        (json!({ "id": "sub", "workflow": "strict@^2", "with": { "n": 1 } }), "K0201"),
        (json!({ "id": "sub", "workflow": "nobody", "with": { "n": 1 } }), "K0201"),
    ] {
        let refused = fleet.apply_all(&[above("above", step)]).await.unwrap_err();
        assert_eq!(fleet.code(&refused), code, "{refused:?}");
    }
    let step = json!({ "id": "sub", "workflow": "strict", "with": { "n": "${input.n}" } });
    fleet.apply_all(&[above("above", step)]).await.unwrap();
    let run = fleet.execute("above", json!({ "n": "one" })).await;
    assert_eq!((run.status(), run.error.as_ref().unwrap().code.as_str()), (RunStatus::Stalled, "K0309"), "{run:?}");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_ends_a_run_ends_the_one_that_goes_on_below_it() {
    let endless = workflow(
        "endless",
        json!({
            "steps": [{ "id": "n", "value": "${input.n}" }, { "id": "rest", "needs": ["n"], "wait": "${input.n > 3 ? 3600 : 0}" }],
            "continue": { "when": "${input.n < 9}", "with": { "n": "${input.n + 1}" } },
            "output": "${steps.n.output}",
        }),
    );
    let step = json!({ "id": "sub", "workflow": "endless", "with": { "n": 1 } });
    let fleet = fleet(&[endless, above("above", step)]).await;
    let run = fleet.submit_input("above", json!({})).await;
    let mut open = begun(&fleet, &run).await;
    for _ in 1..4 {
        let view = fleet.until_ended(&open).await;
        assert_eq!((view.status(), &view.labels["parent"]), (RunStatus::Completed, &run), "{view:?}");
        let next = fleet.get(&view.continued_as).await;
        assert_eq!(next.continued_from, open);
        open = next.run_id;
    }
    eventually("it waits", || async { (fleet.get(&open).await.status() == RunStatus::Waiting).then_some(()) }).await;
    assert_eq!(fleet.get(&run).await.status(), RunStatus::Running);
    fleet.runs().cancel(steer(&run)).await.unwrap();
    assert_eq!(fleet.until_ended(&open).await.status(), RunStatus::Canceled);
    assert_eq!(fleet.until_ended(&run).await.status(), RunStatus::Canceled);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_go_on_waits_for_somebody() {
    let mistaken = workflow(
        "mistaken",
        json!({
            "input": { "schema": { "type": "object", "properties": { "n": { "type": "integer" } } } },
            "steps": [{ "id": "n", "value": "${input.n}" }],
            "continue": { "when": "${true}", "with": { "n": "many" } },
        }),
    );
    let fleet = fleet(&[mistaken]).await;
    let run = fleet.execute("mistaken", json!({ "n": 1 })).await;
    assert_eq!((run.status(), run.error.as_ref().unwrap().code.as_str()), (RunStatus::Stalled, "K0309"), "{run:?}");
    assert_eq!(run.continued_as, "");
    fleet.stop().await;
}
