//! The worker and the puller against the real nats-server. Every test has a server of its own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod agents;
mod drain;
mod faults;
mod limits;
mod model;
mod payloads;
mod presence;
mod pull;
mod reports;
mod rig;
