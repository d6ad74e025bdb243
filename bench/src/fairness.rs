//! What one noisy tenant does to the others: some quiet ones run one thing after the other, at first alone, then beside one who
//! has thousands of tasks queued for the same agent. What is compared is how long the quiet ones wait.

use std::time::Duration;

use anyhow::bail;
use futures::StreamExt;
use futures::future::try_join_all;
use kapelle_bus::Bus;
use kapelle_proto::v1::registry_service_client::RegistryServiceClient;
use kapelle_proto::v1::run_service_client::RunServiceClient;
use kapelle_proto::v1::submit_result::Result as Outcome;
use kapelle_proto::v1::{ApplyRequest, ExecuteRequest, ManifestSource, RunStatus, SubmitRequest};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::access::Authorized;
use crate::args::Fairness;
use crate::machine::{Broker, Part};
use crate::measure::percentile;
use crate::product::{apply, connect, coordinator, free_address};
use crate::rounds::part;

/// Tasks of the agent that are done at a time.
const AT_ONCE: usize = 8;
/// How long each takes.
pub(crate) const TASK: Duration = Duration::from_millis(20);
/// How often is looked whether all are queued.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Runs that each quiet tenant does before what is measured.
const WARM_UP: usize = 20;

/// What was found.
#[derive(Debug, Serialize)]
pub struct Shares {
    benchmark: &'static str,
    quiet_tenants: usize,
    noisy_tasks: usize,
    alone_p50_ms: f64,
    alone_p99_ms: f64,
    beside_p50_ms: f64,
    beside_p99_ms: f64,
    ratio_p50: f64,
    ratio_p99: f64,
    /// Tasks that the noisy one had done meanwhile: it is not locked out.
    noisy_done: usize,
}

impl Shares {
    /// The figures for people.
    #[must_use]
    pub fn table(&self) -> String {
        format!(
            "bench fairness: {} quiet tenants beside one with {} tasks, {AT_ONCE} tasks of {} ms at a time\n\
             alone   p50 {:>7.1} ms   p99 {:>7.1} ms\n\
             beside  p50 {:>7.1} ms   p99 {:>7.1} ms\n\
             ratio   p50 {:>7.2}      p99 {:>7.2}\n\
             meanwhile the noisy one had {} tasks done\n",
            self.quiet_tenants,
            self.noisy_tasks,
            TASK.as_millis(),
            self.alone_p50_ms,
            self.alone_p99_ms,
            self.beside_p50_ms,
            self.beside_p99_ms,
            self.ratio_p50,
            self.ratio_p99,
            self.noisy_done,
        )
    }
}

pub(crate) async fn run(args: &Fairness) -> anyhow::Result<Shares> {
    let common = &args.common;
    let broker = Broker::start(common).await?;
    let address = free_address()?;
    let (coordinator, _) = Part::spawn(&coordinator(&broker.url, &address, common, true))?;
    let channel = connect(&address, &broker.url, true).await?;
    let manifests = [agent(), workflow()];
    let source = |it: &Value| ManifestSource { json: it.to_string().into(), origin: String::new() };
    let request = ApplyRequest { manifests: manifests.iter().map(source).collect(), ..ApplyRequest::default() };
    apply(&mut RegistryServiceClient::new(channel.clone()), request).await?;
    let worker = Part::start(&part("product-worker", &broker.url, common)).await?;
    let mut client = RunServiceClient::new(channel);
    quiet(&client, args.tenants, WARM_UP).await?;
    let alone = quiet(&client, args.tenants, args.runs).await?;
    let noisy = noise(&mut client, args.noisy).await?;
    let bus = crate::backlog::bus(&broker.url).await?;
    queued(&bus).await?;
    let beside = quiet(&client, args.tenants, args.runs).await?;
    let left = bus.waiting_count(&"bench-sleep@1.0.0".parse()?).await?;
    let [alone_p50_ms, alone_p99_ms] = [0.5, 0.99].map(|share| percentile(&alone, share));
    let [beside_p50_ms, beside_p99_ms] = [0.5, 0.99].map(|share| percentile(&beside, share));
    let found = Shares {
        benchmark: "fairness",
        quiet_tenants: args.tenants,
        noisy_tasks: noisy,
        alone_p50_ms,
        alone_p99_ms,
        beside_p50_ms,
        beside_p99_ms,
        ratio_p50: beside_p50_ms / alone_p50_ms,
        ratio_p99: beside_p99_ms / alone_p99_ms,
        noisy_done: noisy.saturating_sub(usize::try_from(left)?),
    };
    drop(bus);
    worker.kill().await;
    coordinator.kill().await;
    broker.stop().await;
    if left == 0 {
        bail!("the noisy tenant was done before the quiet ones were: give it more with --noisy");
    }
    Ok(found)
}

