//! What many open runs need in memory: all are submitted, none has a worker, and the processes are looked at.

use anyhow::{Context as _, bail};
use futures::StreamExt;
use kapelle_proto::v1::run_service_client::RunServiceClient;
use kapelle_proto::v1::submit_result::Result as Outcome;
use kapelle_proto::v1::{ListRunsRequest, SubmitRequest};
use serde::Serialize;
use tokio::time::{Duration, Instant, sleep};

use crate::access::Authorized;
use crate::args::{Governance, Kind, Memory, Workload};
use crate::machine::{Broker, Part, mib};
use crate::product::{connect, coordinator, free_address, register};
use crate::rounds::payload;

/// Nothing takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was found.
#[derive(Debug, Serialize)]
pub struct MemoryUse {
    benchmark: &'static str,
    open_runs: u64,
    payload_bytes: usize,
    /// Submissions that were acknowledged in a second.
    submissions_per_second: f64,
    coordinator_peak_mib: f64,
    broker_peak_mib: f64,
}

impl MemoryUse {
    /// The figures for people.
    #[must_use]
    pub fn table(&self) -> String {
        let Self { open_runs, payload_bytes, submissions_per_second, coordinator_peak_mib, broker_peak_mib, .. } = self;
        format!(
            "bench memory: {open_runs} open runs, {payload_bytes} bytes each, {submissions_per_second:.0} submissions/s\n\
             coordinator  {coordinator_peak_mib:>8.1} MiB peak\n\
             broker       {broker_peak_mib:>8.1} MiB peak\n"
        )
    }
}

#[allow(clippy::cast_precision_loss)] // counts far below 2^52
pub(crate) async fn run(args: &Memory) -> anyhow::Result<MemoryUse> {
    let common = &args.common;
    let broker = Broker::start(common).await?;
    let address = free_address()?;
    let (coordinator, _) = Part::spawn(&coordinator(&broker.url, &address, common, true))?;
    let channel = connect(&address, &broker.url, true).await?;
    let workload = Workload {
        kind: Kind::Throughput,
        runs: args.runs,
        steps: 3,
        in_flight: args.runs,
        governance: Governance::On,
    };
    register(channel.clone(), &workload, true).await?;
    let mut client = RunServiceClient::new(channel);
    let input: bytes::Bytes = serde_json::to_vec(&payload(common.payload))?.into();
    let requests = (0..args.runs as u64).map(move |tag| SubmitRequest {
        workflow: "bench".into(),
        input: input.clone(),
        tag,
        ..SubmitRequest::default()
    });
    let begun = Instant::now();
    let mut answers = client.submit_batch(tokio_stream::iter(requests)).await?.into_inner();
    while let Some(answer) = answers.next().await {
        let Some(Outcome::Submitted(_)) = answer?.result else { bail!("a submission was refused") };
    }
    let elapsed = begun.elapsed();
    let open_runs = until_open(&mut client, args.runs as u64).await?;
    let found = MemoryUse {
        benchmark: "memory",
        open_runs,
        payload_bytes: common.payload,
        submissions_per_second: args.runs as f64 / elapsed.as_secs_f64(),
        coordinator_peak_mib: mib(coordinator.usage().peak_bytes),
        broker_peak_mib: mib(broker.usage().peak_bytes),
    };
    coordinator.kill().await;
    broker.stop().await;
    Ok(found)
}

/// Waits until the coordinator has applied all submissions, so that every run is in its table.
async fn until_open(client: &mut RunServiceClient<Authorized>, wanted: u64) -> anyhow::Result<u64> {
    let begun = Instant::now();
    loop {
        let listed = client.list(ListRunsRequest { limit: 1, ..ListRunsRequest::default() }).await?.into_inner();
        if listed.total >= wanted {
            return Ok(listed.total);
        }
        if begun.elapsed() > PATIENCE {
            return Err(anyhow::anyhow!("{} of {wanted} runs are open", listed.total)).context("the coordinator lags");
        }
        sleep(Duration::from_millis(200)).await;
    }
}
