//! `FailRequested`: what stalled the run stays as it is. The run ends FAILED with that cause. Only a STALLED run can be
//! failed; one that is going on can be cancelled. One that is closing ends at once: what undoes its steps is given up.

use kapelle_types::Principal;

use crate::ignored::Ignored;
use crate::state::RunStatus;
use crate::turn::Turn;

pub(super) fn apply(turn: &mut Turn<'_>, who: &Principal, reason: &str) -> Result<(), Ignored> {
    let cause = turn.run.stall_reason().ok_or(Ignored::NotStalled)?;
    turn.finish(RunStatus::Failed, None, Some(cause.failed_by(who, reason)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::check;

    #[test]
    fn only_a_stalled_run_can_be_failed() {
        let plan = json!({"steps": [{"id": "a", "retry": {"max_attempts": 1}}]});
        let script = r#"
            0 submit
            1 giveup
            2 fail a 1 oops
            3 giveup not worth it"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 giveup
          ignored: not_stalled
        > 2 fail a 1 oops
          dead letter a#1 {} oops, history ["a#1 oops"]
        > 3 giveup not worth it
          remove dead letter a
          finish FAILED decided at 4 K0301: step `a` gave up after 1 attempt: oops: it broke; failed by ada: not worth it
        = FAILED
        "#);
    }
}
