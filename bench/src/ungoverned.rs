//! The product's coordinator without contracts, task tokens and policies: what they cost is the difference to the real one.
//!
//! It answers this machine alone, and as the development identity, which may do everything anyway.

use std::time::Duration;

use anyhow::Context as _;
use kapelle_bus::layout::Layout;
use kapelle_bus::{ConnectConfig, Connection};
use kapelle_coordinator::{Accepted, Config, Coordinator, Governance};
use kapelle_types::Partitions;

use crate::args::Ungoverned;

pub(crate) async fn run(part: &Ungoverned) -> anyhow::Result<()> {
    // The real coordinator counts and is read out too.
    let _metrics = kapelle_telemetry::metrics::install(part.metrics_address)?;
    let broker =
        ConnectConfig { url: part.nats_url.clone(), name: "bench-coordinator".into(), ..ConnectConfig::default() };
    let connection = Connection::open(&broker, Duration::from_secs(10)).await?;
    let defaults = Config::default();
    let partitions = Partitions::new(part.partitions).context("no partitions")?;
    let config = Config {
        grpc_address: part.grpc_address,
        layout: Layout { partitions, ..defaults.layout.clone() },
        accepted: Accepted::Development,
        governance: Governance::Off,
        ..defaults
    };
    let coordinator = Coordinator::start(config, connection).await.map_err(|e| anyhow::anyhow!("{e}"))?;
    crate::machine::say_ready()?;
    tokio::signal::ctrl_c().await?;
    coordinator.stop().await;
    Ok(())
}
