//! What a worker that means harm can do with its credentials: ask for answers to be sent into a run's log, and the like. And
//! what two namespaces see of each other.

use std::time::Duration;

use async_nats::{Client, HeaderMap};
use kapelle_bus::Bus;
use kapelle_bus::layout::{Layout, TaskStorage};
use kapelle_bus::provision::{ensure_queue, provision};
use kapelle_bus::tasks::QueueLimits;
use kapelle_coordinator::{Config, Coordinator, Handle};
use kapelle_proto::v1::RunStatus;
use kapelle_tests::harness::manifests::{chain, scripted_agent};
use kapelle_tests::harness::{Api, Process, eventually, job, register, scripted_worker, token};
use kapelle_types::{Partition, Partitions, Role};
use serde_json::json;

use crate::accounts::Accounts;

/// A run's log that nobody but a coordinator writes.
const CONTROL: &str = "kapelle.run.3.0192f3c4-5a6b-7c8d-9e0f-112233445566.control";
const REPORT: &str = "kapelle.run.3.0192f3c4-5a6b-7c8d-9e0f-112233445566.report";

/// Everything that a broker answers may be sent anywhere in the account of whoever asks; from the edge, no run's log is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_finds_its_way_into_a_log() {
    let accounts = Accounts::start(true).await;
    let mut record = accounts.namespace("default").await;
    for (user, role) in [("c1", Role::Coordinator), ("w1", Role::Worker), ("erp", Role::Publisher)] {
        accounts.issue(&mut record, role, user);
    }
    let coordinator = accounts.broker.connect("c1").await;
    let layout = Layout { partitions: Partitions::new(4).unwrap(), replicas: 1, tasks: TaskStorage::AsyncFile };
    provision(coordinator.jetstream(), &layout).await.unwrap();
    ensure_queue(coordinator.jetstream(), &"scripted@1.0.0".parse().unwrap(), QueueLimits::of(4)).await.unwrap();
    let bus = Bus::open(coordinator.clone()).await.unwrap();
    let task = "kapelle.task.scripted.1_0_0.0192f3c4-5a6b-7c8d-9e0f-112233445566.a.1";
    coordinator.jetstream().publish(task, "a task".into()).await.unwrap().await.unwrap();

    let worker = accounts.broker.client("w1").await;
    // An honest worker's payload, and what it would have in it: an answer proves that it is there to be read.
    ask(&worker, "$O.payloads.C.x", "a forged entry").await.unwrap();
    let read = ask(&worker, "$JS.API.DIRECT.GET.OBJ_payloads.$O.payloads.C.x", "").await.unwrap();
    assert_eq!(read, "a forged entry");
    ask(&worker, REPORT, "a report").await.unwrap();
    let pull = r#"{"batch":1,"expires":1000000000}"#;
    for (subject, body) in [
        ("$JS.API.DIRECT.GET.OBJ_payloads.$O.payloads.C.x", ""),
        ("$JS.API.DIRECT.GET.OBJ_payloads", r#"{"seq":1,"next_by_subj":"$O.payloads.C.x","batch":1}"#),
        ("$JS.API.CONSUMER.MSG.NEXT.TASKS.scripted-1_0_0", pull),
        ("$JS.API.STREAM.INFO.OBJ_payloads", ""),
        (REPORT, "another report"),
    ] {
        worker.publish_with_reply(subject, CONTROL, body.into()).await.unwrap();
    }
    let publisher = accounts.broker.client("erp").await;
    publisher.publish_with_reply("kapelle.submit.x", CONTROL, "{}".into()).await.unwrap();
    ask(&publisher, "kapelle.submit.y", "{}").await.unwrap();
    // Headers are the publisher's: what they could do to the entries of others, the streams refuse.
    let due = ("Nats-Schedule", "@at 2026-01-01T00:00:00Z");
    for (subject, headers) in [
        (REPORT, vec![("Nats-Rollup", "all")]),
        (REPORT, vec![("Nats-Rollup", "sub")]),
        (REPORT, vec![due, ("Nats-Schedule-Target", CONTROL)]),
        (REPORT, vec![("Nats-Schedule-Next", "purge"), ("Nats-Scheduler", CONTROL)]),
        (REPORT, vec![("Nats-TTL", "1s")]),
        ("$O.payloads.C.y", vec![("Nats-Rollup", "all")]),
        ("$O.payloads.M.y", vec![("Nats-Rollup", "sub")]),
    ] {
        let mut told = HeaderMap::new();
        headers.iter().for_each(|(name, value)| told.insert(*name, *value));
        let answer = worker.request_with_headers(subject, told, "harm".into()).await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
        assert!(answer["error"]["err_code"].is_u64(), "{subject} {headers:?}: {answer}");
    }
    // What is asked last is answered last: all before it has been carried out.
    ask(&worker, REPORT, "the last report").await.unwrap();
    let log = eventually("the reports", || async {
        let state = bus.stream_state("RUNS_3").await.ok()?;
        (state.messages >= 3).then_some(state)
    })
    .await;
    assert_eq!(log.messages, 3, "three reports, and nothing else");
    assert!(bus.last_controls(Partition(3)).await.unwrap().is_empty());
    assert_eq!(accounts.broker.violations(), Vec::<String>::new(), "the worker asked for nothing that it may not");
}

