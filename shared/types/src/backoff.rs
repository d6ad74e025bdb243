//! When a failed step is tried again: a pure function of policy, attempt and seed, so that a replay decides the same.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Attempt;
use crate::partition::fnv1a;

/// How a step is retried. Attempts and delays are counted in the run log, never in a process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Executions at most, the first one included. At least 1.
    pub max_attempts: u32,
    /// The delay before the second attempt.
    pub initial: Duration,
    /// What each further delay is multiplied by. At least 1.
    pub multiplier: f64,
    /// No delay is longer than this, jitter included.
    pub max: Duration,
    /// No attempt that this policy asks for starts later than this after the first was dispatched; `None` is no limit. What a
    /// worker lost or gave back is dispatched again all the same.
    pub total: Option<Duration>,
    /// The share of a delay that is random, 0 to 1: 0.2 gives 80 % to 120 %.
    pub jitter: f64,
    /// Failure codes that are never retried.
    pub non_retryable: Vec<String>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            initial: Duration::from_millis(500),
            multiplier: 2.0,
            max: Duration::from_secs(30),
            total: None,
            jitter: 0.2,
            non_retryable: Vec::new(),
        }
    }
}

impl RetryPolicy {
    /// The delay before the attempt after `failed`, between zero and `max`. `seed` differs by run, step and member.
    #[must_use]
    pub fn delay(&self, failed: Attempt, seed: u64) -> Duration {
        let exponent = i32::try_from(failed.saturating_sub(1).min(1_000)).unwrap_or(1_000);
        let max = self.max.as_secs_f64();
        let base = (self.initial.as_secs_f64() * self.multiplier.powi(exponent)).min(max);
        let mut key = [0u8; 12];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..].copy_from_slice(&failed.to_le_bytes());
        // 53 bits, so that every value is exact in an f64: 0 ≤ unit < 1.
        #[allow(clippy::cast_precision_loss)]
        let unit = (fnv1a(&key) >> 11) as f64 / (1u64 << 53) as f64;
        let spread = 1.0 + self.jitter * (2.0 * unit - 1.0);
        Duration::try_from_secs_f64((base * spread).clamp(0.0, max)).unwrap_or(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn grows_and_is_capped() {
        let p = RetryPolicy { jitter: 0.0, max: Duration::from_secs(2), ..RetryPolicy::default() };
        let ms: Vec<_> = (1..=4).map(|n| p.delay(n, 7).as_millis()).collect();
        assert_eq!(ms, [500, 1000, 2000, 2000]);
    }

    proptest! {
        #[test]
        fn never_above_the_cap_and_always_the_same(
            failed in 0u32..100_000, seed: u64, jitter in 0.0f64..=1.0, multiplier in 1.0f64..1e6,
        ) {
            let p = RetryPolicy { jitter, multiplier, ..RetryPolicy::default() };
            prop_assert!(p.delay(failed, seed) <= p.max);
            prop_assert_eq!(p.delay(failed, seed), p.delay(failed, seed));
        }
    }
}
