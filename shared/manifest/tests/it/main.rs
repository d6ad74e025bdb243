//! Manifests from text to values, and every class of bad input.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

mod access;
mod approvals;
mod bad_input;
mod change;
mod contracts;
mod examples;
mod flow;
mod garbage;
mod graph;
mod handoff;
mod last;
mod manifests;
mod models;
mod samples;
mod schedule;
