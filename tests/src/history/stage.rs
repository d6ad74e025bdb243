//! Where scenarios are played: a real broker, a real coordinator and real workers in this process.

use std::collections::BTreeSet;
use std::time::Duration;

use kapelle_broker::testing::TestServer;
use kapelle_bus::keys::{self, Keys};
use kapelle_bus::runlog::RawRecord;
use kapelle_bus::{Bus, ConnectConfig, Connection};
use kapelle_coordinator::{Accepted, Assignment, Config, Coordinator, Handle};
use kapelle_engine::{Body, Channel, Entry, Failure, FailureKind, RunKey, StepFailed, StepSucceeded, Usage, Work};
use kapelle_proto::v1::{ListCoordinatorsRequest, RetryRunRequest, RunStatus, RunView, SteerRequest, SubmitRequest};
use kapelle_proto::{decode_record, encode_record};
use kapelle_types::{Partition, Payload, Principal, RunId, TaskId};
use kapelle_worker::Worker;
use serde_json::Value;
use tokio::sync::watch;

use super::agent::{Cues, Scripted};
use super::manifests::agents;
use crate::harness::{Api, eventually, job, register};

/// The longest that any condition is waited for: a lease has to end in it.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// The name of everything that would name the machine otherwise.
const NAME: &str = "recorder";

/// A fleet for one scenario.
pub(super) struct Stage {
    pub(super) cues: Cues,
    pub(super) api: Api,
    pub(super) bus: Bus,
    /// The run's idempotency key, so that its id, and with it every jitter, is the same in every recording.
    key: String,
    /// Which partitions the coordinator serves.
    served: watch::Sender<BTreeSet<Partition>>,
    coordinator: Handle,
    connection: Connection,
    _server: TestServer, // last: whoever is connected leaves first
}

impl Stage {
    /// A broker and a coordinator; no worker yet.
    pub(super) async fn set(key: &str) -> Self {
        let server = TestServer::start().await;
        let connect = ConnectConfig { url: server.url(), name: NAME.into(), ..ConnectConfig::default() };
        let connection = Connection::open(&connect, PATIENCE).await.unwrap();
        let grpc_address = "127.0.0.1:0".parse().unwrap();
        let (served, given) = watch::channel(BTreeSet::new());
        let assignment = Assignment::Given(given);
        let accepted = Accepted::Development;
        let names = Config { id: NAME.into(), host: NAME.into(), ..Config::default() };
        let config = Config { grpc_address, assignment, accepted, ..names };
        let coordinator = Coordinator::start(config, connection.clone()).await.unwrap();
        let api = Api::default();
        api.add(&coordinator.grpc_address().to_string());
        let bus = Bus::open(connection.clone()).await.unwrap();
        let (cues, key) = (Cues::new(), key.to_owned());
        let stage = Self { cues, api, bus, key, served, coordinator, connection, _server: server };
        stage.serve_all();
        stage
    }

    /// The coordinator serves every partition.
    pub(super) fn serve_all(&self) {
        self.served.send_replace(self.bus.partitions().all().collect());
    }

    /// The coordinator serves no partition, so that nobody acts on what comes into the logs.
    pub(super) async fn serve_nothing(&self) {
        self.served.send_replace(BTreeSet::new());
        eventually("no partition is served", || async {
            let answer = self.api.fleet().list_coordinators(ListCoordinatorsRequest::default()).await.ok()?;
            answer.into_inner().coordinators.iter().all(|c| c.partitions.is_empty()).then_some(())
        })
        .await;
    }

    /// Ends it in order.
    pub(super) async fn strike(self) {
        self.api.remove(&self.coordinator.grpc_address().to_string());
        drop(self.api);
        self.coordinator.stop().await;
    }

    /// One more worker for all agents. Dropped, it ends as a crash ends it.
    pub(super) async fn worker(&self, slots: usize, drain_grace: Duration) -> kapelle_worker::Handle {
        let config = kapelle_worker::Config {
            id: NAME.into(),
            host: NAME.into(),
            slots,
            drain_grace,
            ..kapelle_worker::Config::new()
        };
        let config = config
            .native("player@1.0.0".parse().unwrap(), Scripted(self.cues.clone()))
            .native("second@1.0.0".parse().unwrap(), Scripted(self.cues.clone()))
            .native("strict@1.0.0".parse().unwrap(), Scripted(self.cues.clone()))
            .native("thrifty@1.0.0".parse().unwrap(), Scripted(self.cues.clone()))
            .native("keyed@1.0.0".parse().unwrap(), Scripted(self.cues.clone()));
        Worker::start(config, Bus::open(self.connection.clone()).await.unwrap()).await.unwrap()
    }

    /// Registers the workflow and its agents.
    pub(super) async fn register(&self, workflow: &Value) {
        let manifests: Vec<_> = agents().into_iter().chain([workflow.clone()]).collect();
        register(&self.api, &manifests).await;
    }

    /// Registers a workflow and submits a run of it.
    pub(super) async fn begin(&self, workflow: &Value, input: Value) -> RunId {
        self.register(workflow).await;
        self.submit(job(workflow["metadata"]["name"].as_str().unwrap(), Some(&self.key), &input)).await
    }

    /// The same with a worker that stays until the end.
    pub(super) async fn play(&self, workflow: &Value, input: Value) -> (RunId, kapelle_worker::Handle) {
        let run = self.begin(workflow, input).await;
        (run, self.worker(16, PATIENCE).await)
    }

    pub(super) async fn submit(&self, request: SubmitRequest) -> RunId {
        self.api.submit(request).await.unwrap().run_id.parse().unwrap()
    }

