//! The whole way of a job inside one process, against a real nats-server.

use std::time::Duration;

use crate::fleet::{Fleet, chain, eventually, fan_out};
use futures::StreamExt;
use kapelle_broker::testing::TestServer;
use kapelle_bus::keys::Keys;
use kapelle_bus::{Bus, Refusal};
use kapelle_coordinator::partition::effect::Loaded;
use kapelle_coordinator::partition::load::load_whole;
use kapelle_coordinator::plans::PlanStore;
use kapelle_engine::Channel;
use kapelle_proto::v1::run_service_client::RunServiceClient;
use kapelle_proto::v1::{RunStatus, SteerRequest, SubmitRequest};
use kapelle_types::RunId;
use serde_json::json;

const RUN: &str = "0192f3c4-5a6b-7c8d-9e0f-112233445566";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_hands_on_what_it_gets() {
    let fleet = Fleet::start().await;
    fleet.register(chain("chain", 3)).await;
    let run = fleet.execute("chain", json!({ "value": 7 })).await;
    assert_eq!(run.status(), RunStatus::Completed, "{run:?}");
    assert_eq!(run.output, r#"{"value":7}"#);
    assert_eq!(run.steps.iter().map(|s| s.status.as_str()).collect::<Vec<_>>(), ["SUCCEEDED"; 3]);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_names_a_capability_is_done_by_whoever_declares_it() {
    let fleet = Fleet::start().await;
    let mut workflow = chain("chain", 1);
    let step = workflow["spec"]["steps"][0].as_object_mut().unwrap();
    step.remove("agent");
    step.insert("capability".into(), json!("test.echo"));
    fleet.register(workflow.clone()).await;
    let run = fleet.execute("chain", json!({ "value": 7 })).await;
    assert_eq!((run.status(), run.steps[0].agent.as_str()), (RunStatus::Completed, "echo@1.0.0"), "{run:?}");

    workflow["metadata"]["version"] = json!("2.0.0");
    workflow["spec"]["steps"][0]["capability"] = json!("test.ecco");
    let refused = fleet.apply(workflow).await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0108");
    assert!(refused.message().contains("no agent declares the capability `test.ecco`"), "{refused:?}");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fan_out_keeps_the_order_of_its_items() {
    let fleet = Fleet::start().await;
    fleet.register(fan_out("each", 8)).await;
    let items: Vec<_> = (0..200).map(|n| json!({ "value": n })).collect();
    let run = fleet.execute("each", json!({ "items": items })).await;
    assert_eq!(run.status(), RunStatus::Completed, "{run:?}");
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&run.output).unwrap(), json!(items));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_attempt_is_tried_again_and_a_hopeless_step_stalls_until_it_is_retried() {
    let fleet = Fleet::start().await;
    fleet.register(chain("chain", 1)).await;
    let run = fleet.execute("chain", json!({ "fail_attempts": 1 })).await;
    assert_eq!((run.status(), run.steps[0].attempts), (RunStatus::Completed, 2), "{run:?}");

    let stalled = fleet.execute("chain", json!({ "fail_attempts": 3 })).await;
    assert_eq!(stalled.status(), RunStatus::Stalled, "{stalled:?}");
    assert_eq!(stalled.error.as_ref().unwrap().code, "K0301");
    let letters = eventually("a dead letter", || async {
        let letters = fleet.dead_letters().await;
        (!letters.is_empty()).then_some(letters)
    })
    .await;
    assert_eq!((letters.len(), letters[0].attempt), (1, 3));
    let cause = letters[0].cause.as_ref().unwrap();
    assert_eq!(cause.code, "scripted");

    fleet.replay_all().await;
    let run = fleet.until_ended(&stalled.run_id).await;
    assert_eq!((run.status(), run.steps[0].attempts), (RunStatus::Completed, 4), "{run:?}");
    eventually("no dead letter", || async { fleet.dead_letters().await.is_empty().then_some(()) }).await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_key_is_one_run() {
    let fleet = Fleet::start().await;
    fleet.register(chain("chain", 1)).await;
    let submit = |input: serde_json::Value| SubmitRequest {
        workflow: "chain".into(),
        input: input.to_string().into(),
        idempotency_key: Some("the-key".into()),
        ..SubmitRequest::default()
    };
    let all = (0..100).map(|_| fleet.submit(submit(json!({ "value": 1 }))));
    let answers = futures::future::join_all(all).await;
    let ids: std::collections::BTreeSet<_> = answers.iter().map(|a| a.as_ref().unwrap().run_id.clone()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(answers.iter().filter(|a| !a.as_ref().unwrap().existed).count(), 1);
    let other = fleet.submit(submit(json!({ "value": 2 }))).await.unwrap_err();
    assert_eq!(fleet.code(&other), "K0208");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_payload_goes_by_reference_and_one_too_large_is_refused() {
    let fleet = Fleet::start().await;
    fleet.register(chain("chain", 2)).await;
    let large = json!({ "value": "x".repeat(300_000) });
    let run = fleet.execute("chain", large.clone()).await;
    assert_eq!(run.status(), RunStatus::Completed, "{:?}", run.error);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&run.output).unwrap(), large);
    let huge = SubmitRequest {
        workflow: "chain".into(),
        input: json!({ "value": "x".repeat(16 * 1024 * 1024 + 1) }).to_string().into(),
        ..SubmitRequest::default()
    };
    let refused = fleet.submit(huge).await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0203");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_paused_resumed_cancelled_and_listed() {
    let fleet = Fleet::start().await;
    fleet.register(chain("chain", 3)).await;
    let submitted = fleet.submit_input("chain", json!({ "sleep_ms": 300 })).await;
    let steer = |run: &str| SteerRequest { run_id: run.to_owned(), reason: "a test".into() };
    fleet.runs().pause(steer(&submitted)).await.unwrap();
    eventually("PAUSED with nothing running", || async {
        let run = fleet.get(&submitted).await;
        (run.status() == RunStatus::Paused && run.steps.iter().all(|s| s.status != "RUNNING")).then_some(())
    })
    .await;
    fleet.runs().resume(steer(&submitted)).await.unwrap();
    assert_eq!(fleet.until_ended(&submitted).await.status(), RunStatus::Completed);

    let cancelled = fleet.submit_input("chain", json!({ "sleep_ms": 60_000 })).await;
    fleet.runs().cancel(steer(&cancelled)).await.unwrap();
    assert_eq!(fleet.until_ended(&cancelled).await.status(), RunStatus::Canceled);
    let refused = fleet.runs().cancel(steer(&cancelled)).await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0206");
    let listed = eventually("both in the listing", || async {
        let runs = fleet.list().await;
        (runs.len() == 2).then_some(runs)
    })
    .await;
    assert_eq!(listed[0].run_id, cancelled);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_published_straight_to_the_broker_become_runs() {
    let fleet = Fleet::start().await;
    fleet.register(chain("chain", 1)).await;
    let mut events = fleet.events("submission.>").await;
    fleet.publish("kapelle.submit.chain", br#"{"value":1}"#).await;
    fleet.publish("kapelle.submit.chain", b"{not json").await;
    fleet.publish("kapelle.submit.nothing", b"{}").await;
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let event = tokio::time::timeout(Duration::from_secs(20), futures::StreamExt::next(&mut events)).await;
        let event: serde_json::Value = serde_json::from_slice(&event.unwrap().unwrap().payload).unwrap();
        kinds.push((event["type"].as_str().unwrap().to_owned(), event["data"]["code"].as_str().map(str::to_owned)));
    }
    kinds.sort();
    let refused = |code: &str| ("dev.kapelle.submission.refused".to_owned(), Some(code.to_owned()));
    let accepted = ("dev.kapelle.submission.accepted".to_owned(), None);
    assert_eq!(kinds, [accepted, refused("K0201"), refused("K0204")]);
    eventually("the run's end", || async {
        let runs = fleet.list().await;
        (runs.len() == 1 && runs[0].status() == RunStatus::Completed).then_some(())
    })
    .await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_every_subject_blocks_nothing() {
    let fleet = Fleet::start().await;
    fleet.register(chain("chain", 2)).await;
    let run = "0192f3c4-5a6b-7c8d-9e0f-112233445566";
    for partition in 0..4 {
        for channel in ["control", "report", "nonsense"] {
            for run in [run, "not-a-run"] {
                fleet.publish(&format!("kapelle.run.{partition}.{run}.{channel}"), b"\xff\x00garbage").await;
            }
        }
        fleet.publish(&format!("kapelle.timer.{partition}.{run}.nonsense"), b"garbage").await;
    }
    fleet.publish("kapelle.task.echo.1_0_0.nonsense", b"garbage").await;
    fleet.publish(&format!("kapelle.task.echo.1_0_0.{run}.s0.1"), b"garbage").await;
    fleet.publish(&format!("kapelle.dead.echo.1_0_0.{run}.s0"), b"garbage").await;
    fleet.publish_core("kapelle.coordinator.alive", b"garbage").await;
    let ended = fleet.execute("chain", json!({ "value": 1 })).await;
    assert_eq!(ended.status(), RunStatus::Completed);
    assert!(fleet.dead_letters().await.is_empty());
    fleet.stop().await;
}

/// A broker that is provisioned, without anybody who serves it.
async fn provisioned() -> (TestServer, Bus) {
    let server = TestServer::start().await;
    let connection = crate::fleet::connect(&server.url()).await;
    let layout = kapelle_coordinator::Config::default().layout;
    kapelle_bus::provision::provision(connection.jetstream(), &layout).await.unwrap();
    (server, Bus::open(connection).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removing_garbage_keeps_what_came_behind_it() {
    let (_server, bus) = provisioned().await;
    let run = RUN.parse().unwrap();
    let report = bus.append_now(run, Channel::Report, "garbage".into()).await.unwrap();
    let submission = bus.append_now(run, Channel::Control, "a submission".into()).await.unwrap();
    bus.purge_run(run, report).await.unwrap();
    let left: Vec<u64> = bus.read_run(run, 1).await.unwrap().iter().map(|r| r.stamp.seq).collect();
    assert_eq!(left, [submission]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_has_all_that_the_leader_has_and_does_not_wait_for_what_was_removed() {
    let (_server, bus) = provisioned().await;
    Keys::open(&bus).await.unwrap().ensure().await.unwrap();
    let plans = PlanStore::open(&bus).await.unwrap();
    let run = RUN.parse().unwrap();
    assert_eq!(bus.last_seq(run).await.unwrap(), 0);
    bus.append_now(run, Channel::Control, "garbage".into()).await.unwrap();
    let last = bus.append_now(run, Channel::Report, "garbage".into()).await.unwrap();
    for at_least in [0, 1, last] {
        let (_, seen) = load_whole(&bus, &plans, run, at_least).await.unwrap();
        assert_eq!(seen, last);
    }
    let removed = bus.append_now(run, Channel::Control, "garbage".into()).await.unwrap();
    bus.purge_run(run, removed).await.unwrap();
    let (loaded, seen) = load_whole(&bus, &plans, run, removed).await.unwrap();
    assert!(matches!((loaded, seen), (Loaded::NotARun, 0)));
}

/// What a client sends again because the acknowledgement was lost must not stand in the log twice, key or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_entry_is_written_once() {
    let (_server, bus) = provisioned().await;
    let run = RUN.parse().unwrap();
    let first = bus.append_first(run, "a submission".into()).await.unwrap().await.unwrap();
    let again = bus.append_first(run, "a submission".into()).await.unwrap().await.unwrap_err();
    assert_eq!(again.refusal(), Some(Refusal::NotFirst));
    assert_eq!(bus.last_seq(run).await.unwrap(), first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_read_to_its_end_through_any_amount_of_garbage() {
    let (_server, bus) = provisioned().await;
    let run: RunId = RUN.parse().unwrap();
    let nonsense = format!("kapelle.run.{}.{run}.nonsense", bus.partitions().of(&run));
    let first = bus.append_now(run, Channel::Control, "garbage".into()).await.unwrap();
    // More than one read brings.
    for _ in 0..1_100 {
        bus.client().publish(nonsense.clone(), "garbage".into()).await.unwrap();
    }
    let last = bus.append_now(run, Channel::Report, "garbage".into()).await.unwrap();
    assert_eq!(last, first + 1_101);
    let read: Vec<u64> = bus.read_run(run, 1).await.unwrap().iter().map(|r| r.stamp.seq).collect();
    assert_eq!(read, [first, last]);
}

/// The sign for those who wait at another coordinator names the entry that ended the run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_elsewhere_is_told_when_a_run_settles() {
    let fleet = Fleet::start().await;
    fleet.register(chain("chain", 2)).await;
    let bus = fleet.bus().await;
    let run = RunId::keyed("default", &"chain".parse().unwrap(), "told");
    let mut signs = Box::pin(bus.settled(run).await.unwrap());
    let request = SubmitRequest {
        workflow: "chain".into(),
        input: "{}".into(),
        idempotency_key: Some("told".into()),
        ..SubmitRequest::default()
    };
    assert_eq!(fleet.submit(request).await.unwrap().run_id, run.to_string());
    let sign = tokio::time::timeout(Duration::from_secs(30), signs.next()).await.expect("a sign comes").unwrap();
    let log = bus.read_run(run, 1).await.unwrap();
    // Submitted, one report a step, and the mark: the second report decides.
    assert_eq!(sign, log[2].stamp.seq);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_coordinator_registered_is_known_to_the_next_that_is_asked() {
    let fleet = Fleet::start().await;
    let second = fleet.second().await;
    let endpoint = format!("http://{}", second.grpc_address());
    let asked = RunServiceClient::connect(endpoint).await.unwrap();
    for n in 0..50 {
        let name = format!("new-{n}");
        fleet.register(chain(&name, 1)).await;
        asked
            .clone()
            .submit(SubmitRequest {
                workflow: name,
                input: json!({ "value": n }).to_string().into(),
                ..Default::default()
            })
            .await
            .unwrap();
    }
    let refused =
        asked.clone().submit(SubmitRequest { workflow: "never".into(), ..Default::default() }).await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0201");
    second.stop().await;
    fleet.stop().await;
}
