//! Two coordinators that own the same partitions, and owners that change every two seconds: the outcomes are the same,
//! nothing is doubled in the log's meaning, nothing waits.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test: it fails by panics and prints its figures")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kapelle_broker::testing::TestServer;
use kapelle_bus::{ConnectConfig, Connection};
use kapelle_coordinator::{Accepted, Assignment, Config, Coordinator, Handle};
use kapelle_engine::RunStatus;
use kapelle_proto::v1;
use kapelle_tests::harness::manifests::{chain, scripted_agent, workflow};
use kapelle_tests::harness::{
    Api, Audit, Lab, Logbook, Pump, Turn, bus, eventually, is_chaos, job, register, scripted_worker,
};
use kapelle_types::Partition;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

type Owned = BTreeSet<Partition>;

const STEPS: usize = 3;
/// Runs in flight.
const OPEN: usize = 300;
/// How often the owners change.
const FLIP_EVERY: Duration = Duration::from_secs(2);
/// No run may take longer from its submission to its end: a multiple of what the queue alone takes on a busy machine, and
/// far below the time after which the reconciler looks at a silent run.
const RUN_MAX_MS: u128 = 20_000;

/// A broker, a worker, and two coordinators whose partitions the test gives them.
struct Duet {
    owned: [watch::Sender<Owned>; 2],
    coordinators: Vec<Handle>,
    api: Api,
    book: Arc<Logbook>,
    lab: Lab,
    broker: TestServer,
}

impl Duet {
    async fn start() -> Self {
        let broker = TestServer::start().await;
        let (first, first_in) = watch::channel(all());
        let (second, second_in) = watch::channel(all());
        let (api, mut coordinators) = (Api::default(), Vec::new());
        for (name, given) in [("first", first_in), ("second", second_in)] {
            let connect = ConnectConfig { url: broker.url(), name: name.into(), ..ConnectConfig::default() };
            let connection = Connection::open(&connect, Duration::from_secs(30)).await.unwrap();
            let config = Config {
                id: name.into(),
                grpc_address: "127.0.0.1:0".parse().unwrap(),
                assignment: Assignment::Given(given),
                accepted: Accepted::Development,
                ..Config::default()
            };
            let coordinator = Coordinator::start(config, connection).await.unwrap();
            api.add(&coordinator.grpc_address().to_string());
            coordinators.push(coordinator);
        }
        register(&api, &[scripted_agent(400), chain("three-steps", STEPS)]).await;
        let mut lab = Lab::new();
        let mut worker = std::process::Command::new(scripted_worker());
        lab.start("worker", worker.args([broker.url().as_str(), "100", "127.0.0.1:0"])).await;
        let book = Arc::new(Logbook::open(bus(&broker.url()).await));
        Self { owned: [first, second], coordinators, api, book, lab, broker }
    }

    fn pump(&self, most: usize) -> Pump {
        Pump::start(self.api.clone(), Arc::clone(&self.book), "three-steps", (OPEN, most), input)
    }

    /// Checks everything and ends everything.
    async fn close(self, runs: usize) -> Outcomes {
        self.book.all_ended().await;
        let audit = Audit::of(&self.book).await;
        println!("{}", audit.summary());
        audit.assert_completed_once(STEPS);
        assert_eq!(audit.runs.len(), runs, "one run for each job");
        assert!(audit.slowest_ms() < RUN_MAX_MS, "something waited");
        for coordinator in self.coordinators {
            coordinator.stop().await;
        }
        self.lab.assert_no_panic();
        drop(self.broker);
        let outcome = |a: &kapelle_tests::harness::Account| (a.status, a.output.clone().unwrap(), a.attempts.clone());
        audit.runs.iter().map(|(id, account)| (id.to_string(), outcome(account))).collect()
    }
}

/// What became of each run.
type Outcomes = BTreeMap<String, (RunStatus, Value, BTreeMap<String, u32>)>;

fn all() -> Owned {
    (0..4).map(Partition).collect()
}

/// Every fifth job fails its first attempts, so that timers and retries are among what two owners do at once.
fn input(n: usize) -> Value {
    json!({ "value": n, "sleep_ms": 30, "fail_attempts": u32::from(n.is_multiple_of(5)) })
}

