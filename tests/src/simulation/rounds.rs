//! A second opinion on rounds: whether a step that succeeded is done with that, by what its random `until` or `next` says.

use kapelle_engine::{Handoff, PlanStep};
use serde_json::Value;

/// What follows from a success.
pub(crate) enum After {
    Done,
    NextRound,
    /// The next round is this one's, of those that the step may be handed to.
    HandedTo(usize),
    GaveUp,
    /// It names a stranger, and counts as a failure.
    Refused,
}

/// What follows from a success in this round, from 0.
pub(crate) fn after(planned: &PlanStep, round: u32, output: Option<&Value>) -> After {
    let n = output.and_then(|it| it["n"].as_u64()).unwrap_or_default();
    if let Some(handoff) = &planned.handoff {
        return handed(handoff, round, n);
    }
    let Some(repeat) = &planned.repeat else { return After::Done };
    let good = match repeat.until.source() {
        "round > 1" => round > 1,
        "last != null" => round > 0,
        "output.n > 4" => n > 4,
        other => panic!("`{other}` is none of the conditions that random plans have"),
    };
    match (good, round + 1 < repeat.max, repeat.accept) {
        (true, _, _) | (false, false, true) => After::Done,
        (false, true, _) => After::NextRound,
        (false, false, false) => After::GaveUp,
    }
}

fn handed(handoff: &Handoff, round: u32, n: u64) -> After {
    let next = match handoff.next.source() {
        "round < 2 ? ['agent-hand-a', 'agent-hand-b'][round] : null" => {
            ["agent-hand-a", "agent-hand-b"].get(round as usize).copied()
        }
        "output.n > 4 && round < 3 ? 'agent-hand-a' : null" => (n > 4 && round < 3).then_some("agent-hand-a"),
        "round == 0 ? 'agent-hand-b' : output.n > 8 ? 'nobody' : null" => {
            if round == 0 {
                Some("agent-hand-b")
            } else {
                (n > 8).then_some("nobody")
            }
        }
        "'agent-hand-a'" => Some("agent-hand-a"),
        other => panic!("`{other}` is none of the ways on that random plans have"),
    };
    let Some(name) = next else { return After::Done };
    match handoff.to.iter().position(|it| it.act.version.name.as_str() == name) {
        None => After::Refused,
        Some(_) if round >= handoff.max => After::GaveUp,
        Some(at) => After::HandedTo(at),
    }
}
