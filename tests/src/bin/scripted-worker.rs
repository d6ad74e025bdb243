//! A worker of its own process whose one agent does what its input says, for end-to-end tests.
//!
//! `scripted-worker NATS_URL SLOTS METRICS_ADDRESS [NATS_CREDS]`. It prints one line of JSON when it is ready and drains on SIGTERM. The
//! input: `sleep_ms` before it answers, `fail_attempts` first attempts that fail. It answers with its input, `value` one
//! higher.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use kapelle_bus::{Bus, ConnectConfig, Connection, Credentials};
use kapelle_sdk::{Agent, AgentError, Output, Task, async_trait};
use kapelle_telemetry::{logs, metrics};
use kapelle_worker::{Config, Worker};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

struct Scripted;

#[async_trait]
impl Agent for Scripted {
    async fn run(&self, task: Task) -> Result<Output, AgentError> {
        let number = |name: &str| task.input.get(name).and_then(Value::as_u64).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(number("sleep_ms"))).await;
        if u64::from(task.attempt) <= number("fail_attempts") {
            return Err(AgentError::retryable("scripted", "the input says so"));
        }
        let mut output = task.input.as_ref().clone();
        output["value"] = json!(number("value") + 1);
        Ok(Output::new(output))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (required, credentials) = arguments.split_at(arguments.len().min(3));
    let ([url, slots, metrics_address], [] | [_]) = (required, credentials) else {
        anyhow::bail!("usage: scripted-worker NATS_URL SLOTS METRICS_ADDRESS [NATS_CREDS]");
    };
    logs::init(logs::Format::Text, logs::DEFAULT_FILTER)?;
    let metrics = metrics::install(metrics_address.parse()?)?;
    let credentials = credentials.first().map(PathBuf::from);
    let mut config = Config { slots: slots.parse()?, ..Config::new() };
    if let Some(file) = &credentials {
        config.id = Credentials::read(file)?.name().to_owned();
    }
    let name = "scripted-worker".into();
    let connect = ConnectConfig { url: url.clone(), credentials, name, ..ConnectConfig::default() };
    let connection = Connection::open(&connect, Duration::from_secs(30)).await?;
    let bus = Bus::open(connection).await.context("is a coordinator running on this broker?")?;
    let worker = Worker::start(config.native("scripted@1.0.0".parse()?, Scripted), bus).await?;
    let ready = json!({ "role": "worker", "id": worker.id(), "metrics_address": metrics.addr().to_string() });
    writeln!(std::io::stdout(), "{ready}")?;
    signal(SignalKind::terminate())?.recv().await;
    worker.drain().await;
    Ok(())
}
