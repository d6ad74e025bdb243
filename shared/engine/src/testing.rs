//! For tests only: plans from compact JSON, random plans, scripts of entries, and a synchronous model of the world.
//!
//! Behind the feature `testing`. Everything here may panic on what a test author got wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod plans;
mod script;

pub use plans::{plan, workflow};
pub use script::{check, describe, entry, run_id, submission};
