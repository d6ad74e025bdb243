//! How fast many queued steps drain, beside how fast the same steps are done while the queue is all but empty.
//!
//! One worker does some runs with a wide `foreach`, a few at a time; then it goes, all runs are submitted and their members
//! queued; then it comes back. What is compared is the steps per second of both, and what memory it took.

use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt;
use kapelle_bus::{Bus, ConnectConfig, Connection};
use kapelle_proto::v1::run_service_client::RunServiceClient;
use kapelle_proto::v1::submit_result::Result as Outcome;
use kapelle_proto::v1::{ListRunsRequest, RunStatus, SubmitRequest};
use kapelle_types::AgentVersion;
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::access::Authorized;
use crate::args::{Backlog, Governance, Kind, Workload};
use crate::machine::{Broker, Part, mib};
use crate::product::{connect, coordinator, free_address, register};
use crate::rounds::part;

/// Nothing takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(900);
/// How often is looked whether it is done.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What was found.
#[derive(Debug, Serialize)]
pub struct Drain {
    benchmark: &'static str,
    queued_steps: u64,
    /// With at most two runs queued at a time.
    empty_steps_per_second: f64,
    drain_steps_per_second: f64,
    ratio: f64,
    /// Steps that were queued in a second while nobody worked.
    queued_per_second: f64,
    coordinator: Memory,
    broker: Memory,
}

/// What a process held, in MiB.
#[derive(Debug, Default, Serialize)]
struct Memory {
    /// At most, while the queue was all but empty.
    empty_peak_mib: f64,
    /// At most, while all steps were queued and nobody worked.
    queueing_peak_mib: f64,
    /// When all were queued.
    queued_mib: f64,
    /// At most, while they drained.
    drain_peak_mib: f64,
}

impl Memory {
    fn row(&self, name: &str) -> String {
        let Self { empty_peak_mib, queueing_peak_mib, queued_mib, drain_peak_mib } = self;
        format!("{name:<11}{empty_peak_mib:>12.1}{queueing_peak_mib:>12.1}{queued_mib:>12.1}{drain_peak_mib:>12.1}\n")
    }
}

impl Drain {
    /// The figures for people.
    #[must_use]
    pub fn table(&self) -> String {
        format!(
            "bench backlog: {} queued steps, queued at {:.0} steps/s\n\
             empty queue  {:>8.0} steps/s\n\
             drain        {:>8.0} steps/s, ratio {:.2}\n\
             MiB         empty, peak    queueing  all queued    draining\n{}{}",
            self.queued_steps,
            self.queued_per_second,
            self.empty_steps_per_second,
            self.drain_steps_per_second,
            self.ratio,
            self.coordinator.row("coordinator"),
            self.broker.row("broker"),
        )
    }
}

