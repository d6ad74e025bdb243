//! What can be measured and how much of it.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use kapelle_broker::Durability;

/// Compares the product with bare JetStream and prints ratios.
#[derive(Debug, Clone, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Command {
    /// Many runs at once: steps per second and CPU.
    Throughput(Throughput),
    /// One run at a time: how long a run of some steps takes.
    Latency(Latency),
    /// One run with a wide `foreach`: how long all members take.
    Fanout(Fanout),
    /// Many open runs: what memory the coordinator and the broker need.
    Memory(Memory),
    /// Many queued steps: how fast they drain, beside an empty queue.
    Backlog(Backlog),
    /// One noisy tenant: how much longer the others wait.
    Fairness(Fairness),
    /// The worker's part of the floor; `bench` starts it by itself.
    #[command(hide = true)]
    FloorWorker(Part),
    /// The worker's part of the product; `bench` starts it by itself.
    #[command(hide = true)]
    ProductWorker(Part),
    /// The product's coordinator without governance; `bench` starts it by itself.
    #[command(hide = true)]
    UngovernedCoordinator(Ungoverned),
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Throughput {
    /// Runs in each round.
    #[arg(long, default_value_t = 10_000)]
    runs: usize,
    /// Steps of each run, one after the other.
    #[arg(long, default_value_t = 3)]
    steps: usize,
    /// Runs that are open at once.
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// Whether contracts, task tokens and policies hold while it is measured. `both` measures the product twice in each
    /// round and compares
    #[arg(long, value_enum, default_value_t = Governance::On)]
    governance: Governance,
    #[command(flatten)]
    common: Common,
}

/// Whether contracts, task tokens and policies hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Governance {
    /// As Kapelle runs.
    On,
    /// Without them, as nobody runs it.
    Off,
    /// With and without, in turn.
    Both,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Latency {
    /// Runs in each round, one after the other.
    #[arg(long, default_value_t = 2_000)]
    runs: usize,
    /// Steps of each run, one after the other.
    #[arg(long, default_value_t = 3)]
    steps: usize,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Fanout {
    /// Members of the `foreach`.
    #[arg(long, default_value_t = 1_000)]
    width: usize,
    /// Runs in each round, one after the other.
    #[arg(long, default_value_t = 10)]
    runs: usize,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Memory {
    /// Runs that are open at once; no worker is there, so all of them wait.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) runs: usize,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Backlog {
    /// Steps that are queued before anybody works.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) steps: usize,
    /// Steps of each run, as members of its `foreach`.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) width: usize,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Fairness {
    /// Tenants that run one thing after the other.
    #[arg(long, default_value_t = 4)]
    pub(crate) tenants: usize,
    /// Runs of each of them.
    #[arg(long, default_value_t = 300)]
    pub(crate) runs: usize,
    /// Tasks that the noisy one has queued.
    #[arg(long, default_value_t = 20_000)]
    pub(crate) noisy: usize,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Common {
    /// Rounds; floor and product take turns in each, and the middle ratio counts.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 256)]
    pub(crate) payload: usize,
    /// What the broker's acknowledgement means on power loss; for floor and product alike.
    #[arg(long, default_value_t = Durability::Standard)]
    pub(crate) durability: Durability,
    /// Partitions of the run log and of the floor's reports. Default: 4, or 8 with `--durability power`.
    #[arg(long)]
    pub(crate) partitions: Option<u16>,
    /// Tasks that a worker has at once.
    #[arg(long, default_value_t = 256)]
    pub(crate) slots: usize,
    /// Measures on this broker instead of on one of its own; `--durability` is then what that broker has.
    #[arg(long, env = "KAPELLE_NATS_URL")]
    pub(crate) nats_url: Option<String>,
    /// The nats-server to start.
    #[arg(long)]
    pub(crate) nats_server: Option<PathBuf>,
}

impl Common {
    /// Partitions, as the product itself would choose them.
    pub(crate) fn partitions(&self) -> u16 {
        self.partitions.unwrap_or(match self.durability {
            Durability::Standard => 4,
            Durability::Power => 8,
        })
    }
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Part {
    #[arg(long)]
    pub(crate) nats_url: String,
    #[arg(long)]
    pub(crate) slots: usize,
    #[arg(long)]
    pub(crate) partitions: u16,
}

#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Ungoverned {
    #[arg(long)]
    pub(crate) nats_url: String,
    #[arg(long)]
    pub(crate) grpc_address: SocketAddr,
    #[arg(long)]
    pub(crate) metrics_address: SocketAddr,
    #[arg(long)]
    pub(crate) partitions: u16,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Workload {
    pub(crate) kind: Kind,
    pub(crate) runs: usize,
    /// Steps in a row, or members of the fan-out.
    pub(crate) steps: usize,
    pub(crate) in_flight: usize,
    pub(crate) governance: Governance,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Throughput,
    Latency,
    Fanout,
}

impl Governance {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Both => "both",
        }
    }
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::Fanout => "fanout",
        }
    }
}

impl Throughput {
    pub(crate) fn workload(&self) -> (Workload, &Common) {
        let (runs, steps, in_flight) = (self.runs.max(1), self.steps.max(1), self.in_flight.max(1));
        (Workload { kind: Kind::Throughput, runs, steps, in_flight, governance: self.governance }, &self.common)
    }
}

impl Latency {
    pub(crate) fn workload(&self) -> (Workload, &Common) {
        let (runs, steps) = (self.runs.max(1), self.steps.max(1));
        (Workload { kind: Kind::Latency, runs, steps, in_flight: 1, governance: Governance::On }, &self.common)
    }
}

impl Fanout {
    pub(crate) fn workload(&self) -> (Workload, &Common) {
        let (runs, steps) = (self.runs.max(1), self.width.max(1));
        (Workload { kind: Kind::Fanout, runs, steps, in_flight: 1, governance: Governance::On }, &self.common)
    }
}
