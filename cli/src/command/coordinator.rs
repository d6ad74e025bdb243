//! `kapelle coordinator …`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use kapelle_bus::Bus;
use kapelle_bus::keys::Keys;
use kapelle_bus::layout::{Layout, TaskStorage};
use kapelle_coordinator::{Accepted, Config, Coordinator, Destinations, Identities, TlsFiles};
use kapelle_types::Partitions;
use serde_json::json;

use super::fleet;
use crate::app::{App, End};
use crate::client::Tls;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::shutdown::Signals;
use crate::stack::{self, Address, BROKER_PATIENCE};

/// What can be done with coordinators.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start a coordinator: it owns a share of the runs and serves the gRPC API. SIGTERM drains it, a second one ends it
    Start(Box<Start>),
    /// Coordinators that are there, and the partitions that each owns
    List,
    /// Make a new signing key at the broker: tokens of new runs' tasks derive from it within seconds. Runs that are open keep
    /// the key that they were submitted under
    RotateKey {
        #[command(flatten)]
        broker: Address,
    },
}

/// How to start a coordinator.
#[derive(Debug, Args)]
pub(crate) struct Start {
    #[command(flatten)]
    broker: Address,
    /// Where the gRPC API listens; port 0 takes a free one
    #[arg(long, default_value_t = stack::GRPC, value_name = "ADDRESS")]
    grpc_address: SocketAddr,
    /// Whose JWTs are accepted, beside API tokens: a YAML file that names issuers. Default: nobody's
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Who signs clients' certificates: a client without one is refused. Takes --tls-cert and --tls-key. Default: none is
    /// asked for
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,
    /// Where Prometheus finds the metrics; port 0 takes a free one
    #[arg(long, default_value_t = stack::METRICS_COORDINATOR, value_name = "ADDRESS")]
    metrics_address: SocketAddr,
    /// Partitions of the run log, where nothing is provisioned yet; never changed afterwards
    #[arg(long, default_value = "16", value_parser = stack::partitions)]
    partitions: Partitions,
    /// Copies of every stream, where nothing is provisioned yet: 1 on one node, 3 on a cluster
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: u8,
    /// Where queued tasks are kept. They are derived from the log, so losing them costs time and no work. Default: async on
    /// one node, memory on a cluster
    #[arg(long, value_enum, value_name = "async|file|memory", hide_possible_values = true)]
    tasks: Option<Tasks>,
    /// Its name; unique among those that live. Default: the name in its NATS credentials, or a random one
    #[arg(long)]
    id: Option<String>,
    /// Runs that may be open at once, over all coordinators; beyond it, submissions are refused
    #[arg(long, default_value_t = Config::default().open_runs_max, value_name = "RUNS")]
    open_runs_max: u64,
    /// Publish OpenLineage events on kapelle.event.lineage.*: two a run
    #[arg(long)]
    openlineage: bool,
    /// Who is told of approvals, by webhook and mail: a YAML file that names them. Default: nobody
    #[arg(long, value_name = "FILE")]
    notify: Option<PathBuf>,
    /// Memory for runs that are kept rebuilt, in MiB
    #[arg(long, default_value_t = Config::default().cache_bytes_max >> 20, value_name = "MIB")]
    cache_mib: usize,
}

/// Where queued tasks are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tasks {
    /// A file that is written behind the acknowledgement.
    Async,
    /// A file that is written before it, for backlogs that outgrow memory.
    File,
    /// Memory, copied over the cluster.
    Memory,
}

