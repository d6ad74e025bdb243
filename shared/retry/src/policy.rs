//! How often and how long something is tried.

use std::time::Duration;

/// An exponential schedule with its limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// The delay after the first failure, before jitter. Default: 100 ms.
    pub initial: Duration,
    /// What each further delay is multiplied by; below 1 counts as 1. Default: 2.
    pub multiplier: f64,
    /// No delay of the schedule is longer than this, jitter included. Default: 2 s.
    pub max: Duration,
    /// The share of a delay that is random, 0 to 1: 0.2 gives 80 % to 120 %. Default: 0.5.
    pub jitter: f64,
    /// Attempts at most, the first one included; `None` is no limit. Default: `None`.
    pub attempts: Option<u32>,
    /// No attempt starts later than this after the first; `None` is no limit. An attempt that is running is not cut:
    /// the caller bounds it. Default: 30 s, which outlasts the election of a broker's leader (4 to 9 s) and a restart.
    pub total: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(100),
            multiplier: 2.0,
            max: Duration::from_secs(2),
            jitter: 0.5,
            attempts: None,
            total: Some(Duration::from_secs(30)),
        }
    }
}
