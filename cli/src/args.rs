//! The command line as a value: what every command shares, and the list of commands.

use clap::{Args, Parser, Subcommand};
use kapelle_telemetry::logs;

use crate::client::{Credential, DEFAULT_ADDRESS, Target, Tls};
use crate::command;
use crate::output::Format;

/// Kapelle: the orchestration layer for fleets of AI agents, on NATS JetStream.
#[derive(Debug, Parser)]
#[command(name = "kapelle", version, about, max_term_width = 110)]
#[command(after_help = "\
Start here:
  kapelle demo                     see it work on a real dependency tree
  kapelle dev                      run everything on this machine
  kapelle apply -f FILE            register agents and workflows
  kapelle run execute WORKFLOW     start a run and wait for its result

Exit codes: 0 ok, 1 failed, 2 usage, 3 denied, 4 not found, 5 unavailable.
Every error has a code such as K0201 with a page under docs/errors/.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) call: Call,
}

/// What this process was started for.
#[derive(Debug, Subcommand)]
pub(crate) enum Call {
    /// A worker: become an agent's program, within rules
    #[command(hide = true)]
    SandboxExec(command::sandbox_exec::Args),
    /// A person or a script
    #[command(flatten)]
    Command(Box<Command>),
}

/// What every command understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Shared {
    /// The coordinator's gRPC address
    #[arg(long, global = true, env = "KAPELLE_ADDRESS", hide_env_values = true, default_value = DEFAULT_ADDRESS, value_name = "URL")]
    pub(crate) address: String,

    /// The token, or JWT, that the coordinator is shown. Default: none, which `kapelle dev` alone accepts
    #[arg(long, global = true, env = "KAPELLE_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    token: Option<Credential>,

    #[command(flatten)]
    pub(crate) tls: Tls,

    /// How results are printed: table, json or yaml; with json, errors are a JSON object on stderr
    #[arg(short, long, global = true, value_enum, default_value_t, hide_possible_values = true, value_name = "FORMAT")]
    pub(crate) output: Format,

    /// How logs look on stderr: text or json
    #[arg(long, global = true, default_value_t = logs::Format::Text, value_name = "FORMAT")]
    pub(crate) log_format: logs::Format,

    /// What is logged, such as `kapelle_worker=debug`. Default: news from dev, coordinator and worker, only trouble from
    /// the other commands
    #[arg(long, global = true, env = "KAPELLE_LOG", hide_env_values = true, value_name = "FILTER")]
    pub(crate) log_filter: Option<String>,

    /// Log more; twice logs everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// The commands, in the order of `--help`: first steps, manifests, runs, operation.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show Kapelle at work: a software intake of a real dependency tree, from nothing to an SBOM
    Demo(command::demo::Args),
    /// Run everything on this machine: a real broker, a coordinator, a worker
    Dev(command::dev::Args),
    /// Check that everything that should answer does, and say what mends what does not
    Doctor(command::doctor::Args),
    /// Check agents and workflows, and say what `apply` would do; changes nothing
    Plan(command::plan::Args),
    /// Compare the contracts of new versions with the registered ones, and with the workflows that use them
    Diff(command::diff::Args),
    /// Register agents and workflows: all of them or nothing
    Apply(command::apply::Args),
    /// Agents that are registered
    #[command(subcommand)]
    Agent(command::agent::Verb),
    /// Workflows that are registered
    #[command(subcommand)]
    Workflow(command::registry::Verb),
    /// Start, watch and steer runs
    #[command(subcommand)]
    Run(command::run::Verb),
    /// Which versions of agents and workflows the runs to come get
    #[command(subcommand)]
    Release(command::release::Verb),
    /// Start runs at given times
    #[command(subcommand)]
    Schedule(command::schedule::Verb),
    /// Who did what in the runs since, what flowed between steps, and where that is not as declared
    Lineage(command::lineage::Args),
    /// Approvals: steps that wait for people
    #[command(subcommand)]
    Approval(command::approval::Verb),
    /// Dead letters: steps that gave up
    #[command(subcommand)]
    Dlq(command::dlq::Verb),
    /// The queues of the agents
    #[command(subcommand)]
    Queue(command::fleet::QueueVerb),
    /// Policies: who may do what, and why
    #[command(subcommand)]
    Policy(command::policy::Verb),
    /// The audit trail: who did, or was denied, what
    #[command(subcommand)]
    Audit(command::audit::Verb),
    /// Start a worker; list those that are there
    #[command(subcommand)]
    Worker(command::worker::Verb),
    /// Start a coordinator; list those that are there
    #[command(subcommand)]
    Coordinator(command::coordinator::Verb),
    /// API tokens: who may call
    #[command(subcommand)]
    Token(command::token::Verb),
    /// A broker of one's own: whom it trusts
    #[command(subcommand)]
    Broker(command::broker::Verb),
    /// Namespaces: tenants at the broker, with quotas
    #[command(subcommand)]
    Namespace(command::namespace::Verb),
    /// NATS credentials: who may connect to the broker, as what
    #[command(subcommand)]
    Credentials(command::credentials::Verb),
    /// Measure the product against bare JetStream, as ratios
    Bench(kapelle_bench::Args),
}

impl Command {
    /// Whether this process becomes a part of the system that runs until it is stopped.
    pub(crate) const fn is_role(&self) -> bool {
        matches!(
            self,
            Self::Dev(_)
                | Self::Worker(command::worker::Verb::Start(_))
                | Self::Coordinator(command::coordinator::Verb::Start(_))
        )
    }
}

impl Shared {
    /// The coordinator that commands talk to.
    pub(crate) fn target(&self) -> Target {
        Target { address: self.address.clone(), credential: self.token.clone(), tls: self.tls.clone() }
    }

    /// The log filter that `-v`, `--log-filter` and the kind of command come to.
    pub(crate) fn filter(&self, role: bool) -> &str {
        match (&self.log_filter, self.verbose) {
            (Some(filter), _) => filter,
            (None, 0) if role => logs::DEFAULT_FILTER,
            // A worker of a trial may look for its queue before that is there; it asks again, and nobody has to know.
            (None, 0) => "warn,async_nats=error,kapelle_bus::pull=error",
            (None, 1) => "info,kapelle=debug",
            (None, _) => "debug",
        }
    }
}

#[cfg(test)]
mod tests;
