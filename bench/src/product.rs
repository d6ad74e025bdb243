//! The product's half of a round: `kapelle coordinator start`, a worker and this client, each a process.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures::StreamExt;
use kapelle_proto::v1::execute_result::Result as Outcome;
use kapelle_proto::v1::registry_service_client::RegistryServiceClient;
use kapelle_proto::v1::run_service_client::RunServiceClient;
use kapelle_proto::v1::{ApplyRequest, ExecuteRequest, ManifestSource, RunStatus, SubmitRequest};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::access::{Authorized, Bearer};
use crate::args::{Common, Kind, Workload};
use crate::machine::{Broker, Part, Usage};
use crate::measure::{Half, Timings};
use crate::rounds::{part, payload, warm_up};

/// Nothing takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// One half, with or without contracts, task tokens and policies.
pub(crate) async fn half(workload: &Workload, common: &Common, governed: bool) -> anyhow::Result<Half> {
    let broker = Broker::start(common).await?;
    let address = free_address()?;
    let arguments = coordinator(&broker.url, &address, common, governed);
    let (coordinator, _) = Part::spawn(&arguments)?;
    let channel = connect(&address, &broker.url, governed).await?;
    register(channel.clone(), workload, governed).await?;
    let worker = Part::start(&part("product-worker", &broker.url, common)).await?;
    let input: Bytes = serde_json::to_vec(&input(workload, common))?.into();
    let mut client = RunServiceClient::new(channel).max_decoding_message_size(64 << 20);
    drive(&mut client, &warm_up(workload), &input).await?;
    let own = std::process::id();
    let before = [broker.usage(), coordinator.usage(), worker.usage(), Usage::of(own)];
    let timings = drive(&mut client, workload, &input).await?;
    let usage = [
        ("broker", broker.usage().since(before[0])),
        ("coordinator", coordinator.usage().since(before[1])),
        ("worker", worker.usage().since(before[2])),
        ("client", Usage::of(own).since(before[3])),
    ];
    worker.kill().await;
    coordinator.kill().await;
    broker.stop().await;
    Ok(Half::new(workload, timings, &usage))
}

pub(crate) fn coordinator(url: &str, address: &str, common: &Common, governed: bool) -> Vec<String> {
    let partitions = common.partitions().to_string();
    let role = if governed { ["coordinator", "start"] } else { ["bench", "ungoverned-coordinator"] };
    let arguments = [
        role[0],
        role[1],
        "--log-filter",
        "warn",
        "--nats-url",
        url,
        "--grpc-address",
        address,
        "--metrics-address",
        "127.0.0.1:0",
        "--partitions",
        &partitions,
    ];
    arguments.map(str::to_owned).to_vec()
}

pub(crate) fn free_address() -> anyhow::Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.to_string())
}

