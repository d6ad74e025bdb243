//! The delays of a policy, one after the other: `backoff`'s schedule and nothing else of it.

use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::exponential::ExponentialBackoff;
use tokio::time::Instant;

use crate::Policy;

/// An endless row of growing delays, for loops that own their waiting: reconnecting, re-subscribing.
///
/// Attempts and total time of the policy are not looked at.
#[derive(Debug)]
pub struct Delays {
    schedule: ExponentialBackoff<TokioClock>,
    max: Duration,
}

impl Delays {
    /// The delays of this policy from the first one on.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        let initial = policy.initial.min(policy.max);
        let schedule = ExponentialBackoff {
            current_interval: initial,
            initial_interval: initial,
            randomization_factor: if policy.jitter.is_nan() { 0.0 } else { policy.jitter.clamp(0.0, 1.0) },
            multiplier: policy.multiplier.max(1.0),
            max_interval: policy.max,
            start_time: Instant::now().into_std(),
            // The package compares the deadline with an interval that is not capped yet; our loop keeps its own.
            max_elapsed_time: None,
            clock: TokioClock,
        };
        Self { schedule, max: policy.max }
    }

    /// The next delay, never above the policy's `max`.
    #[allow(clippy::should_implement_trait, reason = "the row has no end, so there is no `None` to handle")]
    pub fn next(&mut self) -> Duration {
        self.schedule.next_backoff().map_or(self.max, |delay| delay.min(self.max))
    }

    /// Starts over from the first delay: what was waited for has come.
    pub fn reset(&mut self) {
        self.schedule.reset();
    }
}

/// Tokio's clock, which tests can pause, in the package's terms.
#[derive(Debug, Clone, Copy)]
struct TokioClock;

impl backoff::Clock for TokioClock {
    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy { initial: Duration::from_millis(50), max: Duration::from_millis(300), jitter: 0.0, ..Policy::default() }
    }

    #[test]
    fn they_double_up_to_the_cap_and_start_over() {
        let mut delays = Delays::new(&policy());
        let row: Vec<_> = (0..5).map(|_| delays.next().as_millis()).collect();
        assert_eq!(row, [50, 100, 200, 300, 300]);
        delays.reset();
        assert_eq!(delays.next(), Duration::from_millis(50));
    }

    /// Defect 4 of the package: jitter comes after the cap, up to 150 ms where 100 ms was the most.
    #[test]
    fn jitter_never_lifts_a_delay_above_the_cap() {
        let mut delays = Delays::new(&Policy { jitter: 1.0, ..policy() });
        let row: Vec<_> = (0..2_000).map(|_| delays.next()).collect();
        assert!(row.iter().all(|d| *d <= policy().max), "{:?}", row.iter().max());
        assert!(row.iter().any(|d| *d < policy().max), "and there is jitter");
    }

    #[test]
    fn senseless_policies_give_sane_delays() {
        for (multiplier, jitter) in [(0.0, -1.0), (f64::NAN, f64::NAN), (f64::INFINITY, 9.0), (-2.0, f64::INFINITY)] {
            let mut delays = Delays::new(&Policy { multiplier, jitter, ..policy() });
            assert!((0..100).all(|_| delays.next() <= policy().max), "{multiplier} {jitter}");
        }
        let mut delays = Delays::new(&Policy { initial: Duration::MAX, max: Duration::ZERO, ..policy() });
        assert_eq!(delays.next(), Duration::ZERO);
        let mut delays = Delays::new(&Policy { initial: Duration::MAX, max: Duration::MAX, ..policy() });
        assert!(delays.next() > Duration::from_secs(3600));
    }
}
