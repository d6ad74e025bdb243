//! The worker's part of the product: a real worker with native agents: one returns what it gets, one takes its time.

use std::time::Duration;

use kapelle_bus::{Bus, ConnectConfig, Connection};
use kapelle_sdk::{Agent, AgentError, Output, Task, async_trait};
use kapelle_worker::{Config, Worker};

use crate::args::Part;
use crate::fairness::TASK;

struct Echo;

#[async_trait]
impl Agent for Echo {
    async fn run(&self, task: Task) -> Result<Output, AgentError> {
        Ok(Output::new(task.input.as_ref().clone()))
    }
}

struct Sleep;

#[async_trait]
impl Agent for Sleep {
    async fn run(&self, _: Task) -> Result<Output, AgentError> {
        tokio::time::sleep(TASK).await;
        Ok(Output::new(serde_json::Value::Null))
    }
}

pub(crate) async fn run(part: &Part) -> anyhow::Result<()> {
    let config = ConnectConfig { url: part.nats_url.clone(), name: "bench-worker".into(), ..ConnectConfig::default() };
    let bus = Bus::open(Connection::open(&config, Duration::from_secs(10)).await?).await?;
    let mut config =
        Config::new().native("bench-echo@1.0.0".parse()?, Echo).native("bench-sleep@1.0.0".parse()?, Sleep);
    config.slots = part.slots;
    let worker = Worker::start(config, bus).await?;
    crate::machine::say_ready()?;
    tokio::signal::ctrl_c().await?;
    worker.drain().await;
    Ok(())
}
