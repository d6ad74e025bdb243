//! `SignalReceived`: somebody outside said something that the run waits for, now or later.
//!
//! The first place that waits for it, in the plan's order, ends with the signal's payload as its output; if there is none
//! the signal is kept. One that comes too late for its timeout gets a run on that is STALLED for it. So one that comes early
//! is not lost, and one that comes while the run is paused counts.

use crate::command::{Command, TimerId};
use crate::entry::SignalReceived;
use crate::ignored::Ignored;
use crate::signals;
use crate::state::SlotState;
use crate::turn::Turn;

pub(super) fn apply(turn: &mut Turn<'_>, signal: &SignalReceived) -> Result<(), Ignored> {
    if turn.run.closing.is_some() {
        return Err(Ignored::RunClosing);
    }
    let plan = turn.plan();
    let contract = plan.signals.get(&signal.name).ok_or(Ignored::UnknownSignal)?;
    if contract.as_ref().is_some_and(|contract| contract.violation(&signal.payload).is_some()) {
        return Err(Ignored::BadSignal);
    }
    let Some(place) = signals::awaited(turn.run, &signal.name) else {
        let kept = signals::keep(turn.run, &signal.name, turn.stamp.seq, signal.payload.clone());
        return if kept { Ok(()) } else { Err(Ignored::TooManySignals) };
    };
    let waiting = turn.run.slot(place).map(|slot| (slot.attempt, slot.state.clone()));
    if let Some((attempt, SlotState::Awaiting(Some(_)))) = waiting {
        let timer = place.task(&plan, attempt).map(|task| Command::CancelTimer { timer: TimerId::Wake(task) });
        turn.commands.extend(timer);
    }
    turn.taken.push(turn.stamp.seq);
    turn.succeed(place, &signal.payload);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::check;

    #[test]
    fn a_signal_ends_the_first_that_waits_for_it_and_early_ones_are_kept() {
        let plan = json!({"signals": {"answer": ["x"], "go": null}, "steps": [
            {"id": "a", "signal": "answer", "timeout_ms": 5000}, {"id": "b", "needs": ["a"], "signal": "go"},
            {"id": "c", "needs": ["b"], "signal": "answer"},
        ], "output": ["${steps.a.output}", "${steps.b.output}", "${steps.c.output}"]});
        let script = r#"
            0 submit
            1 signal go 1
            2 signal nobody 1
            3 signal answer "no x"
            4 ?
            5 signal id=s1 answer {"x": 1}
            6 signal id=s1 answer {"x": 1}
            7 fire wake=a=1
            8 signal id=s2 answer {"x": 2}"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          start timer wake=a=1 at 5000
        > 1 signal go 1
        > 2 signal nobody 1
          ignored: unknown_signal
        > 3 signal answer "no x"
          ignored: bad_signal
        > 4 ?
          start timer wake=a=1 at 5000
        > 5 signal id=s1 answer {"x": 1}
          cancel timer wake=a=1
        > 6 signal id=s1 answer {"x": 1}
          ignored: duplicate
        > 7 fire wake=a=1
          ignored: stale_timer
        > 8 signal id=s2 answer {"x": 2}
          finish COMPLETED decided at 9 [{"x":1},1,{"x":2}]
        = COMPLETED
        "#);
    }

    #[test]
    fn a_signal_that_does_not_come_in_time_gives_up() {
        let step = |on_give_up: &str| {
            json!({"signals": {"go": null}, "steps": [
            {"id": "a", "signal": "go", "timeout_ms": 1000, "on_give_up": on_give_up},
        ], "output": "${steps.a.output}"})
        };
        let late = "0 submit\n1000 fire wake=a=1\n1001 ?\n1002 signal go 7";
        insta::assert_snapshot!(check(&step("stall"), late), @r#"
        > 0 submit
          start timer wake=a=1 at 1000
        > 1000 fire wake=a=1
        > 1001 ?
        > 1002 signal go 7
          finish COMPLETED decided at 4 7
        = COMPLETED
        "#);
        let script = "0 submit\n500 fire wake=a=1\n1000 fire wake=a=1\n1001 retry\n1002 ?\n1003 signal go 7";
        insta::assert_snapshot!(check(&step("stall"), script), @r#"
        > 0 submit
          start timer wake=a=1 at 1000
        > 500 fire wake=a=1
          ignored: timer_early
          start timer wake=a=1 at 1000
        > 1000 fire wake=a=1
        > 1001 retry
          start timer wake=a=2 at 2001
        > 1002 ?
          start timer wake=a=2 at 2001
        > 1003 signal go 7
          cancel timer wake=a=2
          finish COMPLETED decided at 6 7
        = COMPLETED
        "#);
        insta::assert_snapshot!(check(&step("fail"), "0 submit\n1000 fire wake=a=1"), @r#"
        > 0 submit
          start timer wake=a=1 at 1000
        > 1000 fire wake=a=1
          finish FAILED decided at 2 K0301: step `a` gave up after 1 attempt: K0316: the signal `go` did not come within 1s
        = FAILED
        "#);
        insta::assert_snapshot!(check(&step("continue"), "0 submit\n1000 fire wake=a=1"), @r#"
        > 0 submit
          start timer wake=a=1 at 1000
        > 1000 fire wake=a=1
          finish COMPLETED decided at 2 null
        = COMPLETED
        "#);
    }

    #[test]
    fn members_take_signals_in_turn_and_a_pause_loses_none() {
        let plan = json!({"signals": {"go": null}, "steps": [
            {"id": "each", "foreach": "input", "signal": "go"},
        ], "output": "${steps.each.outputs}"});
        let script = "0 submit [1, 2, 3]\n1 signal go 7\n2 pause\n3 signal go 8\n4 signal go 9\n5 signal go 10";
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit [1, 2, 3]
        > 1 signal go 7
        > 2 pause
        > 3 signal go 8
        > 4 signal go 9
        > 5 signal go 10
        = PAUSED
        "#);
        insta::assert_snapshot!(check(&plan, "0 submit [1, 2]\n1 signal go 7\n2 ?\n3 cancel"), @r#"
        > 0 submit [1, 2]
        > 1 signal go 7
        > 2 ?
        > 3 cancel
          finish CANCELED decided at 4 canceled: canceled by ada
        = CANCELED
        "#);
    }
}
