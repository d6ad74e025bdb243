//! `kapelle worker …`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use kapelle_bus::{Bus, Connection, Error};
use kapelle_manifest::Manifest;
use kapelle_worker::{AgentSpec, Config, Worker};
use serde_json::json;

use super::fleet;
use crate::app::{App, End};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::manifests;
use crate::shutdown::Signals;
use crate::stack::{self, Address, BROKER_PATIENCE, Confinement};

/// How often a worker that came before any coordinator looks again.
const PROVISIONED_LOOK: Duration = Duration::from_millis(500);

/// What can be done with workers.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start a worker: it executes the tasks of its agents. SIGTERM drains it, a second one ends it
    Start(Box<Start>),
    /// Workers that are there, and the agents that each serves
    List,
}

/// How to start a worker.
#[derive(Debug, Args)]
pub(crate) struct Start {
    #[command(flatten)]
    broker: Address,
    /// A manifest file, or a folder with everything below it, whose process and model agents are served; repeat it for
    /// more. The manifests have to be registered too (`kapelle apply`)
    #[arg(long, required = true, num_args = 1.., value_name = "DIR")]
    agents: Vec<PathBuf>,
    /// Tasks that it does at once, over all its agents. Default: twice the cores, at least 8
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    slots: Option<u16>,
    /// Where Prometheus finds the metrics; port 0 takes a free one
    #[arg(long, default_value_t = stack::METRICS_WORKER, value_name = "ADDRESS")]
    metrics_address: SocketAddr,
    /// Its name, unique among those that live. With NATS credentials it is their name, or their name, a dot and what tells it
    /// from others that share them. Default: a random one
    #[arg(long)]
    id: Option<String>,
    /// How long a drain waits for what runs
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    drain_grace: Duration,
    #[command(flatten)]
    confinement: Confinement,
}

/// `kapelle worker …`.
pub(crate) async fn run(app: &App, verb: Verb) -> End {
    match verb {
        Verb::Start(args) => start(app, *args).await,
        Verb::List => fleet::workers(app).await.map(|()| Exit::Ok),
    }
}

async fn start(app: &App, args: Start) -> End {
    let mut signals = Signals::listen()?;
    let mut config = Config { drain_grace: args.drain_grace, agents: agents(&args.agents)?, ..Config::default() };
    config.slots = args.slots.map_or(config.slots, usize::from);
    config.id = id(args.id, args.broker.credentials()?.map(|credentials| credentials.name().to_owned()), config.id)?;
    config = args.confinement.apply(config)?;
    let id = config.id.clone();
    let served: Vec<_> = config.agents.iter().map(|a| a.version.to_string()).collect();
    let metrics = stack::metrics(args.metrics_address)?;
    let started = signals.unless(async {
        let connection = args.broker.connect(&format!("kapelle-worker {id}"), BROKER_PATIENCE).await?;
        let bus = provisioned(connection.clone()).await?;
        let worker = Worker::start(config, bus).await.map_err(|e| stack::worker_failure(&e))?;
        Ok::<_, Failure>((worker, connection))
    });
    let Some((worker, connection)) = started.await.transpose()? else { return Ok(Exit::Ok) };
    // Printed when it is ready, for whoever started it and waits.
    let ready = json!({
        "role": "worker", "id": id, "agents": served, "metrics_address": metrics.addr().to_string(),
        "nats_url": args.broker.nats_url, "pid": std::process::id(),
    });
    let sentence = format!("Worker {id} serves {}; metrics on http://{}/metrics.", served.join(", "), metrics.addr());
    app.output.stream(&ready, |_| sentence)?;
    signals.unless_refused(&connection).await?;
    tracing::info!("draining; a second signal ends it at once");
    let left = async {
        worker.drain().await; // it has logged how it went
    };
    signals.leave(left).await
}

/// A worker's id: the one that is wanted, which has to fit the name in its NATS credentials, or one that does.
fn id(wanted: Option<String>, user: Option<String>, random: String) -> Result<String, Failure> {
    let Some(user) = user else { return Ok(wanted.unwrap_or(random)) };
    let Some(wanted) = wanted else {
        let instance = random.rsplit('-').next().unwrap_or_default();
        return Ok(format!("{user}.{instance}"));
    };
    if wanted.split('.').next() == Some(&*user) {
        return Ok(wanted);
    }
    let message = format!("The NATS credentials are those of `{user}`, and `--id {wanted}` does not begin with it.");
    Err(Failure::usage(message, format!("Say `--id {user}` or `--id {user}.SOMETHING`, or leave it out.")))
}

/// The agents of these manifests that a worker can serve.
fn agents(sources: &[PathBuf]) -> Result<Vec<AgentSpec>, Failure> {
    let found = manifests::read(sources)?;
    let agents = found.iter().filter_map(|f| match &f.sourced.manifest {
        Manifest::Agent(agent) => manifests::spec(agent, &f.folder),
        Manifest::Workflow(_) => None,
    });
    let agents: Vec<_> = agents.collect();
    if agents.is_empty() {
        let hint =
            "`--agents` takes folders with manifests of kind Agent and `runtime: { process: … }` or `{ model: … }`.";
        return Err(Failure::usage("There is no agent to serve.", hint));
    }
    Ok(agents)
}

/// Waits for the first coordinator of this broker: it provisions the streams and fixes the number of partitions.
async fn provisioned(connection: Connection) -> Result<Bus, Failure> {
    let mut told = false;
    loop {
        match Bus::open(connection.clone()).await {
            Ok(bus) => return Ok(bus),
            Err(Error::NotFound(_) | Error::Unavailable(_)) => {
                if !told {
                    tracing::info!("waiting for a coordinator to provision the broker");
                    told = true;
                }
                tokio::time::sleep(PROVISIONED_LOOK).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_fits_the_credentials() {
        let of = |wanted: Option<&str>, user: Option<&str>| {
            id(wanted.map(str::to_owned), user.map(str::to_owned), "worker-0192-abcd".into()).ok()
        };
        assert_eq!(of(None, None).as_deref(), Some("worker-0192-abcd"));
        assert_eq!(of(Some("x"), None).as_deref(), Some("x"));
        assert_eq!(of(None, Some("w1")).as_deref(), Some("w1.abcd"));
        assert_eq!(of(Some("w1"), Some("w1")).as_deref(), Some("w1"));
        assert_eq!(of(Some("w1.a"), Some("w1")).as_deref(), Some("w1.a"));
        assert_eq!(of(Some("w2"), Some("w1")), None);
    }
}
