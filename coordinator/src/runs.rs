//! Runs as people and clients see them, and those who wait for them.

mod rebuild;
mod row;
mod view;
mod waiters;

pub(crate) use rebuild::{Rebuilt, rebuild, rebuild_to};
pub use row::RunRow;
pub(crate) use row::{label_hash, label_hashes};
pub(crate) use view::{history, json, view};
pub use waiters::Waiters;
