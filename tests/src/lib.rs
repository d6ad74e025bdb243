//! What the test suites share.

pub mod harness;
pub mod history;
pub mod simulation;
