//! The worker: pulls the tasks of its agents, executes them within its slots, reports what became of them.
//!
//! ```text
//!   TASKS ──pull──▶ consumer ──▶ admission ──▶ executor ──▶ runtime {native, process, model}
//!     ▲  ▲             │                          │
//!     │  └──+WPI── lease                          ▼
//!     └────+ACK── reporter ◀────────────────── output
//!                    └──append──▶ RUN LOG (….report)
//! ```
//!
//! It reports first and acknowledges second, so that a crash at any point loses nothing: the task comes back when its
//! lease is over, and whoever gets it then reports the attempt as lost instead of doing it again. Started by `kapelle worker start`, by
//! `kapelle dev` and by programs that bring agents of their own (`examples/native-worker`). It reads no run log, decides
//! no retry and writes no other subject than its runs' reports, its presence, and what models say while they write it.

mod access;
mod admission;
mod budget;
mod config;
mod consumer;
mod drain;
mod error;
mod executor;
mod failure;
mod gate;
mod halt;
mod holds;
mod lease;
mod meters;
mod output;
mod redact;
mod reporter;
mod runtime;
pub mod sandbox;
mod secrets;
mod slots;
mod turns;
mod usage;
mod worker;

pub use access::{Access, Limits};
pub use config::{AgentSpec, Config, Environment, Folders, ModelSpec, ProcessSpec, Protocol, RuntimeSpec};
pub use drain::Drained;
pub use error::Error;
pub use sandbox::Sandbox;
pub use worker::{Handle, Worker};