    /// The id that [`Stage::begin`] will give its run.
    pub(super) fn run_of(&self, workflow: &str) -> RunId {
        RunId::keyed("default", &workflow.parse().unwrap(), &self.key)
    }

    /// The run once it stands there.
    pub(super) async fn until(&self, run: RunId, status: RunStatus) -> RunView {
        self.until_is(run, |view| view.status() == status).await
    }

    /// The run once it is as it should be.
    pub(super) async fn until_is(&self, run: RunId, wanted: impl Fn(&RunView) -> bool) -> RunView {
        let id = run.to_string();
        eventually("the run is as the scenario needs it", || async {
            let view = self.api.get(&id).await;
            wanted(&view).then_some(view)
        })
        .await
    }

    /// Waits for the end and its mark in the log.
    pub(super) async fn until_marked(&self, run: RunId, status: RunStatus) {
        let view = self.until_is(run, |view| view.finished_at_unix_nanos != 0).await;
        assert_eq!(view.status(), status, "{view:?}");
        eventually("the mark", || async {
            let log = self.log(run).await;
            log.iter().flat_map(bodies).any(|b| matches!(b, Body::RunFinished(_))).then_some(())
        })
        .await;
    }

    /// Waits until the log has so many entries that are wanted.
    pub(super) async fn until_logged(&self, run: RunId, count: usize, wanted: impl Fn(&Body) -> bool) {
        eventually("the entries are in the log", || async {
            let log = self.log(run).await;
            (log.iter().flat_map(bodies).filter(&wanted).count() >= count).then_some(())
        })
        .await;
    }

    pub(super) async fn log(&self, run: RunId) -> Vec<RawRecord> {
        self.bus.read_run(run, 1).await.unwrap()
    }

    pub(super) fn steer(run: RunId) -> SteerRequest {
        SteerRequest { run_id: run.to_string(), reason: "the scenario says so".into() }
    }

    /// Asks for a retry, of everything that is stuck if no step is named.
    pub(super) async fn retry(&self, run: RunId, steps: &[&str]) {
        let steps = steps.iter().map(|s| (*s).to_owned()).collect();
        self.api.runs().retry(RetryRunRequest { run_id: run.to_string(), steps }).await.unwrap();
    }

    /// Writes entries into the log by hand, in one record; reports show the tokens of their tasks.
    pub(super) async fn write(&self, run: RunId, channel: Channel, entries: &[Entry]) {
        let key = self.run_key(run).await;
        let entries: Vec<Entry> = entries.iter().map(|entry| signed(entry.clone(), &key)).collect();
        self.write_as_they_are(run, channel, &entries).await;
    }

    /// A report that shows the token of another task of its run.
    pub(super) async fn signed_for(&self, run: RunId, step: &str, attempt: u32, report: Entry) -> Entry {
        let token = Some(self.run_key(run).await.token(&task(step, attempt)));
        match report.body {
            Body::StepSucceeded(it) => Entry { body: Body::StepSucceeded(StepSucceeded { token, ..it }), ..report },
            _ => report,
        }
    }

    async fn run_key(&self, run: RunId) -> RunKey {
        let keys = Keys::open(&self.bus).await.unwrap();
        keys.get(keys::FIRST).await.unwrap().unwrap().of_run(run)
    }

    /// The same as somebody writes them who was not given the tasks.
    pub(super) async fn write_as_they_are(&self, run: RunId, channel: Channel, entries: &[Entry]) {
        self.write_bytes(run, channel, encode_record(entries)).await;
    }

    /// Writes whatever into the log.
    pub(super) async fn write_bytes(&self, run: RunId, channel: Channel, bytes: bytes::Bytes) {
        self.bus.append_now(run, channel, bytes).await.unwrap();
    }
}

fn signed(mut entry: Entry, key: &RunKey) -> Entry {
    match &mut entry.body {
        Body::StepSucceeded(report) => report.token = Some(key.token(&report.task)),
        Body::StepFailed(report) => report.token = Some(key.token(&report.task)),
        _ => {}
    }
    entry
}

/// The entries of a record that can be read.
fn bodies(raw: &RawRecord) -> Vec<Body> {
    let record = decode_record(raw.channel, raw.stamp, &raw.payload);
    record.map(|r| r.entries.into_iter().map(|e| e.body).collect()).unwrap_or_default()
}

/// An entry that somebody wrote.
pub(super) fn entry(id: &str, body: Body) -> Entry {
    Entry { id: id.to_owned(), principal: Principal("by-hand".into()), traceparent: None, body }
}

/// The name of an attempt.
pub(super) fn task(step: &str, attempt: u32) -> TaskId {
    TaskId { step: step.parse().unwrap(), attempt }
}

/// A report of a success, as a worker writes it that was out of sight for a while.
pub(super) fn succeeded(step: &str, attempt: u32, output: impl Into<Payload>) -> Entry {
    let (work, usage) = (work(), Usage { cost_usd: 0.25, input_tokens: 12, output_tokens: 34, tool_calls: 0 });
    entry(
        "",
        Body::StepSucceeded(StepSucceeded {
            task: task(step, attempt),
            output: output.into(),
            work,
            usage,
            token: None,
        }),
    )
}

/// A report of a failure, likewise.
pub(super) fn failed(step: &str, attempt: u32, kind: FailureKind) -> Entry {
    let failure = Failure {
        kind,
        code: "by_hand".into(),
        message: "written by hand".into(),
        retryable: true,
        retry_after: None,
        evidence: "the last line".into(),
    };
    let (work, usage) = (work(), Usage::default());
    entry("", Body::StepFailed(StepFailed { task: task(step, attempt), failure, work, usage, token: None }))
}

fn work() -> Work {
    Work { worker: NAME.into(), ..Work::default() }
}