/// Asks and gives the answer as text.
async fn ask(client: &Client, subject: &'static str, body: &'static str) -> Option<String> {
    let answer = tokio::time::timeout(Duration::from_secs(10), client.request(subject, body.into())).await.ok()?;
    Some(String::from_utf8_lossy(&answer.ok()?.payload).into_owned())
}

/// Two namespaces at one broker, each with a coordinator and a worker.
struct Tenant {
    api: Api,
    coordinator: Handle,
    worker: Process,
}

async fn tenant(accounts: &Accounts, name: &str) -> (kapelle_accounts::Record, Tenant) {
    let mut record = accounts.namespace(name).await;
    let (c, w) = (format!("{name}-c"), format!("{name}-w"));
    accounts.issue(&mut record, Role::Coordinator, &c);
    accounts.issue(&mut record, Role::Worker, &w);
    let api = Api::default();
    let grpc_address = "127.0.0.1:0".parse().unwrap();
    let layout = Layout { partitions: Partitions::new(4).unwrap(), ..Config::default().layout };
    let config = Config { id: c.clone(), grpc_address, layout, ..Config::default() };
    let coordinator = Coordinator::start(config, accounts.broker.connect(&c).await).await.unwrap();
    api.add(&coordinator.grpc_address().to_string());
    let bus = Bus::open(accounts.broker.connect(&c).await).await.unwrap();
    api.show(&token(&bus, &[Role::Admin], true).await);
    register(&api, &[scripted_agent(16), chain("two-steps", 2)]).await;
    let mut command = std::process::Command::new(scripted_worker());
    command.args([&accounts.broker.url(&w), "4", "127.0.0.1:0"]).args(accounts.broker.credentials(&w));
    let mut worker = Process::start(accounts.broker.folder(), &w, &mut command);
    worker.ready().await;
    (record, Tenant { api, coordinator, worker })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_see_nothing_of_each_other() {
    let accounts = Accounts::start(true).await;
    let (mut legal, mut ours) = tenant(&accounts, "legal").await;
    let (_, theirs) = tenant(&accounts, "sales").await;
    // The same key, workflow and agent: each namespace has its own run of its own.
    for (n, tenant) in [(1, &ours), (2, &theirs)] {
        let run =
            tenant.api.submit_surely(&job("two-steps", Some("same-key"), &json!({ "value": n * 10 }))).await.run_id;
        let view = tenant.api.settled(&run).await;
        assert_eq!(view.status(), RunStatus::Completed, "{view:?}");
        let output: serde_json::Value = serde_json::from_slice(&view.output).unwrap();
        assert_eq!(output["value"], n * 10 + 2);
        let runs =
            tenant.api.runs().list(kapelle_proto::v1::ListRunsRequest::default()).await.unwrap().into_inner().runs;
        assert_eq!(runs.len(), 1);
        let workers = tenant.api.fleet().list_workers(kapelle_proto::v1::ListWorkersRequest {}).await.unwrap();
        assert_eq!(workers.into_inner().workers.len(), 1);
    }
    // One is over its quota: it refuses, the other works on.
    legal.quotas.storage_bytes = 1 << 20;
    accounts.push(&legal).await;
    let refused = eventually("a refusal", || async {
        let submitted =
            ours.api.submit(job("two-steps", None, &json!({ "value": 1, "text": "x".repeat(60_000) }))).await;
        submitted.err().filter(|status| status.message().contains("K0207") || format!("{status:?}").contains("K0207"))
    })
    .await;
    println!("{refused:?}");
    let run = theirs.api.submit_surely(&job("two-steps", Some("later"), &json!({ "value": 1 }))).await.run_id;
    assert_eq!(theirs.api.settled(&run).await.status(), RunStatus::Completed);
    assert_eq!(accounts.broker.violations(), Vec::<String>::new());
    ours.worker.ask_to_end();
    ours.coordinator.stop().await;
    theirs.coordinator.stop().await;
}