/// Waits for the coordinator and shows it a token, if it wants one.
pub(crate) async fn connect(address: &str, broker_url: &str, governed: bool) -> anyhow::Result<Authorized> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20);
    let begun = Instant::now();
    loop {
        match endpoint.connect().await {
            Ok(channel) => {
                let bearer = if governed { Bearer::at_the_broker(broker_url).await? } else { Bearer::nobody() };
                return Ok(Authorized::new(channel, bearer));
            }
            Err(error) if begun.elapsed() > PATIENCE => return Err(error).context("the coordinator does not answer"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

fn input(workload: &Workload, common: &Common) -> Value {
    match workload.kind {
        Kind::Fanout => json!({ "items": (0..workload.steps).map(|_| payload(common.payload)).collect::<Vec<_>>() }),
        Kind::Throughput | Kind::Latency => payload(common.payload),
    }
}

/// The workflow: a chain of steps that hand on what they get, or one `foreach`.
fn workflow(workload: &Workload, governed: bool) -> Value {
    let steps: Vec<Value> = match workload.kind {
        Kind::Fanout => {
            vec![json!({ "id": "each", "agent": "bench-echo@1.0.0", "foreach": "${input.items}", "with": "${item}" })]
        }
        Kind::Throughput | Kind::Latency => (0..workload.steps)
            .map(|n| {
                let with = if n == 0 { "${input}".to_owned() } else { format!("${{steps.s{}.output}}", n - 1) };
                json!({ "id": format!("s{n}"), "agent": "bench-echo@1.0.0", "with": with })
            })
            .collect(),
    };
    let echoed = contract(governed);
    let (output, input, result) = match workload.kind {
        Kind::Fanout => (
            "${size(steps.each.outputs)}".to_owned(),
            json!({ "type": "object", "required": ["items"], "properties": { "items": { "type": "array", "items": echoed } } }),
            json!({ "type": "integer" }),
        ),
        Kind::Throughput | Kind::Latency => {
            (format!("${{steps.s{}.output}}", workload.steps - 1), echoed.clone(), echoed)
        }
    };
    let mut spec = json!({ "input": { "schema": input }, "steps": steps, "output": output });
    if governed {
        spec["result"] = json!({ "schema": result });
    }
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Workflow",
        "metadata": { "name": "bench", "version": format!("1.0.{}", workload.steps), "owner": "bench@example.com" },
        "spec": spec,
    })
}

/// What a payload has to be: exactly what is sent, or anything.
fn contract(governed: bool) -> Value {
    if !governed {
        return json!({ "type": "object" });
    }
    json!({
        "type": "object", "required": ["data"], "additionalProperties": false,
        "properties": { "data": { "type": "string", "maxLength": 16_777_216, "x-data-class": "internal" } },
    })
}

fn agent(governed: bool) -> Value {
    let contract = contract(governed);
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Agent",
        "metadata": { "name": "bench-echo", "version": "1.0.0", "owner": "bench@example.com" },
        "spec": {
            "role": {
                "purpose": "Returns what it gets.", "responsibilities": ["echo"], "capabilities": ["bench.echo"],
                "limits": { "concurrency": 10000, "timeout": "30s" },
            },
            "input": { "schema": contract }, "output": { "schema": contract }, "runtime": { "native": {} },
        },
    })
}

pub(crate) async fn register(channel: Authorized, workload: &Workload, governed: bool) -> anyhow::Result<()> {
    let source = |manifest: Value| -> anyhow::Result<ManifestSource> {
        Ok(ManifestSource { json: serde_json::to_vec(&manifest)?.into(), origin: String::new() })
    };
    let manifests = vec![source(agent(governed))?, source(workflow(workload, governed))?];
    let request = ApplyRequest { manifests, ..ApplyRequest::default() };
    apply(&mut RegistryServiceClient::new(channel), request).await
}

pub(crate) async fn apply(client: &mut RegistryServiceClient<Authorized>, request: ApplyRequest) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        match client.apply(request.clone()).await {
            Ok(_) => return Ok(()),
            // The coordinator hears of a token that was made at the broker a moment later.
            Err(status) if status.code() == Code::Unauthenticated && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(status) => return Err(status.into()),
        }
    }
}

/// Works through the workload once, over one stream.
async fn drive(
    client: &mut RunServiceClient<Authorized>,
    workload: &Workload,
    input: &Bytes,
) -> anyhow::Result<Timings> {
    let (sender, requests) = mpsc::channel(workload.in_flight.max(16));
    let request = |tag: usize| ExecuteRequest {
        submit: Some(SubmitRequest {
            workflow: "bench".into(),
            version: format!("=1.0.{}", workload.steps),
            input: input.clone(),
            tag: tag as u64,
            ..SubmitRequest::default()
        }),
        wait_millis: 0,
    };
    let mut answers = client.execute_batch(ReceiverStream::new(requests)).await?.into_inner();
    let mut started = vec![Instant::now(); workload.runs];
    let mut latencies = Vec::with_capacity(workload.runs);
    let begun = Instant::now();
    let mut next = 0;
    while latencies.len() < workload.runs {
        while next < workload.runs && next - latencies.len() < workload.in_flight {
            started[next] = Instant::now();
            sender.send(request(next)).await.context("the stream is closed")?;
            next += 1;
        }
        let answer = tokio::time::timeout(PATIENCE, answers.next()).await.context("the product stands still")?;
        let answer = answer.context("the stream ended")??;
        match answer.result {
            Some(Outcome::Run(run)) if run.status == RunStatus::Completed as i32 => {}
            other => bail!("a run did not end COMPLETED: {other:?}"),
        }
        let at = usize::try_from(answer.tag)?;
        latencies.push(started.get(at).context("a foreign answer")?.elapsed());
    }
    Ok(Timings { elapsed: begun.elapsed(), latencies })
}
