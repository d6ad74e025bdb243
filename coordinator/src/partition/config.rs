//! What the loop of a partition begins with.

use std::sync::Arc;

use crate::rollout::Outcomes;

/// What a partition's core is set up with.
#[derive(Clone)]
pub struct CoreConfig {
    /// Everything up to here is done.
    pub cursor: u64,
    /// What stood in the stream when this owner came: up to here runs are rebuilt, not replayed.
    pub high_water: u64,
    /// Bytes of rebuilt runs kept in memory, by estimate.
    pub cache_bytes_max: usize,
    /// Overdue runs looked at per tick.
    pub looks_per_tick: usize,
    /// Who counts what versions do that are being brought in.
    pub outcomes: Arc<Outcomes>,
}
