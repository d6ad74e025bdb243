//! A fleet in one process, for tests: a real broker, a coordinator, a worker with one scripted agent.

use std::collections::BTreeSet;
use std::time::Duration;

use kapelle_broker::testing::TestServer;
use kapelle_bus::{Bus, ConnectConfig, Connection};
use kapelle_coordinator::{Accepted, Assignment, Config, Coordinator, Handle};
use kapelle_proto::v1::dead_letter_service_client::DeadLetterServiceClient;
use kapelle_proto::v1::registry_service_client::RegistryServiceClient;
use kapelle_proto::v1::run_service_client::RunServiceClient;
use kapelle_proto::v1::{
    ApplyRequest, DeadLetterActionRequest, DeadLetterView, ExecuteRequest, GetRunRequest, HistoryEntry, HistoryRequest,
    ListDeadLettersRequest, ListRunsRequest, ManifestSource, RunSummary, RunView, SubmitRequest, SubmitResponse,
};
use kapelle_sdk::{Agent, AgentError, Output, Task, async_trait};
use kapelle_types::{Partition, Partitions};
use kapelle_worker::Worker;
use serde_json::{Value, json};
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt;

/// The longest that any condition is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// An agent whose input says what it does: `sleep_ms`, `fail_attempts` (fails that many first attempts), `says` (with these words).
struct Scripted;

#[async_trait]
impl Agent for Scripted {
    async fn run(&self, task: Task) -> Result<Output, AgentError> {
        let number = |name: &str| task.input.get(name).and_then(Value::as_u64).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(number("sleep_ms"))).await;
        if u64::from(task.attempt) <= number("fail_attempts") {
            let says = task.input.get("says").and_then(Value::as_str).unwrap_or("the input says so");
            return Err(AgentError::retryable("scripted", says));
        }
        Ok(Output::new(task.input.as_ref().clone()))
    }
}

/// A broker, a coordinator and a worker in this process.
pub(crate) struct Fleet {
    pub(crate) server: TestServer,
    coordinator: Handle,
    worker: kapelle_worker::Handle,
    channel: Channel,
    client: async_nats::Client,
    /// Every partition, for coordinators that believe that all are theirs.
    all: watch::Sender<BTreeSet<Partition>>,
}

impl Fleet {
    pub(crate) async fn start() -> Self {
        Self::start_with(Config::default()).await
    }

    /// The same with a coordinator that is set up otherwise.
    pub(crate) async fn start_with(config: Config) -> Self {
        let server = TestServer::start().await;
        let connection = connect(&server.url()).await;
        let config = Config { grpc_address: "127.0.0.1:0".parse().unwrap(), accepted: Accepted::Development, ..config };
        let coordinator = Coordinator::start(config, connection.clone()).await.unwrap();
        let endpoint = format!("http://{}", coordinator.grpc_address());
        let channel = Channel::from_shared(endpoint).unwrap().connect().await.unwrap();
        let client = connection.client().clone();
        let bus = Bus::open(connection).await.unwrap();
        let config = kapelle_worker::Config::new().native("echo@1.0.0".parse().unwrap(), Scripted);
        let worker = Worker::start(config, bus).await.unwrap();
        let all = watch::Sender::new(Partitions::new(4).unwrap().all().collect());
        Self { server, coordinator, worker, channel, client, all }
    }

    /// A second coordinator, which believes that every partition is its own, as the first does.
    pub(crate) async fn second(&self) -> Handle {
        let config = Config {
            grpc_address: "127.0.0.1:0".parse().unwrap(),
            accepted: Accepted::Development,
            assignment: Assignment::Given(self.all.subscribe()),
            ..Config::default()
        };
        Coordinator::start(config, connect(&self.server.url()).await).await.unwrap()
    }

    pub(crate) async fn stop(self) {
        self.worker.drain().await;
        self.coordinator.stop().await;
        drop(self.server);
    }

    pub(crate) async fn bus(&self) -> Bus {
        Bus::open(connect(&self.server.url()).await).await.unwrap()
    }

    pub(crate) fn runs(&self) -> RunServiceClient<Channel> {
        RunServiceClient::new(self.channel.clone())
            .max_decoding_message_size(64 << 20)
            .max_encoding_message_size(64 << 20)
    }

    pub(crate) async fn register(&self, workflow: Value) {
        self.apply(workflow).await.unwrap();
    }

    /// Registers a workflow together with the agent.
    pub(crate) async fn apply(&self, workflow: Value) -> Result<(), Status> {
        self.apply_all(&[agent(), workflow]).await
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) async fn apply_all(&self, manifests: &[Value]) -> Result<(), Status> {
        self.apply_forced(manifests, "").await
    }

    pub(crate) async fn apply_forced(&self, manifests: &[Value], reason: &str) -> Result<(), Status> {
        let source = |manifest: &Value| ManifestSource { json: manifest.to_string().into(), origin: String::new() };
        let manifests = manifests.iter().map(source).collect();
        let request = ApplyRequest { manifests, dry_run: false, force_reason: reason.to_owned() };
        RegistryServiceClient::new(self.channel.clone()).apply(request).await.map(drop)
    }

