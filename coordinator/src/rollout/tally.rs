//! What one version did, as numbers that add up.

use std::time::Duration;

use kapelle_bus::registry::Baseline;
use kapelle_types::Usd;
use serde::{Deserialize, Serialize};
use sketches_ddsketch::{Config, DDSketch};

/// How much of what takes no longer than a p95.
const QUANTILE: f64 = 0.95;

/// What a version did: attempts of an agent, or runs of a workflow.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    /// How many ended well.
    pub succeeded: u64,
    /// How many did not.
    pub failed: u64,
    /// What all of them cost, in millionths of a dollar.
    pub cost_micros: u64,
    /// How long those took that ended well, in seconds, to one in a hundred; `None` if there are none.
    took: Option<DDSketch>,
}

impl Tally {
    /// How many ended.
    pub(crate) const fn seen(&self) -> u64 {
        self.succeeded + self.failed
    }

    pub(super) fn ended(&mut self, succeeded: bool, took: Duration) {
        if succeeded {
            self.succeeded += 1;
            self.took.get_or_insert_with(|| DDSketch::new(Config::defaults())).add(took.as_secs_f64());
        } else {
            self.failed += 1;
        }
    }

    pub(super) fn cost(&mut self, cost: Usd) {
        self.cost_micros = self.cost_micros.saturating_add(cost.micros());
    }

    /// Adds what another coordinator saw.
    pub(super) fn merge(&mut self, other: Self) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.cost_micros = self.cost_micros.saturating_add(other.cost_micros);
        self.took = match (self.took.take(), other.took) {
            (Some(mut ours), Some(theirs)) => {
                if let Err(error) = ours.merge(&theirs) {
                    tracing::warn!(%error, "times that another coordinator counted otherwise are left out");
                }
                Some(ours)
            }
            (ours, theirs) => ours.or(theirs),
        };
    }

    /// How long 95 of 100 took at most that ended well; `None` if none did.
    pub(crate) fn p95(&self) -> Option<Duration> {
        let seconds = self.took.as_ref()?.quantile(QUANTILE).ok()??;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// What one cost on average, in billionths of a dollar; `None` if there is none.
    pub(crate) fn mean_cost_nanos(&self) -> Option<u64> {
        self.cost_micros.saturating_mul(1_000).checked_div(self.seen())
    }

    /// What others are compared with.
    pub(super) fn baseline(&self) -> Option<Baseline> {
        let p95_us = u64::try_from(self.p95()?.as_micros()).ok()?;
        Some(Baseline { p95_us, cost_nanos: self.mean_cost_nanos()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(took_ms: impl Iterator<Item = u64>, failed: u64, usd: f64) -> Tally {
        let mut tally = Tally::default();
        took_ms.for_each(|ms| tally.ended(true, Duration::from_millis(ms)));
        (0..failed).for_each(|_| tally.ended(false, Duration::from_secs(3_600)));
        tally.cost(Usd::reported(usd).unwrap());
        tally
    }

    #[test]
    fn tallies_add_up_over_the_wire() {
        let mut all = Tally::default();
        for part in [tally(1..=50, 3, 0.5), tally(51..=100, 7, 0.6), Tally::default()] {
            let wire = serde_json::to_vec(&part).unwrap();
            all.merge(serde_json::from_slice(&wire).unwrap());
        }
        assert_eq!((all.succeeded, all.failed, all.seen()), (100, 10, 110));
        assert_eq!(all.mean_cost_nanos(), Some(10_000_000));
        let p95 = all.p95().unwrap();
        assert!((Duration::from_millis(93)..Duration::from_millis(97)).contains(&p95), "{p95:?}: without failures");
    }

    #[test]
    fn nothing_is_not_zero() {
        let nothing = Tally::default();
        assert_eq!((nothing.p95(), nothing.mean_cost_nanos(), nothing.baseline()), (None, None, None));
        assert_eq!(tally(std::iter::empty(), 3, 0.0).baseline(), None, "only failures: nothing to compare with");
    }
}