impl Start {
    fn config(&self, tls: &Tls) -> Result<Config, Failure> {
        let tasks = self.tasks.unwrap_or(if self.replicas > 1 { Tasks::Memory } else { Tasks::Async });
        let tasks = match tasks {
            Tasks::Async => TaskStorage::AsyncFile,
            Tasks::File => TaskStorage::File,
            Tasks::Memory => TaskStorage::Memory,
        };
        let identities = self.identity.as_deref().map(Identities::read).transpose()?.unwrap_or_default();
        let tls = tls.pair()?.map(|(cert, key)| TlsFiles {
            cert: cert.to_owned(),
            key: key.to_owned(),
            client_ca: self.tls_client_ca.clone(),
        });
        if tls.is_none() && self.tls_client_ca.is_some() {
            let hint = "Give `--tls-cert` and `--tls-key` too.";
            return Err(Failure::usage("`--tls-client-ca` asks for certificates, and there is no TLS", hint));
        }
        if tls.is_none() && !self.grpc_address.ip().is_loopback() {
            tracing::warn!(address = %self.grpc_address, "tokens come here unencrypted: give --tls-cert and --tls-key");
        }
        let defaults = Config::default();
        Ok(Config {
            id: self.id.clone().unwrap_or_else(|| defaults.id.clone()),
            grpc_address: self.grpc_address,
            layout: Layout { partitions: self.partitions, replicas: usize::from(self.replicas), tasks },
            open_runs_max: self.open_runs_max,
            cache_bytes_max: self.cache_mib << 20,
            openlineage: self.openlineage,
            notify: self.notify.as_deref().map(Destinations::read).transpose()?,
            accepted: Accepted::Known(identities),
            tls,
            ..defaults
        })
    }
}

/// `kapelle coordinator …`.
pub(crate) async fn run(app: &App, verb: Verb) -> End {
    match verb {
        Verb::Start(args) => start(app, *args).await,
        Verb::List => fleet::coordinators(app).await.map(|()| Exit::Ok),
        Verb::RotateKey { broker } => rotate_key(app, &broker).await,
    }
}

async fn start(app: &App, args: Start) -> End {
    let mut signals = Signals::listen()?;
    stack::must_be_free(args.grpc_address, "--grpc-address")?;
    let metrics = stack::metrics(args.metrics_address)?;
    let mut config = args.config(&app.target.tls)?;
    if let Some(credentials) = args.broker.credentials()? {
        let user = credentials.name().to_owned();
        if args.id.as_ref().is_some_and(|id| *id != user) {
            let message = format!("The NATS credentials are those of `{user}`, and `--id` says another name.");
            return Err(Failure::usage(
                message,
                "What a coordinator may do at the broker goes by its name; leave `--id` out.",
            ));
        }
        config.id = user;
        // Whose runs these are follows from who we are.
        config.namespace = credentials.namespace().unwrap_or(config.namespace);
    }
    let id = config.id.clone();
    let started = signals.unless(async {
        let connection = args.broker.connect(&format!("kapelle-coordinator {id}"), BROKER_PATIENCE).await?;
        let coordinator = Coordinator::start(config, connection.clone()).await.map_err(stack::taken_grpc)?;
        Ok::<_, Failure>((coordinator, connection))
    });
    let Some((coordinator, connection)) = started.await.transpose()? else { return Ok(Exit::Ok) };
    // Printed when it answers, for whoever started it and waits.
    let ready = json!({
        "role": "coordinator", "id": id, "grpc_address": coordinator.grpc_address().to_string(),
        "metrics_address": metrics.addr().to_string(), "nats_url": args.broker.nats_url, "pid": std::process::id(),
    });
    let sentence = format!(
        "Coordinator {id} answers on {}; metrics on http://{}/metrics.",
        coordinator.grpc_address(),
        metrics.addr()
    );
    app.output.stream(&ready, |_| sentence)?;
    signals.unless_refused(&connection).await?;
    tracing::info!("draining; a second signal ends it at once");
    signals.leave(coordinator.stop()).await
}

async fn rotate_key(app: &App, broker: &Address) -> End {
    let bus = Bus::open(broker.connect("kapelle-rotate-key", BROKER_PATIENCE).await?).await?;
    let key = Keys::open(&bus).await?.rotate().await?;
    let sentence = format!("New runs are submitted under signing key {key} from now on.");
    app.output.stream(&json!({ "signing_key": key }), |_| sentence)?;
    Ok(Exit::Ok)
}
