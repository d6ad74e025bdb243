//! What the test suites share.

pub mod harness;
pub mod simulation;