    pub(crate) async fn submit(&self, request: SubmitRequest) -> Result<SubmitResponse, Status> {
        self.runs().submit(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn submit_input(&self, workflow: &str, input: Value) -> String {
        self.try_submit(workflow, input).await.unwrap().run_id
    }

    pub(crate) async fn try_submit(&self, workflow: &str, input: Value) -> Result<SubmitResponse, Status> {
        self.submit(request(workflow, &input)).await
    }

    pub(crate) async fn history(&self, run: &str) -> Vec<HistoryEntry> {
        let request = HistoryRequest { run_id: run.to_owned() };
        self.runs().history(request).await.unwrap().into_inner().entries
    }

    pub(crate) async fn execute(&self, workflow: &str, input: Value) -> RunView {
        let request = ExecuteRequest { submit: Some(request(workflow, &input)), wait_millis: 30_000 };
        self.runs().execute(request).await.unwrap().into_inner()
    }

    pub(crate) async fn get(&self, run: &str) -> RunView {
        self.runs().get(GetRunRequest { run_id: run.to_owned() }).await.unwrap().into_inner()
    }

    pub(crate) async fn until_ended(&self, run: &str) -> RunView {
        eventually("the run's end", || async {
            let view = self.get(run).await;
            (view.finished_at_unix_nanos != 0).then_some(view)
        })
        .await
    }

    pub(crate) async fn list(&self) -> Vec<RunSummary> {
        self.runs().list(ListRunsRequest::default()).await.unwrap().into_inner().runs
    }

    pub(crate) async fn dead_letters(&self) -> Vec<DeadLetterView> {
        let mut client = DeadLetterServiceClient::new(self.channel.clone());
        client.list(ListDeadLettersRequest::default()).await.unwrap().into_inner().dead_letters
    }

    pub(crate) async fn replay_all(&self) {
        let mut client = DeadLetterServiceClient::new(self.channel.clone());
        let answer = client.replay(DeadLetterActionRequest::default()).await.unwrap().into_inner();
        assert!(answer.errors.is_empty(), "{answer:?}");
    }

    pub(crate) fn code(&self, status: &Status) -> String {
        status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
    }

    /// Publishes into a stream, or into the void if none takes the subject.
    pub(crate) async fn publish(&self, subject: &str, payload: &'static [u8]) {
        let context = async_nats::jetstream::new(self.client.clone());
        let _ = context.publish(subject.to_owned(), payload.into()).await.unwrap().await;
    }

    pub(crate) async fn publish_core(&self, subject: &str, payload: &'static [u8]) {
        self.client.publish(subject.to_owned(), payload.into()).await.unwrap();
    }

    pub(crate) async fn events(&self, kind: &str) -> async_nats::Subscriber {
        let subscriber = self.client.subscribe(format!("kapelle.event.{kind}")).await.unwrap();
        self.client.flush().await.unwrap();
        subscriber
    }
}

pub(crate) async fn connect(url: &str) -> Connection {
    let config = ConnectConfig { url: url.to_owned(), name: "test".into(), ..ConnectConfig::default() };
    Connection::open(&config, PATIENCE).await.unwrap()
}

fn request(workflow: &str, input: &Value) -> SubmitRequest {
    SubmitRequest { workflow: workflow.to_owned(), input: input.to_string().into(), ..SubmitRequest::default() }
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let begun = tokio::time::Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn agent() -> Value {
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Agent",
        "metadata": { "name": "echo", "version": "1.0.0", "owner": "tests@example.com" },
        "spec": {
            "role": {
                "purpose": "Does what its input says.", "responsibilities": ["echo"], "capabilities": ["test.echo"],
                "limits": { "concurrency": 64, "timeout": "120s" },
            },
            "input": { "schema": {} }, "output": { "schema": {} }, "runtime": { "native": {} },
            "retry": { "max_attempts": 3, "initial": "50ms", "max": "200ms" },
        },
    })
}

fn workflow(name: &str, steps: &Value, output: &str) -> Value {
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Workflow",
        "metadata": { "name": name, "version": "1.0.0", "owner": "tests@example.com" },
        "spec": { "input": { "schema": { "type": "object" } }, "steps": steps, "output": output },
    })
}

/// Steps in a row, each handing on what it gets.
pub(crate) fn chain(name: &str, length: usize) -> Value {
    let step = |n: usize| {
        let with = if n == 0 { "${input}".to_owned() } else { format!("${{steps.s{}.output}}", n - 1) };
        json!({ "id": format!("s{n}"), "agent": "echo@^1", "with": with })
    };
    let steps: Vec<Value> = (0..length).map(step).collect();
    workflow(name, &json!(steps), &format!("${{steps.s{}.output}}", length - 1))
}

/// The agent in another version.
pub(crate) fn echo(version: &str) -> Value {
    let mut echo = agent();
    echo["metadata"]["version"] = json!(version);
    echo
}

/// A chain of one step that asks for this.
pub(crate) fn asking(name: &str, for_what: &str) -> Value {
    let mut chain = chain(name, 1);
    chain["spec"]["steps"][0]["agent"] = json!(for_what);
    chain
}

/// One step over `input.items`.
pub(crate) fn fan_out(name: &str, max_parallel: u32) -> Value {
    let step = json!({
        "id": "each", "agent": "echo@^1", "foreach": "${input.items}", "with": "${item}", "max_parallel": max_parallel,
    });
    workflow(name, &json!([step]), "${steps.each.outputs}")
}
