//! The coordinator against a real nats-server, with a real worker beside it in one process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall panic where it stands")]

mod access;
mod again;
mod alike;
mod approvals;
mod audit;
mod bulk;
mod callers;
mod contracts;
mod dead_letters;
mod delegations;
mod deprecations;
mod family;
mod fleet;
mod flips;
mod issuer;
mod keys;
mod layout;
mod lineage;
mod notices;
mod office;
mod outside;
mod pinned;
mod policies;
mod queries;
mod releases;
mod retire;
mod rollouts;
mod schedules;
mod spine;
mod stops;
mod text;
mod tls;
mod turns;
mod updates;
