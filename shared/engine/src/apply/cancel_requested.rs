//! `CancelRequested`: an orderly end. The run is CANCELED at once, or after its last steps (see `closing.rs` of the crate);
//! what is in flight is withdrawn. A run that is closing already goes on doing so.

use kapelle_types::Principal;

use crate::entry::Failure;
use crate::ignored::Ignored;
use crate::state::{RunStatus, Stage};
use crate::turn::Turn;

pub(super) fn apply(turn: &mut Turn<'_>, who: &Principal, reason: &str) -> Result<(), Ignored> {
    if turn.run.closing.is_some() && turn.run.stage() == Stage::Open {
        return if turn.pass_on(false) { Ok(()) } else { Err(Ignored::RunClosing) };
    }
    turn.pass_on(false);
    turn.finish(RunStatus::Canceled, None, Some(Failure::canceled(who, reason)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::check;

    #[test]
    fn what_is_asked_for_is_taken_back() {
        let plan = json!({"steps": [
            {"id": "a"}, {"id": "b"}, {"id": "c", "retry": {"max_attempts": 1}}, {"id": "d", "needs": ["a"]},
            {"id": "each", "foreach": "input", "max_parallel": 2},
        ], "deadline_ms": 5000});
        let script = r#"
            0 submit [1, 2, 3]
            1 fail b 1 oops
            2 fail c 1 oops
            3 cancel no longer needed
            4 cancel
            5 ok a 1"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit [1, 2, 3]
          start timer deadline at 5000
          dispatch a#1 {}
          dispatch b#1 {}
          dispatch c#1 {}
          dispatch each:0#1 {}
          dispatch each:1#1 {}
        > 1 fail b 1 oops
          start timer retry=b=2 at 1001
        > 2 fail c 1 oops
          dead letter c#1 {} oops, history ["c#1 oops"]
        > 3 cancel no longer needed
          withdraw a#1
          cancel timer retry=b=2
          withdraw each:0#1
          withdraw each:1#1
          remove dead letter c
          cancel timer deadline
          finish CANCELED decided at 4 canceled: canceled by ada: no longer needed
        > 4 cancel
          ignored: run_finished
        > 5 ok a 1
          ignored: run_finished
        = CANCELED
        "#);
    }

    #[test]
    fn a_run_that_was_never_submitted_cannot_be_cancelled() {
        let plan = json!({"steps": [{"id": "a"}]});
        let script = r#"
            0 cancel
            1 submit
            2 submit"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 cancel
          ignored: not_submitted
        > 1 submit
          dispatch a#1 {}
        > 2 submit
          ignored: duplicate
        = RUNNING
        "#);
    }
}
