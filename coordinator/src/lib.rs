//! The coordinator: owns partitions of the run log, drives the runs in them and answers clients.
//!
//! ```text
//!   gRPC ──identity, access──▶ api ──▶ submit ──▶ RUN LOG ──▶ partition (read, decide, perform) ──▶ TASKS, timers, …
//!   NATS ─────────────────▶ direct ──────┘            ▲                │
//!                                                     └── finish mark ─┘    ownership: which partitions are ours
//! ```
//!
//! Any number of coordinators run beside each other. None holds state: what it knows is a cache of what the log says.

mod access;
mod admission;
mod api;
mod approvals;
mod audit;
pub mod catalog;
pub mod certificate;
mod config;
mod coordinator;
mod deprecate;
mod direct;
mod followers;
mod identity;
pub mod listing;
mod observed;
mod openlineage;
pub mod ownership;
pub mod partition;
pub mod partitions;
pub mod pinned;
pub mod plans;
mod policies;
mod questions;
mod release;
mod retire;
pub mod rollout;
pub mod runs;
mod schedules;
mod stop;
pub mod submit;
mod tls;
mod turns;
mod watchers;
mod why;

pub use approvals::Destinations;
pub use config::{Assignment, Config, GRPC_PORT, Governance};
pub use coordinator::{Coordinator, Handle};
pub use identity::{Accepted, Identities};
pub use partition::open_runs;
pub use tls::Files as TlsFiles;
