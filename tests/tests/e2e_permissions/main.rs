//! The permissions that follow from the policies, at a real broker: it lets through exactly what the policies allow, and a
//! coordinator, a worker, a publisher and an operator who have them and nothing else miss nothing.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test: it fails by panics and prints its figures")]

mod accounts;
mod broker;
mod credentials;
mod hostile;
mod tls;
mod walls;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use accounts::Accounts;
use broker::{Broker, WORKER, allowed, anothers, filled, place, subjects, violated};
use futures::StreamExt;
use kapelle_bus::Bus;
use kapelle_bus::provision::differences;
use kapelle_coordinator::{Config, Coordinator};
use kapelle_policy::{CLASSES, Permissions, Policies};
use kapelle_proto::v1;
use kapelle_proto::v1::RunStatus;
use kapelle_tests::harness::manifests::{SCRIPTED, chain, scripted_agent};
use kapelle_tests::harness::{Api, Process, eventually, job, register, scripted_worker, token};
use kapelle_types::Role;
use serde_json::{Value, json};

/// Who takes part in everything at once.
const PARTS: [(&str, Role); 6] = [
    ("c1", Role::Coordinator),
    ("c2", Role::Coordinator),
    (WORKER, Role::Worker),
    ("erp", Role::Publisher),
    ("ada", Role::Operator),
    ("vera", Role::Viewer),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_part_needs_more_than_its_permissions() {
    let users = PARTS.map(|(user, role)| (user, allowed(role, user)));
    play(Broker::start(&users, true).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_part_needs_more_than_its_credentials() {
    let accounts = Accounts::start(true).await;
    let mut record = accounts.namespace("default").await;
    for (user, role) in PARTS {
        accounts.issue(&mut record, role, user);
    }
    play(accounts.broker).await;
}

/// Everything at once that Kapelle does at a broker, each part with its own permissions: the broker refuses nothing.
async fn play(broker: Broker) {
    let api = Api::default();
    let mut coordinators = Vec::new();
    for id in ["c1", "c2"] {
        let grpc_address = "127.0.0.1:0".parse().unwrap();
        let config = Config { id: id.to_owned(), grpc_address, ..Config::default() };
        let coordinator = Coordinator::start(config, broker.connect(id).await).await.unwrap();
        api.add(&coordinator.grpc_address().to_string());
        coordinators.push(coordinator);
    }
    let bus = Bus::open(broker.connect("c1").await).await.unwrap();
    api.show(&token(&bus, &[Role::Admin], true).await);
    register(&api, &[scripted_agent(16), chain("two-steps", 2)]).await;
    let mut command = std::process::Command::new(scripted_worker());
    command.args([&broker.url(WORKER), "4", "127.0.0.1:0"]).args(broker.credentials(WORKER));
    let mut worker = Process::start(broker.folder(), "worker", &mut command);
    worker.ready().await;

    play_runs(&api).await;
    play_dead_letters(&api).await;
    play_direct(&broker).await;
    play_administration(&api).await;
    let coordinators_seen = api.fleet().list_coordinators(v1::ListCoordinatorsRequest {}).await.unwrap().into_inner();
    assert_eq!(coordinators_seen.coordinators.len(), 2);
    let workers = api.fleet().list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().workers;
    assert_eq!(workers.len(), 1);
    api.fleet().list_queues(v1::ListQueuesRequest {}).await.unwrap();
    for _ in 0..2 {
        let runs = api.runs().list(v1::ListRunsRequest::default()).await.unwrap().into_inner().runs;
        assert!(runs.len() >= 4, "each coordinator asks the other for its runs: {}", runs.len());
        let agent = v1::PinnedRequest { agent: SCRIPTED.into(), ..v1::PinnedRequest::default() };
        api.runs().pinned(agent).await.unwrap();
    }
    let operator = broker.connect("ada").await;
    let layout = Config::default().layout;
    assert_eq!(differences(operator.jetstream(), &layout).await.unwrap(), Vec::<String>::new());
    operator.jetstream().query_account().await.unwrap();
    kapelle_bus::provision::read_record(operator.jetstream()).await.unwrap();

    worker.ask_to_end();
    assert!(worker.end(Duration::from_secs(30)).await.success(), "{}", worker.stderr());
    for coordinator in coordinators {
        coordinator.stop().await;
    }
    assert_eq!(broker.violations(), Vec::<String>::new());
}

/// Steps that succeed, retry, wait and are withdrawn; payloads inside and beside messages.
async fn play_runs(api: &Api) {
    let large = json!({ "value": 1, "text": "x".repeat(300_000) });
    for (key, input) in
        [("plain", json!({ "value": 1 })), ("retried", json!({ "value": 1, "fail_attempts": 2 })), ("large", large)]
    {
        let run = api.submit_surely(&job("two-steps", Some(key), &input)).await.run_id;
        let view = api.settled(&run).await;
        assert_eq!(view.status(), RunStatus::Completed, "{key}: {view:?}");
        let output: Value = serde_json::from_slice(&view.output).unwrap();
        assert_eq!(output["value"], 3, "{key}");
        assert!(!api.history(&run).await.is_empty());
    }
    let slow = json!({ "value": 1, "sleep_ms": 60_000 });
    let run = api.submit_surely(&job("two-steps", Some("slow"), &slow)).await.run_id;
    eventually("the worker has the task", || async {
        let queues = api.fleet().list_queues(v1::ListQueuesRequest {}).await.ok()?.into_inner().queues;
        queues.iter().any(|queue| queue.in_flight > 0).then_some(())
    })
    .await;
    let words = v1::WatchTextRequest { run_id: run.clone(), ..v1::WatchTextRequest::default() };
    let mut words = api.runs().watch_text(words).await.unwrap().into_inner();
    api.runs().cancel(v1::SteerRequest { run_id: run.clone(), ..v1::SteerRequest::default() }).await.unwrap();
    assert_eq!(words.message().await.unwrap(), None);
    assert_eq!(api.settled(&run).await.status(), RunStatus::Canceled);
}

async fn play_dead_letters(api: &Api) {
    let hopeless = json!({ "value": 1, "fail_attempts": 99 });
    let run = api.submit_surely(&job("two-steps", Some("hopeless"), &hopeless)).await.run_id;
    assert_eq!(api.settled(&run).await.status(), RunStatus::Stalled);
    let there = || async {
        let letters =
            api.dead_letters().list(v1::ListDeadLettersRequest::default()).await.ok()?.into_inner().dead_letters;
        (letters.len() == 1).then_some(())
    };
    eventually("the dead letter", there).await;
    let one = v1::DeadLetterActionRequest {
        filter: Some(v1::DeadLetterFilter { run_id: run.clone(), ..v1::DeadLetterFilter::default() }),
        ..v1::DeadLetterActionRequest::default()
    };
    let discarded = api.dead_letters().discard(one).await.unwrap().into_inner();
    assert!(discarded.errors.is_empty(), "{discarded:?}");
    assert_eq!(api.settled(&run).await.status(), RunStatus::Failed);
}

/// Policies are applied and tokens made, and the trail tells of both.
async fn play_administration(api: &Api) {
    let request = v1::CreateTokenRequest { name: "ci".into(), roles: vec!["viewer".into()], ..Default::default() };
    api.tokens().create(request).await.unwrap();
    assert_eq!(api.tokens().list(v1::ListTokensRequest {}).await.unwrap().into_inner().tokens.len(), 2);
    let embedded = v1::GetPoliciesRequest { version: Some(0) };
    let mut files = api.policies().get(embedded).await.unwrap().into_inner().files;
    files[0].text.push_str("// tried\n");
    let request = v1::ApplyPoliciesRequest { files, why: "a test".into() };
    assert_eq!(api.policies().apply(request).await.unwrap().into_inner().outcome, "applied");
    eventually("every coordinator serves it", || async {
        let history = v1::PolicyHistoryRequest::default();
        let sets = api.policies().history(history).await.ok()?.into_inner().sets;
        (sets.len() == 2).then_some(())
    })
    .await;
    let on_record = api.audit().list(v1::ListAuditRequest::default()).await.unwrap().into_inner().entries;
    let verbs: BTreeSet<_> = on_record.into_iter().filter_map(|entry| Some(entry.record?.verb)).collect();
    assert!(verbs.contains("token-create") && verbs.contains("applied"), "{verbs:?}");
}

/// A job by a plain publish; a viewer hears what becomes of it.
async fn play_direct(broker: &Broker) {
    let viewer = broker.client("vera").await;
    let mut events = viewer.subscribe("kapelle.event.submission.accepted").await.unwrap();
    viewer.flush().await.unwrap();
    let publisher = async_nats::jetstream::new(broker.client("erp").await);
    publisher.publish("kapelle.submit.two-steps", r#"{"value":1}"#.into()).await.unwrap().await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), events.next()).await.unwrap().unwrap();
}

/// Role by role, subject by subject: published or subscribed to at a server that does nothing but judge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_lets_through_what_the_policies_allow() {
    let users: Vec<(&str, Permissions)> = Role::ALL.iter().map(|role| (role.as_str(), allowed(*role, "x1"))).collect();
    let broker = Broker::start(&users, false).await;
    let mut cells = 0;
    for role in Role::ALL {
        cells += judged(&broker, role, role.as_str(), "x1").await;
    }
    println!("{cells} cells");
    assert!(cells > 8 * CLASSES.len());
}

/// The same with credentials and accounts, in which each user's name is its own; and what is another's, whatever holds many
/// subjects at once, and all of that once more in a queue group.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_let_through_what_the_policies_allow() {
    let accounts = Accounts::start(false).await;
    let mut record = accounts.namespace("default").await;
    let mut cells = 0;
    for role in Role::ALL {
        accounts.issue(&mut record, role, role.as_str());
        cells += judged(&accounts.broker, role, role.as_str(), role.as_str()).await;
    }
    println!("{cells} cells");
    assert!(cells > 16 * CLASSES.len());
}

/// Tries every subject as a user of a role, and everything that nobody may; says how many that were.
async fn judged(broker: &Broker, role: Role, user: &str, id: &str) -> usize {
    let policies = Policies::embedded().unwrap();
    let resource = kapelle_policy::Resource::of(place(role, id).namespace);
    let (client, told) = broker.listening_client(user).await;
    let mut cells = 0;
    let mut expected = BTreeSet::new();
    for (class, publish, subject) in CLASSES.iter().flat_map(|class| subjects(class, id)) {
        attempt(&client, publish, &subject).await;
        cells += 1;
        until_judged(&client, &told, &mut expected, role, cells).await;
        if !policies.decide(&broker::caller(role), &class.action(), &resource).allowed() {
            expected.insert((publish, subject.to_lowercase()));
        }
    }
    // Whose queues and agents are another's is a question for workers; coordinators have to do with all of them.
    let told_apart = |pattern: &&&str| role != Role::Coordinator || !(pattern.contains("<queue>"));
    let publish = CLASSES.iter().flat_map(|class| class.publish).filter(told_apart);
    let publish = publish.filter_map(|pattern| Some((true, anothers(pattern)?)));
    let subscribe = CLASSES.iter().flat_map(|class| class.subscribe).filter_map(|p| Some((false, anothers(p)?)));
    let greedy = GREEDY.iter().map(|subject| (false, (*subject).to_owned()));
    for (publish, subject) in publish.chain(subscribe).chain(greedy) {
        attempt(&client, publish, &subject).await;
        cells += 1;
        until_judged(&client, &told, &mut expected, role, cells).await;
        expected.insert((publish, subject.to_lowercase()));
    }
    until_judged(&client, &told, &mut expected, role, 0).await;
    let refused: BTreeSet<_> = told.lock().unwrap().iter().filter_map(|text| violated(text)).collect();
    let but = |a: &BTreeSet<(bool, String)>, b: &BTreeSet<(bool, String)>| a.difference(b).cloned().collect::<Vec<_>>();
    assert_eq!((but(&refused, &expected), but(&expected, &refused)), (vec![], vec![]), "{role}: too much, too little");
    let in_groups = told.lock().unwrap().iter().filter(|text| text.contains("using queue")).count();
    let plain = expected.iter().filter(|(publish, _)| !publish).count();
    assert_eq!(in_groups, plain, "{role}: what is refused is refused in a queue group");
    cells
}

/// Publishes, after every so many cells, what nobody may: its refusal says that all before it has been judged. The client
/// lets refusals go that come faster than it hands them on.
async fn until_judged(
    client: &async_nats::Client,
    told: &Mutex<Vec<String>>,
    expected: &mut BTreeSet<(bool, String)>,
    role: Role,
    cells: usize,
) {
    if !cells.is_multiple_of(16) {
        return;
    }
    let mark = format!("kapelle.nobody-may.{cells}");
    client.publish(mark.clone(), "".into()).await.unwrap();
    eventually(&format!("{role}: the refusal of {mark}"), || async {
        told.lock().unwrap().iter().any(|text| violated(text) == Some((true, mark.clone()))).then_some(())
    })
    .await;
    expected.insert((true, mark));
}

/// Subscriptions that hold more than anybody's.
const GREEDY: [&str; 9] = [
    ">",
    "*.>",
    "kapelle.>",
    "kapelle.run.>",
    "kapelle.run.*.*.control",
    "kapelle.task.>",
    "_INBOX.>",
    "$JS.>",
    "$KV.>",
];

/// Publishes; or subscribes, alone and in a queue group. A refusal comes for the asking.
async fn attempt(client: &async_nats::Client, publish: bool, subject: &str) {
    if publish {
        client.publish(subject.to_owned(), "".into()).await.unwrap();
        return;
    }
    drop(client.subscribe(subject.to_owned()).await.unwrap());
    drop(client.queue_subscribe(subject.to_owned(), "q".to_owned()).await.unwrap());
}

/// At a real server: a coordinator's own permissions do not reach the audit trail but to write and to read it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_cannot_take_back_what_is_on_record() {
    let broker = Broker::start(&[("c1", allowed(Role::Coordinator, "c1"))], true).await;
    let grpc_address = "127.0.0.1:0".parse().unwrap();
    let config = Config { id: "c1".to_owned(), grpc_address, ..Config::default() };
    let coordinator = Coordinator::start(config, broker.connect("c1").await).await.unwrap();
    let (client, told) = broker.listening_client("c1").await;
    let mut expected = BTreeSet::new();
    for verb in ["PURGE", "DELETE", "UPDATE", "MSG.DELETE"] {
        let subject = format!("$JS.API.STREAM.{verb}.AUDIT");
        client.publish(subject.clone(), "{}".into()).await.unwrap();
        expected.insert((true, subject.to_lowercase()));
    }
    eventually("all are refused", || async {
        let refused: BTreeSet<_> = told.lock().unwrap().iter().filter_map(|text| violated(text)).collect();
        (refused == expected).then_some(())
    })
    .await;
    coordinator.stop().await;
}

/// What is provisioned or published anywhere is in the table of subjects.
#[test]
fn the_table_of_subjects_has_every_stream_and_every_subject() {
    let layout = Config::default().layout;
    let coordinator = allowed(Role::Coordinator, "c1");
    let buckets = layout.buckets().into_iter().map(|bucket| format!("KV_{}", bucket.bucket));
    let objects = layout.objects().name;
    let streams = layout.streams().into_iter().map(|stream| stream.name).chain(buckets).chain([objects]);
    for stream in streams {
        for verb in ["CREATE", "INFO"] {
            let subject = format!("$JS.API.STREAM.{verb}.{stream}");
            assert!(coordinator.may_publish(&subject), "{subject} is in no class of shared/policy/src/subjects.rs");
        }
    }
    let run = "0192f3c4-5a6b-7c8d-9e0f-112233445566";
    for (subject, who) in [
        (format!("kapelle.run.3.{run}.control"), Role::Coordinator),
        (format!("kapelle.run.3.{run}.report"), Role::Worker),
        (format!("kapelle.timer.3.{run}.deadline"), Role::Coordinator),
        (format!("kapelle.task.echo.1_0_0.{run}.review:17.3"), Role::Coordinator),
        (format!("kapelle.words.scripted.1_0_0.{run}"), Role::Worker),
        (format!("kapelle.dead.echo.1_0_0.{run}.review:17"), Role::Coordinator),
        ("kapelle.event.run.finished".to_owned(), Role::Coordinator),
        ("kapelle.audit.api.denied".to_owned(), Role::Coordinator),
        ("kapelle.submit.intake".to_owned(), Role::Publisher),
    ] {
        for role in [Role::Coordinator, Role::Worker, Role::Publisher] {
            assert_eq!(allowed(role, "x1").may_publish(&subject), role == who, "{role} {subject}");
        }
    }
    assert_eq!(filled("kapelle.withdrawn.<agent>", "w1"), "kapelle.withdrawn.scripted.1_0_0");
}
