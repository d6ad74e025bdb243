//! `kapelle bench`: the real product against its floor, in one run, as ratios.
//!
//! ```text
//!   floor     client ──TASKS──▶ worker ──REPORTS_<p>──▶ client          bare JetStream: floor.rs, and nothing else
//!   product   client ──gRPC──▶ coordinator ──▶ worker ──▶ coordinator   the `kapelle` binary as users run it: product.rs
//! ```
//!
//! Both do the same number of steps with the same payloads on the same kind of broker; client, coordinator and worker are
//! processes of their own. Absolute figures of one machine say little, so each run prints the ratio of the two.
//!
//! With `--governance both` the product is measured twice, with and without contracts, task tokens and policies, to see
//! what they cost.

mod access;
mod args;
mod backlog;
mod fairness;
mod floor;
mod floor_worker;
mod machine;
mod measure;
mod memory;
mod product;
mod product_worker;
mod rounds;
mod table;
mod ungoverned;

pub use args::Args;
pub use backlog::Drain;
pub use fairness::Shares;
pub use memory::MemoryUse;
pub use rounds::Comparison;

use args::Command;

/// What a benchmark found.
#[derive(Debug, serde::Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// Floor and product side by side.
    Comparison(Box<Comparison>),
    /// What open runs need.
    Memory(MemoryUse),
    /// How a long queue drains.
    Drain(Drain),
    /// What a noisy tenant does to the others.
    Shares(Shares),
}

impl Outcome {
    /// The figures as a table.
    #[must_use]
    pub fn table(&self) -> String {
        match self {
            Self::Comparison(comparison) => comparison.table(),
            Self::Memory(memory) => memory.table(),
            Self::Drain(drain) => drain.table(),
            Self::Shares(shares) => shares.table(),
        }
    }
}

/// Runs the benchmark that the arguments ask for, or the part of one that this process was started for (then there is no
/// result).
///
/// # Errors
/// A broker or a process did not start, or a run did not end as it should.
pub async fn run(args: &Args) -> anyhow::Result<Option<Outcome>> {
    let (workload, common) = match &args.command {
        Command::Throughput(args) => args.workload(),
        Command::Latency(args) => args.workload(),
        Command::Fanout(args) => args.workload(),
        Command::Memory(args) => return memory::run(args).await.map(|m| Some(Outcome::Memory(m))),
        Command::Backlog(args) => return backlog::run(args).await.map(|it| Some(Outcome::Drain(it))),
        Command::Fairness(args) => return fairness::run(args).await.map(|it| Some(Outcome::Shares(it))),
        Command::FloorWorker(part) => return floor_worker::run(part).await.map(|()| None),
        Command::ProductWorker(part) => return product_worker::run(part).await.map(|()| None),
        Command::UngovernedCoordinator(part) => return ungoverned::run(part).await.map(|()| None),
    };
    let compared = rounds::run(&workload, common).await?;
    Ok(Some(Outcome::Comparison(Box::new(compared))))
}
