//! What else a worker tries that means harm: answers of the broker that are sent to others, headers that say what a message is
//! not, and calls of the broker's API that nobody gave it.

use std::collections::BTreeSet;

use async_nats::{Client, HeaderMap};
use futures::StreamExt;
use kapelle_bus::layout::{Layout, TaskStorage};
use kapelle_bus::provision::{ensure_queue, provision};
use kapelle_bus::tasks::{QueueLimits, QueueNews};
use kapelle_bus::{Bus, Connection};
use kapelle_engine::{Channel, SigningKey};
use kapelle_proto::Words;
use kapelle_proto::subject::{TaskSubject, WordsSubject};
use kapelle_tests::harness::eventually;
use kapelle_types::{Partitions, Role, RunId, Timestamp};
use serde_json::{Value, json};

use crate::accounts::Accounts;
use crate::broker::violated;

const RUN: &str = "0192f3c4-5a6b-7c8d-9e0f-112233445566";
/// A task of another agent than the hostile worker's.
const TASK: &str = "kapelle.task.other.1_0_0.0192f3c4-5a6b-7c8d-9e0f-112233445566.a.1";

/// A namespace with a worker that means harm (`w1`), one that does not (`w2`, of another agent), and a viewer.
struct Stage {
    bus: Bus, // before the broker: what is connected leaves first
    coordinator: Connection,
    accounts: Accounts,
}

impl Stage {
    async fn set() -> Self {
        let accounts = Accounts::start(true).await;
        let mut record = accounts.namespace("default").await;
        for (user, role) in [("c1", Role::Coordinator), ("w1", Role::Worker), ("vera", Role::Viewer)] {
            accounts.issue(&mut record, role, user);
        }
        accounts.issue_worker(&mut record, "w2", "other@1.0.0");
        let coordinator = accounts.broker.connect("c1").await;
        let layout = Layout { partitions: Partitions::new(4).unwrap(), replicas: 1, tasks: TaskStorage::AsyncFile };
        let record = provision(coordinator.jetstream(), &layout).await.unwrap();
        for agent in ["scripted@1.0.0", "other@1.0.0"] {
            ensure_queue(coordinator.jetstream(), &agent.parse().unwrap(), QueueLimits::of(4)).await.unwrap();
        }
        let bus = Bus::of(coordinator.clone(), record);
        Self { bus, coordinator, accounts }
    }
}

/// Asks and gives the answer.
async fn ask(client: &Client, subject: &str, headers: HeaderMap, body: &str) -> Value {
    let answer = client.request_with_headers(subject.to_owned(), headers, body.to_owned().into()).await.unwrap();
    serde_json::from_slice(&answer.payload).unwrap_or(Value::Null)
}

fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    all.iter().for_each(|(name, value)| headers.insert(*name, *value));
    headers
}