/// What becomes of the same jobs, whoever owns them: their run ids are a function of their keys.
fn expected(acked: &kapelle_tests::harness::Acked) -> Outcomes {
    let outcome = |key: &String| {
        let n: usize = key.trim_start_matches("job-").parse().unwrap();
        let mut output = input(n);
        output["value"] = json!(n + STEPS);
        let attempts = if n.is_multiple_of(5) { 2 } else { 1 };
        let attempts = (0..STEPS).map(|s| (format!("s{s}"), attempts)).collect();
        (RunStatus::Completed, output, attempts)
    };
    acked.iter().map(|(key, run)| (run.to_string(), outcome(key))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_owners_of_everything_decide_the_same() {
    let _turn = Turn::take().await;
    let runs = if is_chaos() { 20_000 } else { 1_000 };
    let duet = Duet::start().await;
    let acked = duet.pump(runs).end().await;
    assert_eq!(duet.close(runs).await, expected(&acked));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_that_change_every_two_seconds_leave_nothing_behind() {
    let _turn = Turn::take().await;
    let flips = if is_chaos() { 60 } else { 6 };
    let duet = Duet::start().await;
    let pump = duet.pump(usize::MAX);
    let mut ticks = interval(FLIP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for flip in 0..flips {
        let [first, second] = share(flip);
        duet.owned[0].send_replace(first);
        duet.owned[1].send_replace(second);
        ticks.tick().await;
    }
    let acked = pump.stop().await;
    println!("{} runs over {flips} changes of owners", acked.len());
    assert!(acked.len() > OPEN, "work went on");
    assert_eq!(duet.close(acked.len()).await, expected(&acked));
}

/// Signals of one run, all of which it waits for at once.
const SIGNALS: usize = 60;
/// How often a signal is sent: 200 a second.
const SIGNAL_EVERY: Duration = Duration::from_millis(5);

/// A workflow that gives back what it is told.
fn listener() -> Value {
    let each = json!({ "id": "each", "foreach": "${input.list}", "signal": "go" });
    let mut listener = workflow("listener", &json!([each]), "${steps.each.outputs}");
    listener["spec"]["signals"] = json!({ "go": { "schema": { "type": "integer" } } });
    listener
}

/// Sends a signal until somebody answers for it; false if it was known already.
async fn tell(api: &Api, run: &str, n: usize) -> bool {
    eventually(&format!("signal {n} of {run} is answered"), || async {
        let request = v1::SignalRequest {
            run_id: run.to_owned(),
            name: "go".into(),
            payload: n.to_string().into(),
            id: n.to_string(),
        };
        match api.runs().signal(request).await {
            Ok(answer) => Some(!answer.into_inner().duplicate),
            Err(status) => {
                assert!(["K0206", "K0207", ""].contains(&Api::code(&status).as_str()), "{status:?}");
                None
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signals_count_once_while_owners_change_every_two_seconds() {
    let _turn = Turn::take().await;
    let runs = if is_chaos() { 300 } else { 30 };
    let duet = Duet::start().await;
    register(&duet.api, &[listener()]).await;
    let list = json!({ "list": vec![0; SIGNALS] });
    let mut ids = Vec::new();
    for n in 0..runs {
        let request = job("listener", Some(&format!("listener-{n}")), &list);
        ids.push(duet.api.submit_surely(&request).await.run_id);
    }
    let flipping = flip(&duet.owned);
    let mut sent = interval(SIGNAL_EVERY);
    let mut telling = tokio::task::JoinSet::new();
    for n in 0..SIGNALS {
        for run in &ids {
            sent.tick().await;
            let (api, run) = (duet.api.clone(), run.clone());
            // Every tenth sender is not sure that it was heard.
            let times = if n % 10 == 0 { 2 } else { 1 };
            telling.spawn(async move {
                for _ in 0..times {
                    tell(&api, &run, n).await;
                }
            });
        }
    }
    telling.join_all().await;
    for run in &ids {
        let view = duet.api.settled(run).await;
        assert_eq!(view.status(), v1::RunStatus::Completed, "{view:?}");
        let mut heard: Vec<usize> = serde_json::from_slice(&view.output).unwrap();
        heard.sort_unstable();
        assert_eq!(heard, (0..SIGNALS).collect::<Vec<_>>(), "each of {run} counted once");
    }
    flipping.abort();
    println!("{} signals to {runs} runs, each counted once", SIGNALS * runs);
    for coordinator in duet.coordinators {
        coordinator.stop().await;
    }
    duet.lab.assert_no_panic();
}

/// Changes the owners until it is aborted.
fn flip(owned: &[watch::Sender<Owned>; 2]) -> tokio::task::JoinHandle<()> {
    let owned = owned.clone();
    tokio::spawn(async move {
        let mut ticks = interval(FLIP_EVERY);
        for n in 0_usize.. {
            let [first, second] = share(n);
            owned[0].send_replace(first);
            owned[1].send_replace(second);
            ticks.tick().await;
        }
    })
}

/// Halves that change hands, everything with one, everything with both: every kind of taking and letting go.
fn share(flip: usize) -> [Owned; 2] {
    let (low, high): (Owned, Owned) = all().into_iter().partition(|p| p.0 < 2);
    match flip % 4 {
        0 => [low, high],
        1 => [high, low],
        2 => [all(), Owned::new()],
        _ => [all(), all()],
    }
}