#[allow(clippy::cast_precision_loss)] // counts far below 2^52
pub(crate) async fn run(args: &Backlog) -> anyhow::Result<Drain> {
    let common = &args.common;
    let broker = Broker::start(common).await?;
    let address = free_address()?;
    let (coordinator, _) = Part::spawn(&coordinator(&broker.url, &address, common, true))?;
    let channel = connect(&address, &broker.url, true).await?;
    let (width, runs) = (args.width.max(1), args.steps.div_ceil(args.width.max(1)).max(1));
    let workload = Workload { kind: Kind::Fanout, runs, steps: width, in_flight: runs, governance: Governance::On };
    register(channel.clone(), &workload, true).await?;
    let mut client = RunServiceClient::new(channel);
    let arguments = part("product-worker", &broker.url, common);

    let worker = Part::start(&arguments).await?;
    let sample = (runs / 10).clamp(2, 100);
    run_all(&mut client, width, 2).await?;
    let begun = Instant::now();
    for pair in (0..sample).step_by(2) {
        run_all(&mut client, width, (sample - pair).min(2)).await?;
    }
    let empty = (sample * width) as f64 / begun.elapsed().as_secs_f64();
    worker.kill().await;
    let (mut of_coordinator, mut of_broker) = (Memory::default(), Memory::default());
    of_coordinator.empty_peak_mib = mib(coordinator.usage().peak_bytes);
    of_broker.empty_peak_mib = mib(broker.usage().peak_bytes);
    coordinator.forget_peak();
    broker.forget_peak();

    let bus = bus(&broker.url).await?;
    let agent: AgentVersion = "bench-echo@1.0.0".parse()?;
    let begun = Instant::now();
    let done = completed(&mut client).await?;
    submit(&mut client, width, runs).await?;
    let queued = (runs * width) as u64;
    until("all are queued", async || Ok(bus.queue_state(&agent).await?.pending >= queued)).await?;
    let queued_per_second = queued as f64 / begun.elapsed().as_secs_f64();
    for (memory, usage) in [(&mut of_coordinator, coordinator.usage()), (&mut of_broker, broker.usage())] {
        (memory.queueing_peak_mib, memory.queued_mib) = (mib(usage.peak_bytes), mib(usage.resident_bytes));
    }
    coordinator.forget_peak();
    broker.forget_peak();
    let begun = Instant::now();
    let worker = Part::start(&arguments).await?;
    until("all are done", async || Ok(completed(&mut client.clone()).await? >= done + runs as u64)).await?;
    let drain = queued as f64 / begun.elapsed().as_secs_f64();
    of_coordinator.drain_peak_mib = mib(coordinator.usage().peak_bytes);
    of_broker.drain_peak_mib = mib(broker.usage().peak_bytes);
    let found = Drain {
        benchmark: "backlog",
        queued_steps: queued,
        empty_steps_per_second: empty,
        drain_steps_per_second: drain,
        ratio: drain / empty,
        queued_per_second,
        coordinator: of_coordinator,
        broker: of_broker,
    };
    worker.kill().await;
    coordinator.kill().await;
    broker.stop().await;
    Ok(found)
}

pub(crate) async fn bus(url: &str) -> anyhow::Result<Bus> {
    let config = ConnectConfig { url: url.to_owned(), name: "bench".into(), ..ConnectConfig::default() };
    Ok(Bus::open(Connection::open(&config, Duration::from_secs(10)).await?).await?)
}

/// Submits some runs and waits until they are done.
async fn run_all(client: &mut RunServiceClient<Authorized>, width: usize, runs: usize) -> anyhow::Result<()> {
    let done = completed(client).await?;
    submit(client, width, runs).await?;
    until("they are done", async || Ok(completed(&mut client.clone()).await? >= done + runs as u64)).await
}

async fn submit(client: &mut RunServiceClient<Authorized>, width: usize, runs: usize) -> anyhow::Result<()> {
    let items: Vec<_> = (0..width).map(|_| json!({ "data": "x" })).collect();
    let input: bytes::Bytes = serde_json::to_vec(&json!({ "items": items }))?.into();
    let requests = (0..runs as u64).map(move |tag| SubmitRequest {
        workflow: "bench".into(),
        input: input.clone(),
        tag,
        ..SubmitRequest::default()
    });
    let mut answers = client.submit_batch(tokio_stream::iter(requests)).await?.into_inner();
    while let Some(answer) = answers.next().await {
        let Some(Outcome::Submitted(_)) = answer?.result else { bail!("a submission was refused") };
    }
    Ok(())
}

/// How many runs have ended as they should.
async fn completed(client: &mut RunServiceClient<Authorized>) -> anyhow::Result<u64> {
    let statuses = vec![RunStatus::Completed as i32];
    let request = ListRunsRequest { limit: 1, statuses, ..ListRunsRequest::default() };
    Ok(client.list(request).await?.into_inner().total)
}

async fn until(what: &str, reached: impl AsyncFn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !reached().await? {
        if begun.elapsed() > PATIENCE {
            return Err(anyhow::anyhow!("not within {PATIENCE:?}: {what}")).context("the product stands still");
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}