/// Everything that the broker answers a worker, with what it wants in it where it can choose, and without the broker's own
/// headers.
const ANSWERS: [(&str, &str); 6] = [
    ("$JS.API.DIRECT.GET.OBJ_payloads.$O.payloads.C.x", r#"{"no_hdr":true}"#),
    ("$JS.API.DIRECT.GET.OBJ_payloads", r#"{"last_by_subj":"$O.payloads.C.x","no_hdr":true}"#),
    ("$JS.API.DIRECT.GET.OBJ_payloads", r#"{"seq":1,"next_by_subj":"$O.payloads.C.x","batch":1}"#),
    ("$JS.API.STREAM.MSG.GET.OBJ_payloads", r#"{"last_by_subj":"$O.payloads.C.x"}"#),
    ("$JS.API.STREAM.INFO.OBJ_payloads", ""),
    ("$JS.API.CONSUMER.INFO.TASKS.scripted-1_0_0", ""),
];
/// What is somebody else's, or nobody's to write over the broker.
const OTHERS: [&str; 10] = [
    "kapelle.run.3.0192f3c4-5a6b-7c8d-9e0f-112233445566.control",
    "kapelle.submit.x",
    "$KV.pace.other.1_0_0",
    "kapelle.spend.other.1_0_0.2026-11-22",
    "$KV.presence.worker.w2",
    "$KV.registry.agent.other.1_0_0",
    "kapelle.task.other.1_0_0.0192f3c4-5a6b-7c8d-9e0f-112233445566.b.1",
    "$JS.API.STREAM.PURGE.RUNS_3",
    "$JS.API.CONSUMER.MSG.NEXT.TASKS.other-1_0_0",
    "$O.payloads.C.y",
];

/// An answer goes into no stream, acknowledges nothing, is no news to people, and withdraws no task.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_speaks_for_somebody_else() {
    let stage = Stage::set().await;
    let (bus, broker) = (&stage.bus, &stage.accounts.broker);
    stage.coordinator.jetstream().publish(TASK, "a task".into()).await.unwrap().await.unwrap();
    let honest = broker.client("w2").await;
    let inbox = honest.new_inbox();
    let mut pulled = honest.subscribe(inbox.clone()).await.unwrap();
    let pull = r#"{"batch":1,"expires":5000000000}"#;
    honest.publish_with_reply("$JS.API.CONSUMER.MSG.NEXT.TASKS.other-1_0_0", inbox, pull.into()).await.unwrap();
    let acknowledges = pulled.next().await.unwrap().reply.unwrap();
    let viewer = broker.client("vera").await;
    let mut events = viewer.subscribe("kapelle.event.>").await.unwrap();
    viewer.flush().await.unwrap();
    let other = "other@1.0.0".parse().unwrap();
    let of_w2 = Bus::open(broker.connect("w2").await).await.unwrap();
    let withdrawn = |news| match news {
        QueueNews::Withdrawn(withdrawal) => std::future::ready(Some(withdrawal)),
        QueueNews::Look => panic!("nobody said that"),
    };
    let mut withdrawals = Box::pin(of_w2.queue_news(&other).await.unwrap().filter_map(withdrawn));
    of_w2.client().flush().await.unwrap();

    let (worker, told) = broker.listening_client("w1").await;
    ask(&worker, "$O.payloads.C.x", HeaderMap::new(), TASK).await;
    let streams = ["RUNS_3", "SUBMIT", "KV_pace", "SPEND", "KV_presence", "KV_registry", "TASKS", "OBJ_payloads"];
    let state = || async { futures::future::join_all(streams.map(|stream| bus.stream_state(stream))).await };
    let before: Vec<u64> = state().await.into_iter().map(|state| state.unwrap().last_seq).collect();
    let replies = OTHERS.into_iter().chain(["kapelle.event.run.finished", "kapelle.withdrawn.other.1_0_0"]);
    for (reply, (subject, body)) in replies.flat_map(|reply| ANSWERS.map(|answer| (reply, answer))) {
        worker.publish_with_reply(subject, reply, body.into()).await.unwrap();
    }
    // What is asked last is answered last: all before it has been answered.
    for (subject, body) in ANSWERS {
        worker.request(subject, body.into()).await.unwrap();
    }
    let after: Vec<u64> = state().await.into_iter().map(|state| state.unwrap().last_seq).collect();
    assert_eq!(after, before, "{streams:?}");
    // To acknowledge what another has is refused, whatever is asked.
    worker.publish_with_reply(ANSWERS[0].0, acknowledges, ANSWERS[0].1.into()).await.unwrap();
    eventually("it is refused", || async {
        told.lock().unwrap().iter().any(|text| text.to_lowercase().contains("publish with reply of")).then_some(())
    })
    .await;
    assert_eq!(bus.queue_state(&other).await.unwrap().in_flight, 1);
    // People hear what coordinators say, and nothing before it.
    stage.coordinator.client().publish("kapelle.event.marker", "".into()).await.unwrap();
    assert_eq!(events.next().await.unwrap().subject.as_str(), "kapelle.event.marker");
    // Workers hear each other, so what they hear has to show a token that only they and the coordinators know.
    let forged = withdrawals.next().await.unwrap();
    assert_eq!((forged.task.to_string().as_str(), forged.token), (TASK, None));
    let task: TaskSubject = TASK.parse().unwrap();
    let token = SigningKey::new([7; 32]).of_run(task.run_id).token(&task.task);
    bus.withdraw_task(&task, Some(&token)).await.unwrap();
    let heard = withdrawals.filter_map(|it| std::future::ready(it.token)).next().await;
    assert_eq!(heard, Some(token));
}

/// Where a message stands, when it came and which run's it is says the broker, whatever headers a worker gave it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_do_not_make_a_report_something_else() {
    let stage = Stage::set().await;
    let (bus, worker) = (&stage.bus, stage.accounts.broker.client("w1").await);
    let run: RunId = RUN.parse().unwrap();
    let partition = bus.partitions().of(&run);
    let report = format!("kapelle.run.{partition}.{RUN}.report");
    let lies = headers(&[
        ("Nats-Subject", "kapelle.run.0.0192f3c4-0000-7000-8000-000000000000.control"),
        ("Nats-Sequence", "999"),
        ("Nats-Time-Stamp", "2020-01-01T00:00:00Z"),
        ("Nats-Num-Pending", "7"),
        ("Nats-Stream", "RUNS_0"),
    ]);
    let seq = ask(&worker, &report, lies, "a report").await["seq"].as_u64().unwrap();
    let read = bus.read_run(run, 1).await.unwrap();
    let [record] = read.as_slice() else { panic!("one record: {read:?}") };
    assert_eq!((record.run, record.channel, record.stamp.seq), (run, Channel::Report, seq));
    assert!(record.stamp.at > Timestamp::parse("2026-01-01T00:00:00Z").unwrap(), "{:?}", record.stamp);

    let due = ("Nats-Schedule", "@at 2026-01-01T00:00:00Z");
    let mine = ["$KV.pace.scripted.1_0_0", "$KV.presence.worker.w1", "$O.payloads.C.z", &report];
    for refused in [
        vec![("Nats-Rollup", "sub")],
        vec![("Nats-Rollup", "all")],
        vec![due, ("Nats-Schedule-Target", "$KV.pace.other.1_0_0")],
        vec![("Nats-Stream-Source", "TIMERS 999999999 kapelle.fired.3.* kapelle.run.3.*.control x")],
        vec![("Nats-Incr", "+1")],
        vec![("Nats-Batch-Id", "b"), ("Nats-Batch-Sequence", "1"), ("Nats-Batch-Commit", "1")],
        vec![("Nats-Expected-Stream", "OTHER")],
        vec![("Nats-Expected-Last-Msg-Id", "another's")],
        vec![("Nats-Expected-Last-Sequence", "4711")],
    ] {
        for subject in mine {
            let answer = ask(&worker, subject, headers(&refused), "harm").await;
            assert!(answer["error"]["err_code"].is_u64(), "{subject} {refused:?}: {answer}");
        }
    }
    // A message id is of the whole stream: one that a worker takes first must be nobody's who means well.
    let id = headers(&[("Nats-Msg-Id", "taken")]);
    assert_eq!(ask(&worker, &report, id.clone(), "once").await["duplicate"], Value::Null);
    assert_eq!(ask(&worker, &report, id, "again").await["duplicate"], json!(true));
    bus.append_now(run, Channel::Control, "an entry".into()).await.unwrap();
}

/// Calls of the broker's API, and more, that no credentials of a worker name.
const CALLS: [&str; 22] = [
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.UPDATE.RUNS_3",
    "$JS.API.STREAM.DELETE.RUNS_3",
    "$JS.API.STREAM.PURGE.KV_pace",
    "$JS.API.STREAM.MSG.DELETE.RUNS_3",
    "$JS.API.STREAM.MSG.GET.RUNS_3",
    "$JS.API.STREAM.SNAPSHOT.RUNS_3",
    "$JS.API.STREAM.RESTORE.RUNS_3",
    "$JS.API.STREAM.PEER.REMOVE.RUNS_3",
    "$JS.API.STREAM.LEADER.STEPDOWN.RUNS_3",
    "$JS.API.CONSUMER.CREATE.TASKS",
    "$JS.API.CONSUMER.CREATE.TASKS.mine.kapelle.task.>",
    "$JS.API.CONSUMER.DURABLE.CREATE.TASKS.mine",
    "$JS.API.CONSUMER.DELETE.TASKS.other-1_0_0",
    "$JS.API.CONSUMER.PAUSE.TASKS.other-1_0_0",
    "$JS.API.CONSUMER.NAMES.TASKS",
    "$JS.API.DIRECT.GET.KV_keys.$KV.keys.1",
    "$JS.API.META.LEADER.STEPDOWN",
    "$SYS.REQ.ACCOUNT.PING.CONNZ",
    "$SYS.REQ.CLAIMS.UPDATE",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_brokers_api_is_closed_but_for_what_is_named() {
    let stage = Stage::set().await;
    let (worker, told) = stage.accounts.broker.listening_client("w1").await;
    for call in CALLS {
        worker.publish(call, "{}".into()).await.unwrap();
    }
    // What traces are sent to is asked for like anything else.
    let traced = headers(&[("Nats-Trace-Dest", "kapelle.event.run.finished")]);
    let report = format!("kapelle.run.3.{RUN}.report");
    worker.publish_with_headers(report, traced, "a report".into()).await.unwrap();
    let mut expected: BTreeSet<_> = CALLS.iter().map(|call| (true, call.to_lowercase())).collect();
    expected.insert((true, "kapelle.event.run.finished".to_owned()));
    eventually("all are refused", || async {
        let refused: BTreeSet<_> = told.lock().unwrap().iter().filter_map(|text| violated(text)).collect();
        (refused == expected).then_some(())
    })
    .await;
}

/// What a model of one agent writes is said by that agent's workers, and heard by coordinators alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_are_said_in_the_name_of_ones_own_agents_and_heard_by_coordinators() {
    let stage = Stage::set().await;
    let (bus, broker) = (&stage.bus, &stage.accounts.broker);
    let run: RunId = RUN.parse().unwrap();
    let mut heard = Box::pin(bus.words(run).await.unwrap());
    bus.client().flush().await.unwrap();
    let task: TaskSubject = TASK.parse().unwrap();
    let piece = |text: &str| {
        let (task, text) = (task.task.clone(), text.to_owned());
        Words { task, token: None, answer: 1, offset: 0, text, last: true }.encode()
    };
    let of = |agent: &str| WordsSubject { agent: agent.parse().unwrap(), run_id: run };
    let (own, others) = (of("scripted@1.0.0"), of("other@1.0.0"));

    let (worker, told) = broker.listening_client("w1").await;
    worker.publish(others.to_string(), piece("forged")).await.unwrap();
    // Nor as an answer of the broker to somebody who asks it for what they stored.
    worker.request_with_headers("$O.payloads.C.x", HeaderMap::new(), piece("forged")).await.unwrap();
    for (subject, body) in ANSWERS {
        worker.publish_with_reply(subject, others.to_string(), body.into()).await.unwrap();
    }
    for (subject, body) in ANSWERS {
        worker.request(subject, body.into()).await.unwrap();
    }
    // Nobody but coordinators listens: not those of the same agent, nor people.
    let (viewer, viewer_told) = broker.listening_client("vera").await;
    let mut expected = BTreeSet::from([(true, others.to_string())]);
    for subject in [own.to_string(), WordsSubject::of_run(run), "kapelle.words.>".to_owned()] {
        let _ = (worker.subscribe(subject.clone()).await.unwrap(), viewer.subscribe(subject.clone()).await.unwrap());
        expected.insert((false, subject));
    }
    let refused = |told: &std::sync::Mutex<Vec<String>>| -> BTreeSet<_> {
        told.lock().unwrap().iter().filter_map(|text| violated(text)).collect()
    };
    eventually("all is refused to the worker", || async { (refused(&told) == expected).then_some(()) }).await;
    expected.retain(|(publish, _)| !publish);
    eventually("and to the viewer", || async { (refused(&viewer_told) == expected).then_some(()) }).await;

    // What is said in one's own name is heard, and shows no token: whoever passes it on looks at that.
    worker.publish(own.to_string(), piece("own")).await.unwrap();
    let it = heard.next().await.unwrap();
    assert_eq!((it.agent, it.words.text.as_str(), it.words.token), (own.agent, "own", None));
    let of_w2 = Bus::open(broker.connect("w2").await).await.unwrap();
    assert!(of_w2.tell_words(&others, piece("honest")));
    let it = heard.next().await.unwrap();
    assert_eq!((it.agent, it.words.text.as_str()), (others.agent, "honest"));
}
