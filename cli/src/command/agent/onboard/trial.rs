//! The trial: every sample through the agent as it will run, on a broker, a coordinator and a worker that are there for it
//! alone.
//!
//! ```text
//!   temporary folder ◀── nats-server ◀── coordinator, worker ──sandbox──▶ the agent
//!                              ▲
//!                              └── apply agent + one-step workflow, submit a sample, follow it to its end, read its log
//! ```
//!
//! Contracts, tokens, sandbox, limits and timeout are those of production, since it is the same code. One attempt a sample:
//! an agent that needs a second one for a sample has not passed. It stops at the first that fails.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use kapelle_broker::Durability;
use kapelle_manifest::{Agent, Manifest};
use kapelle_proto::v1;
use kapelle_proto::v1::log_entry::Body;
use kapelle_types::Partitions;
use serde::Serialize;
use serde_json::{Value, json};

use super::refused::{self, Refusal};
use super::samples::Sample;
use crate::client::{Client, Until, follow};
use crate::command::apply::register;
use crate::command::run::submit;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::manifests::Found;
use crate::shutdown::Signals;
use crate::stack::{self, BrokerPlan, Confinement, Embedded, Settings, Stack, Switch};
use crate::view;

/// The workflow that executes a sample, and its step.
const WORKFLOW: &str = "onboarding-trial";
const STEP: &str = "trial";

/// What came of the trial.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Trial {
    /// Whether every sample went well.
    pub(super) passed: bool,
    /// Whether the agent was kept to its access.
    pub(super) sandbox: bool,
    pub(super) tasks: Vec<Task>,
    /// What the agent was refused, as far as its errors show it.
    pub(super) refused: Vec<Refusal>,
}

/// One sample.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Task {
    pub(super) sample: String,
    /// That of its run.
    pub(super) status: String,
    pub(super) duration_ms: u64,
    pub(super) cost_usd: f64,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) output: Value,
    /// Whether the output is that of the sample; null if the sample has none.
    pub(super) as_in_sample: Option<bool>,
    pub(super) error: Option<view::Error>,
}

/// Tries the agent with every sample. `Err` if that could not be done; an agent that fails is a trial that did not pass.
pub(super) async fn run(
    agent: &Agent,
    folder: PathBuf,
    samples: &[Sample],
    confinement: Confinement,
    nats_server: Option<PathBuf>,
) -> Result<Trial, Failure> {
    let mut signals = Signals::listen()?;
    let store = tempfile::tempdir()?;
    let sandbox = confinement.sandbox == Switch::On;
    let embedded = Embedded {
        folder: store.path().join("nats"),
        port: None,
        durability: Durability::Standard,
        binary: nats_server,
    };
    let settings = Settings {
        broker: BrokerPlan::Embedded(embedded),
        layout: stack::one_node(Partitions::new(1), Durability::Standard),
        grpc_address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        slots: Some(1),
        confinement,
        openlineage: false,
    };
    let Some(stack) = signals.unless(Stack::start(settings)).await.transpose()? else { return Err(interrupted()) };
    let tried = signals.unless(all(&stack, agent, folder, samples)).await;
    signals.leave(stack.stop()).await?;
    let tasks = tried.ok_or_else(interrupted)??;
    let passed = tasks.len() == samples.len() && tasks.iter().all(|it| it.error.is_none());
    let refused = tasks.iter().filter_map(|it| it.error.as_ref()).flat_map(refused::explain).collect();
    Ok(Trial { passed, sandbox, tasks, refused })
}

async fn all(stack: &Stack, agent: &Agent, folder: PathBuf, samples: &[Sample]) -> Result<Vec<Task>, Failure> {
    let client = Client::connect(&stack.address().into()).await?;
    let manifests = [Manifest::Agent(agent.clone()), workflow(agent)?];
    let found = manifests.map(|it| Found { sourced: it.into(), folder: folder.clone() });
    register(&client, &found, false).await?;
    let mut tasks = Vec::with_capacity(samples.len());
    for (number, sample) in samples.iter().enumerate() {
        let task = one(&client, number, sample).await?;
        let failed = task.error.is_some();
        tasks.push(task);
        if failed {
            break;
        }
    }
    Ok(tasks)
}

/// One step that hands its input to the agent and gives what comes back.
fn workflow(agent: &Agent) -> Result<Manifest, Failure> {
    let step = json!({
        "id": STEP, "agent": format!("{}@={}", agent.metadata.name, agent.metadata.version), "with": "${input}",
        "retry": { "max_attempts": 1 }, "on_give_up": "fail",
    });
    let document = json!({
        "apiVersion": kapelle_manifest::API_VERSION, "kind": "Workflow",
        "metadata": { "name": WORKFLOW, "version": "1.0.0", "owner": agent.metadata.owner },
        "spec": { "input": agent.spec.input, "steps": [step], "output": format!("${{steps.{STEP}.output}}") },
    });
    serde_json::from_value(document)
        .map_err(|e| Failure::plain(Exit::Failed, format!("the trial's workflow cannot be made: {e}")))
}

async fn one(client: &Client, number: usize, sample: &Sample) -> Result<Task, Failure> {
    let request = v1::SubmitRequest {
        workflow: WORKFLOW.into(),
        input: sample.input.to_string().into_bytes().into(),
        idempotency_key: Some(format!("sample-{number}")),
        ..v1::SubmitRequest::default()
    };
    let run_id = submit(client, request).await?.run_id;
    let run = view::Run::from(follow(client, &run_id, Until::Settled, |_| Ok(())).await?);
    let history = client.runs().history(v1::HistoryRequest { run_id }).await.map_err(|s| client.failure(s))?;
    let task = Task { sample: sample.name.clone(), status: run.status.clone(), ..Task::default() };
    let mut task = history.into_inner().entries.into_iter().fold(task, |task, it| measured(task, it.entry));
    if run.status == "COMPLETED" {
        task.as_in_sample = sample.output.as_ref().map(|it| *it == run.output);
        task.output = run.output;
    } else {
        // The step says why it failed; the run only that it did.
        let of_step = run.steps.into_iter().find_map(|it| it.error);
        task.error = of_step.or(run.error);
    }
    Ok(task)
}

/// What the report of the attempt says that it took.
fn measured(mut task: Task, entry: Option<v1::LogEntry>) -> Task {
    let (work, usage) = match entry.and_then(|it| it.body) {
        Some(Body::StepSucceeded(it)) => (it.work, it.usage),
        Some(Body::StepFailed(it)) => (it.work, it.usage),
        _ => return task,
    };
    task.duration_ms = work.map_or(0, |it| it.duration_nanos / 1_000_000);
    let usage = usage.unwrap_or_default();
    (task.cost_usd, task.input_tokens, task.output_tokens) = (usage.cost_usd, usage.input_tokens, usage.output_tokens);
    task
}

fn interrupted() -> Failure {
    Failure::plain(Exit::Failed, "Interrupted. Nothing was registered.")
}
