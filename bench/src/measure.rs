//! What one half of a round measured.

use std::time::Duration;

use serde::Serialize;

use crate::args::Workload;
use crate::machine::{Usage, mib};

/// Times as they were taken.
pub(crate) struct Timings {
    pub(crate) elapsed: Duration,
    /// One a run, in no order.
    pub(crate) latencies: Vec<Duration>,
}

/// One half of a round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Half {
    pub(crate) steps_per_second: f64,
    pub(crate) latency_p50_ms: f64,
    pub(crate) latency_p99_ms: f64,
    /// CPU seconds per 1,000 steps by process.
    pub(crate) cpu_per_1000_steps: Vec<(&'static str, f64)>,
    /// Peak resident memory in MiB by process.
    pub(crate) peak_mib: Vec<(&'static str, f64)>,
}

impl Half {
    #[allow(clippy::cast_precision_loss)] // counts far below 2^52
    pub(crate) fn new(workload: &Workload, timings: Timings, usage: &[(&'static str, Usage)]) -> Self {
        let mut ms: Vec<f64> = timings.latencies.iter().map(|l| l.as_secs_f64() * 1e3).collect();
        ms.sort_by(f64::total_cmp);
        let steps = (workload.runs * workload.steps) as f64;
        let per_thousand = |u: &Usage| u.cpu_seconds / steps * 1_000.0;
        Self {
            steps_per_second: steps / timings.elapsed.as_secs_f64(),
            latency_p50_ms: percentile(&ms, 0.50),
            latency_p99_ms: percentile(&ms, 0.99),
            cpu_per_1000_steps: usage.iter().map(|(name, u)| (*name, per_thousand(u))).collect(),
            peak_mib: usage.iter().map(|(name, u)| (*name, mib(u.peak_bytes))).collect(),
        }
    }

    pub(crate) fn cpu(&self) -> f64 {
        self.cpu_per_1000_steps.iter().map(|(_, cpu)| cpu).sum()
    }
}

/// Of sorted values: the smallest that at least `share` of them do not exceed.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an index into the values
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(0.0)
}

/// The middle of some values.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    percentile(&values, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert!((percentile(&values, 0.5) - 50.0).abs() < f64::EPSILON);
        assert!((percentile(&values, 0.99) - 99.0).abs() < f64::EPSILON);
        assert!((percentile(&[7.0], 0.99) - 7.0).abs() < f64::EPSILON);
        assert!(percentile(&[], 0.5).abs() < f64::EPSILON);
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < f64::EPSILON);
    }
}