fn agent() -> Value {
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Agent",
        "metadata": { "name": "bench-sleep", "version": "1.0.0", "owner": "bench@example.com" },
        "spec": {
            "role": {
                "purpose": "Takes its time.", "responsibilities": ["sleep"], "capabilities": ["bench.sleep"],
                "limits": { "concurrency": AT_ONCE, "timeout": "30s" },
            },
            "input": { "schema": {} }, "output": { "schema": {} }, "runtime": { "native": {} },
        },
    })
}

fn workflow() -> Value {
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Workflow",
        "metadata": { "name": "bench-fair", "version": "1.0.0", "owner": "bench@example.com" },
        "spec": {
            "input": { "schema": { "type": "object" } },
            "fairness": { "key": "${input.tenant}" },
            "steps": [{ "id": "sleep", "agent": "bench-sleep@^1", "with": "${input}" }],
        },
    })
}

fn submission(tenant: &str) -> SubmitRequest {
    let input = json!({ "tenant": tenant }).to_string().into();
    SubmitRequest { workflow: "bench-fair".into(), input, ..SubmitRequest::default() }
}

/// How long the runs of quiet tenants took, sorted, in ms: each does one after the other.
async fn quiet(client: &RunServiceClient<Authorized>, tenants: usize, runs: usize) -> anyhow::Result<Vec<f64>> {
    let tenant = async |name: String| -> anyhow::Result<Vec<f64>> {
        let mut client = client.clone();
        let mut took = Vec::with_capacity(runs);
        for _ in 0..runs {
            let begun = Instant::now();
            let request = ExecuteRequest { submit: Some(submission(&name)), wait_millis: 60_000 };
            let run = client.execute(request).await?.into_inner();
            if run.status != RunStatus::Completed as i32 {
                bail!("a run did not end COMPLETED: {run:?}");
            }
            took.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        Ok(took)
    };
    let all = try_join_all((0..tenants).map(|n| tenant(format!("quiet-{n}")))).await?;
    let mut all: Vec<f64> = all.into_iter().flatten().collect();
    all.sort_by(f64::total_cmp);
    Ok(all)
}

/// Queues the tasks of the noisy one.
async fn noise(client: &mut RunServiceClient<Authorized>, runs: usize) -> anyhow::Result<usize> {
    let requests = (0..runs as u64).map(|tag| SubmitRequest { tag, ..submission("noisy") });
    let mut answers = client.submit_batch(tokio_stream::iter(requests)).await?.into_inner();
    while let Some(answer) = answers.next().await {
        let Some(Outcome::Submitted(_)) = answer?.result else { bail!("a submission was refused") };
    }
    Ok(runs)
}

/// Waits until no more tasks come to those that wait: what is measured is the queue, not how many can be submitted beside it.
async fn queued(bus: &Bus) -> anyhow::Result<()> {
    let agent = "bench-sleep@1.0.0".parse()?;
    let mut before = 0;
    loop {
        let now = bus.waiting_count(&agent).await?;
        if now > 0 && now < before {
            return Ok(());
        }
        before = now;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
