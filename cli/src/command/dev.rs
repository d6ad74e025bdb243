//! `kapelle dev`: everything on this machine, in one process beside a real broker.

use std::net::SocketAddr;
use std::path::PathBuf;

use kapelle_broker::Durability;
use kapelle_types::Partitions;
use serde_json::json;

use super::apply;
use crate::app::{App, End};
use crate::client::{Client, DEFAULT_ADDRESS};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::manifests;
use crate::output::{bold, dim};
use crate::shutdown::Signals;
use crate::stack::{self, Address, BrokerPlan, Confinement, DEFAULT_NATS_URL, Embedded, NatsTls, Settings, Stack};

/// How to run everything.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It runs the agents that are applied to it, and whoever calls it without a token is its
administrator: so its gRPC address is one of this machine alone.

What survives: with `--durability standard`, everything that was acknowledged survives a killed
process, and all but the last 100 ms a power cut; with `power`, everything survives both.")]
pub(crate) struct Args {
    /// The folder that the broker's store lies in
    #[arg(long, default_value = ".kapelle/dev", value_name = "DIR")]
    data_dir: PathBuf,
    /// What survives a power cut: standard (all but the last 100 ms) or power (everything)
    #[arg(long, default_value_t = Durability::Standard)]
    durability: Durability,
    /// Use this running NATS instead of starting one. Default: none
    #[arg(long, env = "KAPELLE_NATS_URL", hide_env_values = true, value_name = "URL", conflicts_with = "nats_server")]
    nats_url: Option<String>,
    /// A NATS credentials file, for --nats-url. Default: none
    #[arg(long, env = "KAPELLE_NATS_CREDS", hide_env_values = true, value_name = "FILE")]
    nats_creds: Option<PathBuf>,
    #[command(flatten)]
    nats_tls: NatsTls,
    /// The nats-server to start. Default: the one on the PATH if it is new enough, else one that is fetched once
    #[arg(long, value_name = "PATH")]
    nats_server: Option<PathBuf>,
    /// The port of the broker on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = stack::NATS, value_name = "PORT")]
    nats_port: u16,
    /// Where the gRPC API listens; port 0 takes a free one
    #[arg(long, default_value_t = stack::GRPC, value_name = "ADDRESS")]
    grpc_address: SocketAddr,
    /// Where Prometheus finds the metrics of coordinator and worker; port 0 takes a free one
    #[arg(long, default_value_t = stack::METRICS_COORDINATOR, value_name = "ADDRESS")]
    metrics_address: SocketAddr,
    /// Manifests to apply at the start: files, or folders with everything below them; repeat it for more
    #[arg(long, num_args = 1.., value_name = "DIR")]
    agents: Vec<PathBuf>,
    /// Tasks that the worker does at once, over all agents. Default: twice the cores, at least 8
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    slots: Option<u16>,
    /// Partitions of the run log, fixed when the store is created. Default: 4, or 8 with `--durability power`
    #[arg(long, value_parser = stack::partitions)]
    partitions: Option<Partitions>,
    /// Publish OpenLineage events on kapelle.event.lineage.*: two a run
    #[arg(long)]
    openlineage: bool,
    #[command(flatten)]
    confinement: Confinement,
}

impl Args {
    fn settings(&self) -> Settings {
        let broker = match &self.nats_url {
            Some(url) => BrokerPlan::Running(Address {
                nats_url: url.clone(),
                nats_creds: self.nats_creds.clone(),
                nats_tls: self.nats_tls.clone(),
            }),
            None => BrokerPlan::Embedded(Embedded {
                folder: self.data_dir.join("nats"),
                port: (self.nats_port != 0).then_some(self.nats_port),
                durability: self.durability,
                binary: self.nats_server.clone(),
            }),
        };
        Settings {
            broker,
            layout: stack::one_node(self.partitions, self.durability),
            grpc_address: self.grpc_address,
            slots: self.slots.map(usize::from),
            openlineage: self.openlineage,
            confinement: self.confinement.clone(),
        }
    }
}

/// `kapelle dev`.
pub(crate) async fn run(app: &App, args: Args) -> End {
    let mut signals = Signals::listen()?;
    let manifests = if args.agents.is_empty() { Vec::new() } else { manifests::read(&args.agents)? };
    if !args.grpc_address.ip().is_loopback() {
        let message = format!("`kapelle dev` asks nobody who they are, so it does not listen on {}", args.grpc_address);
        return Err(Failure::usage(message, "Listen on 127.0.0.1; for others there is `kapelle coordinator start`."));
    }
    stack::must_be_free(args.grpc_address, "--grpc-address")?;
    let metrics = stack::metrics(args.metrics_address)?;
    let Some(stack) = signals.unless(Stack::start(args.settings())).await.transpose()? else { return Ok(Exit::Ok) };
    let told = async {
        if !manifests.is_empty() {
            apply::apply(&Client::connect(&stack.address().into()).await?, &manifests).await?;
        }
        let ready = json!({
            "role": "dev", "address": stack.address(), "grpc_address": stack.address().trim_start_matches("http://"),
            "metrics_address": metrics.addr().to_string(), "nats_url": stack.nats_url(),
            "data_dir": args.data_dir, "pid": std::process::id(),
        });
        app.output.stream(&ready, |_| banner(&args, &stack, metrics.addr(), &app.program))
    };
    let told: Result<(), Failure> = told.await;
    if told.is_ok() {
        signals.next().await;
        tracing::info!("stopping in order; a second signal ends it at once");
    }
    let left = signals.leave(stack.stop()).await;
    told.and(left)
}

fn banner(args: &Args, stack: &Stack, metrics: SocketAddr, program: &str) -> String {
    let survives = match args.durability {
        Durability::Standard => "survives a killed process; a power cut but for the last 100 ms",
        Durability::Power => "survives a killed process and a power cut",
    };
    let broker = match stack.broker_version() {
        Some(version) => format!("nats-server {version}, {survives}"),
        None => "yours; its own sync policy holds".to_owned(),
    };
    let address = stack.address();
    let flag = if address == DEFAULT_ADDRESS { String::new() } else { format!(" --address {address}") };
    let line = |name: &str, value: &str, note: &str| format!("  {name:<9} {value:<34} {}\n", dim(note));
    let mut text = format!("\n  {}\n\n", bold(&format!("Kapelle {} plays.", env!("CARGO_PKG_VERSION"))));
    text += &line("API", &address, "gRPC, with health and reflection");
    text += &line("metrics", &format!("http://{metrics}/metrics"), "for Prometheus");
    text += &line("broker", stack.nats_url(), &broker);
    if stack.broker_version().is_some() {
        text += &line("data", &args.data_dir.display().to_string(), "runs are kept here and go on at the next start");
    }
    text += &format!("\n  {}\n", bold("Next, in another terminal"));
    let broker =
        if stack.nats_url() == DEFAULT_NATS_URL { String::new() } else { format!(" --nats-url {}", stack.nats_url()) };
    for next in ["apply -f examples/software-intake", "workflow list", "run list"] {
        text += &format!("  {program} {next}{flag}\n");
    }
    text += &format!("  {program} doctor{flag}{broker}\n");
    text + &format!("\n  {}\n", dim("Ctrl-C stops it in order."))
}
