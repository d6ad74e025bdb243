//! Real processes for end-to-end tests: a nats-server, coordinators, workers and clients as users start them.
//!
//! ```text
//!   Fleet ──▶ TestServer (nats-server)         Lab: one folder, every process by its pid, every log
//!     │  ──▶ kapelle coordinator start ◀── Api (gRPC, goes on at the next coordinator)
//!     │  ──▶ scripted-worker
//!     ├── Pump      submits keyed jobs and keeps so many runs open
//!     ├── Logbook   follows the run logs while the test goes on
//!     └── Audit     folds them with the engine: what was recorded, how often, and when
//! ```
//!
//! `random` has random workflows of the simulation as manifests, and the program that plays all of their agents.
//!
//! Used by `tests/tests/e2e_*.rs`. Everything that is started here is stopped by its pid when its owner is dropped, on a
//! panic too; then the logs are printed. Nothing here waits for time: [`eventually`] asks for conditions, within bounds.
//!
//! `KAPELLE_CHAOS=1` makes the tests under load longer; `KAPELLE_BIN` names the binary to test instead of this workspace's;
//! `KAPELLE_KEEP=1` keeps the folder of a test that failed; `KAPELLE_CI=1` makes a skipped check a failure.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "test support: what fails here is the failure of a test, and its figures are for whoever reads the output"
)]

mod api;
mod audit;
mod binary;
mod client;
mod cluster;
mod fleet;
mod lab;
mod logbook;
pub mod manifests;
mod process;
mod pump;
pub mod random;
mod scrape;
mod turn;
mod wait;

pub use api::{Api, job};
pub use audit::{Account, Audit};
pub use binary::{kapelle, scripted_worker};
pub use client::{Cli, Outcome};
pub use cluster::{Cluster, NODES};
pub use fleet::{Coordinator, Fleet, bus, register, token};
pub use lab::Lab;
pub use logbook::Logbook;
pub use process::Process;
pub use pump::{Acked, Pump};
pub use scrape::Metrics;
pub use turn::Turn;
pub use wait::{PATIENCE, eventually, is_chaos};
