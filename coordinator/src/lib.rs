//! The coordinator: owns partitions of the run log, drives the runs in them and answers clients.
//!
//! ```text
//!   gRPC ─────▶ api ──▶ submit ──▶ RUN LOG ──▶ partition (read, decide, perform) ──▶ TASKS, timers, dead letters
//!   NATS ─────▶ direct ──┘            ▲                │
//!                                     └── finish mark ─┘          ownership: which partitions are ours
//! ```
//!
//! Any number of coordinators run beside each other. None holds state: what it knows is a cache of what the log says.

mod admission;
mod api;
pub mod catalog;
mod config;
mod coordinator;
mod direct;
pub mod listing;
pub mod ownership;
pub mod partition;
pub mod partitions;
pub mod plans;
pub mod runs;
pub mod submit;
mod watchers;

pub use config::{Assignment, Config, GRPC_PORT};
pub use coordinator::{Coordinator, Handle};
