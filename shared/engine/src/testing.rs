//! For tests only: plans from compact JSON, random plans, scripts of entries, and a synchronous model of the world.
//!
//! Behind the feature `testing`. Everything here may panic on what a test author got wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod plans;
mod random;
mod script;
mod world;

pub use plans::{plan, workflow};
pub use random::{Dice, Shape, random_input, random_spec};
pub use script::{check, describe, entry, forked, fresh, run_id, run_key, submission};
pub use world::{Agents, World, failure, replay};
