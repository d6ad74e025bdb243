//! What a trial teaches about an agent: how long it takes, what it gives, what it costs.

use serde::Serialize;
use serde_json::{Value, json};

use kapelle_manifest::Agent;

use super::components;
use super::draft::{Draft, Fact, State};
use super::samples::Sample;
use super::trial::{Task, Trial};

/// How much longer than its slowest trial an attempt may take: the machine of a trial is idle and its samples are small.
const PATIENCE: u64 = 10;
/// Timeouts that are proposed: what people would write, from what a cold start takes to an hour.
const TIMEOUTS: [(u64, &str); 9] = [
    (10, "10s"),
    (20, "20s"),
    (30, "30s"),
    (60, "1m"),
    (120, "2m"),
    (300, "5m"),
    (600, "10m"),
    (1_800, "30m"),
    (3_600, "1h"),
];

/// What the tasks of a trial cost, and what that comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Cost {
    /// The most that one task of the trial cost, by its own account.
    pub(super) per_task_usd_max: f64,
    pub(super) tokens_max: u64,
    /// The same for a step whose every attempt but the last fails.
    pub(super) per_step_usd_max: f64,
    /// The same for as many steps as may be done at a time.
    pub(super) at_a_time_usd_max: f64,
}

/// Takes in what was learned.
pub(super) fn take(draft: &mut Draft, samples: &[Sample], trial: &Trial) {
    let slowest = trial.tasks.iter().map(|it| it.duration_ms).max().unwrap_or_default();
    components::learn_timeout(draft, timeout(slowest), format!("the slowest trial took {slowest} ms"));
    let outputs: Vec<&Value> = trial.tasks.iter().map(|it| &it.output).collect();
    components::learn_outputs(draft, samples, &outputs);
    let (usd, tokens) = most(&trial.tasks);
    let (value, state, from) = if usd > 0.0 || tokens > 0 {
        (json!({ "usd": usd, "tokens": tokens }), State::Measured, "the most that a task of the trial reported")
    } else {
        (Value::Null, State::Missing, "its answers name no `usage`; docs/guides/write-an-agent.md shows how")
    };
    draft.note(Fact { component: "cost", about: "per task", value, state, from: from.to_owned() });
}

/// What the trial says of the cost, with the retries and the concurrency of the manifest.
pub(super) fn cost(agent: &Agent, trial: &Trial) -> Cost {
    let (usd, tokens_max) = most(&trial.tasks);
    let per_step_usd_max = usd * f64::from(agent.spec.retry.max_attempts);
    let at_a_time_usd_max = per_step_usd_max * f64::from(agent.spec.role.limits.concurrency);
    Cost { per_task_usd_max: usd, tokens_max, per_step_usd_max, at_a_time_usd_max }
}

fn most(tasks: &[Task]) -> (f64, u64) {
    let usd = tasks.iter().map(|it| it.cost_usd).fold(0.0, f64::max);
    (usd, tasks.iter().map(|it| it.input_tokens + it.output_tokens).max().unwrap_or_default())
}

/// The timeout for an agent whose slowest trial took so long.
fn timeout(slowest_ms: u64) -> &'static str {
    let wanted = slowest_ms.saturating_mul(PATIENCE);
    let (_, longest) = TIMEOUTS[TIMEOUTS.len() - 1];
    TIMEOUTS.iter().find(|(seconds, _)| seconds * 1_000 >= wanted).map_or(longest, |(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_generous_round_and_bounded() {
        for (slowest_ms, text) in [
            (0, "10s"),
            (37, "10s"),
            (1_001, "20s"),
            (3_000, "30s"),
            (60_000, "10m"),
            (400_000, "1h"),
            (u64::MAX, "1h"),
        ] {
            assert_eq!(timeout(slowest_ms), text, "{slowest_ms}");
        }
    }
}
