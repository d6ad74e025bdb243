//! A provisioned broker, and what a coordinator would do with it: queue tasks, read reports.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kapelle_broker::testing::TestServer;
use kapelle_bus::layout::{Layout, TaskStorage};
use kapelle_bus::tasks::QueueLimits;
use kapelle_bus::{Bus, ConnectConfig, Connection, provision};
use kapelle_engine::{Body, Channel, StepFailed, TaskLimits};
use kapelle_proto::subject::TaskSubject;
use kapelle_proto::{Task, decode_record};
use kapelle_sdk::{Agent, AgentError, Output, async_trait};
use kapelle_types::{AgentVersion, Partitions, Payload, Principal, RunId, StepRef, TaskId, Timestamp};
use kapelle_worker::{Config, Handle, Worker};
use serde_json::Value;
use tokio::time::Instant;

/// Longer than anything here takes, elections and leases included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

pub(crate) struct Rig {
    pub(crate) server: TestServer,
    pub(crate) bus: Bus,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let server = TestServer::start().await;
        let connection = connect(&server).await;
        let partitions = Partitions::new(4).unwrap();
        let layout = Layout { partitions, replicas: 1, tasks: TaskStorage::AsyncFile };
        provision::provision(connection.jetstream(), &layout).await.unwrap();
        Self { bus: Bus::open(connection).await.unwrap(), server }
    }

    /// Another connection to the same broker: another process, as far as the broker knows.
    pub(crate) async fn bus(&self) -> Bus {
        Bus::open(connect(&self.server).await).await.unwrap()
    }

    pub(crate) async fn queue(&self, agent: &AgentVersion) {
        provision::ensure_queue(self.bus.jetstream(), agent, QueueLimits::of(10_000)).await.unwrap();
    }

    /// Starts a worker with one native agent, whose queue is there.
    pub(crate) async fn worker(&self, slots: usize, agent: impl Agent + 'static) -> Handle {
        self.queue(&echo()).await;
        self.worker_with(Config { slots, ..Config::new() }.native(echo(), agent)).await
    }

    pub(crate) async fn worker_with(&self, config: Config) -> Handle {
        Worker::start(config, self.bus().await).await.unwrap()
    }

    pub(crate) async fn submit(&self, task: &Task) {
        self.submit_raw(&subject(task), task.encode()).await;
    }

    pub(crate) async fn submit_raw(&self, subject: &TaskSubject, message: bytes::Bytes) {
        self.bus.queue_task(subject, message).await.unwrap().await.unwrap();
    }

    /// Tasks that are queued or held by a worker.
    pub(crate) async fn queued(&self) -> u64 {
        self.bus.stream_state("TASKS").await.unwrap().messages
    }

    /// How many messages the reports of a run are, and what they say.
    pub(crate) async fn reports(&self, run: RunId) -> (usize, Vec<Body>) {
        let records = self.bus.read_run(run, 1).await.unwrap();
        let bodies = records.iter().flat_map(|r| {
            assert_eq!(r.channel, Channel::Report);
            decode_record(r.channel, r.stamp, &r.payload).unwrap().entries.into_iter().map(|e| e.body)
        });
        (records.len(), bodies.collect())
    }

    /// Waits for this many reports of a run and for an empty queue: everything is acknowledged.
    pub(crate) async fn settled(&self, run: RunId, count: usize) -> Vec<Body> {
        eventually("reports and an empty queue", || async {
            let (_, bodies) = self.reports(run).await;
            (bodies.len() >= count && self.queued().await == 0).then_some(bodies)
        })
        .await
    }

    /// The one report of a task that fails.
    pub(crate) async fn failed(&self, task: &Task) -> StepFailed {
        match self.settled(task.run_id, 1).await.remove(0) {
            Body::StepFailed(failed) => failed,
            other => panic!("{other:?}"),
        }
    }
}

async fn connect(server: &TestServer) -> Connection {
    let config = ConnectConfig { url: server.url(), name: "test".into(), ..ConnectConfig::default() };
    Connection::open(&config, PATIENCE).await.unwrap()
}

pub(crate) fn echo() -> AgentVersion {
    "echo@1.0.0".parse().unwrap()
}

pub(crate) fn run_id(name: &str) -> RunId {
    RunId::keyed("default", &"w".parse().unwrap(), name)
}

/// A task for `echo@1.0.0`: member `item` of step `s`, first attempt, 30 s.
pub(crate) fn task(run: &str, item: u32, input: Value) -> Task {
    Task {
        run_id: run_id(run),
        task: TaskId { step: StepRef::member("s".parse().unwrap(), item), attempt: 1 },
        agent: echo(),
        workflow: "w@1.0.0".parse().unwrap(),
        input: Payload::inline(input),
        timeout: Duration::from_secs(30),
        deadline: None,
        traceparent: None,
        principal: Principal("test".into()),
        queued_at: Timestamp::default(),
        token: None,
        round: 0,
        chain: vec![],
        limits: TaskLimits::default(),
    }
}

pub(crate) fn subject(task: &Task) -> TaskSubject {
    TaskSubject { agent: task.agent.clone(), run_id: task.run_id, task: task.task.clone() }
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < give_up_at, "no {what} within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An agent out of a function.
pub(crate) struct Does<F>(pub(crate) F);

#[async_trait]
impl<F, R> Agent for Does<F>
where
    F: Fn(kapelle_sdk::Task) -> R + Send + Sync,
    R: Future<Output = Result<Output, AgentError>> + Send,
{
    async fn run(&self, task: kapelle_sdk::Task) -> Result<Output, AgentError> {
        (self.0)(task).await
    }
}

/// Returns its input.
pub(crate) fn echoes() -> impl Agent + 'static {
    Does(|task: kapelle_sdk::Task| async move { Ok(Output::new(task.input.as_ref().clone())) })
}

/// Returns its input when the gate is open.
pub(crate) fn waits(gate: &Gate) -> impl Agent + 'static {
    let gate = gate.clone();
    Does(move |task: kapelle_sdk::Task| {
        let gate = gate.clone();
        async move {
            gate.pass().await;
            Ok(Output::new(task.input.as_ref().clone()))
        }
    })
}

/// Holds agents back until it is opened.
#[derive(Clone)]
pub(crate) struct Gate(Arc<tokio::sync::watch::Sender<bool>>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(Arc::new(tokio::sync::watch::Sender::new(false)))
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    async fn pass(&self) {
        self.0.subscribe().wait_for(|open| *open).await.unwrap();
    }
}
