//! The one place that speaks NATS: what is provisioned, and small ports for the run log, tasks, timers, dead letters,
//! manifests, tokens, policies, the audit trail, cursors, payloads, presence, pace and money of agents, and direct
//! submissions.
//!
//! ```text
//!   coordinator ──┬── runlog ── timers ── tasks ── dead ── registry ── tokens ── cursors ── submit ──┬── nats-server
//!   worker ───────┴── pull ──── runlog (reports) ── words ── payloads ── presence ── pace ── spend ──┘
//! ```
//!
//! This crate decides nothing about runs. It turns values into messages and back, retries what is safe to retry and says
//! which refusal is which.

pub mod approvals;
pub mod audit;
mod connect;
mod credentials;
pub mod cursors;
pub mod dead;
mod direct;
mod error;
pub mod events;
pub mod keys;
mod latest;
pub mod layout;
mod leader;
mod news;
pub mod notices;
pub mod pace;
pub mod payloads;
pub mod policies;
pub mod presence;
pub mod provision;
mod publish;
pub mod pull;
pub mod registry;
pub mod runlog;
pub mod schedules;
pub mod spend;
pub mod submit;
pub mod tail;
pub mod tasks;
pub mod timers;
pub mod tokens;
pub mod turns;
pub mod waiting;
pub mod window;
pub mod words;

pub use connect::{Bus, ConnectConfig, Connection, TlsFiles};
pub use credentials::Credentials;
pub use error::{Error, Refusal};
pub use publish::Acknowledgement;
