//! A second opinion on rounds: whether a step that succeeded is done with that, by what its random `until` says.

use kapelle_engine::PlanStep;
use serde_json::Value;

/// What follows from a success.
pub(crate) enum After {
    Done,
    NextRound,
    GaveUp,
}

/// What follows from a success in this round, from 0.
pub(crate) fn after(planned: &PlanStep, round: u32, output: Option<&Value>) -> After {
    let Some(repeat) = &planned.repeat else { return After::Done };
    let good = match repeat.until.source() {
        "round > 1" => round > 1,
        "last != null" => round > 0,
        "output.n > 4" => output.and_then(|it| it["n"].as_u64()).is_some_and(|n| n > 4),
        other => panic!("`{other}` is none of the conditions that random plans have"),
    };
    match (good, round + 1 < repeat.max, repeat.accept) {
        (true, _, _) | (false, false, true) => After::Done,
        (false, true, _) => After::NextRound,
        (false, false, false) => After::GaveUp,
    }
}
