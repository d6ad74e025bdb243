//! `PauseRequested`: nothing new is dispatched. What is in flight may report; retries that become due and steps that
//! become ready wait for the resume. A run that is closing is not held up. The deadline goes on, and a run whose last step succeeds completes.

use crate::ignored::Ignored;
use crate::turn::Turn;

pub(super) fn apply(turn: &mut Turn<'_>) -> Result<(), Ignored> {
    if turn.run.closing.is_some() {
        return Err(Ignored::RunClosing);
    }
    if turn.run.paused {
        return Err(Ignored::AlreadyPaused);
    }
    turn.run.paused = true;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::check;

    #[test]
    fn nothing_new_is_dispatched() {
        let plan = json!({"steps": [
            {"id": "a"}, {"id": "b", "needs": ["a"], "when": "false"}, {"id": "c"}, {"id": "d"},
            {"id": "each", "foreach": "input", "max_parallel": 1},
        ]});
        let script = r#"
            0 submit [1, 2]
            1 fail c 1 oops
            2 pause id=p1 lunch
            3 pause id=p1 lunch
            4 pause id=p2 lunch
            5 ok a 1
            6 ok each:0 1
            7 lost d 1
            1001 fire retry=c=2
            1002 ?
            1003 resume
            1004 resume"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit [1, 2]
          dispatch a#1 {}
          dispatch c#1 {}
          dispatch d#1 {}
          dispatch each:0#1 {}
        > 1 fail c 1 oops
          start timer retry=c=2 at 1001
        > 2 pause id=p1 lunch
        > 3 pause id=p1 lunch
          ignored: duplicate
        > 4 pause id=p2 lunch
          ignored: already_paused
        > 5 ok a 1
        > 6 ok each:0 1
        > 7 lost d 1
        > 1001 fire retry=c=2
        > 1002 ?
        > 1003 resume
          dispatch c#2 {}
          dispatch d#2 {}
          dispatch each:1#1 {}
        > 1004 resume
          ignored: not_paused
        = RUNNING
        "#);
    }

    #[test]
    fn a_paused_run_can_complete() {
        let plan = json!({"steps": [{"id": "a"}], "output": "${steps.a.output}"});
        let script = r#"
            0 submit
            1 pause
            2 ok a 1 "done""#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 pause
        > 2 ok a 1 "done"
          finish COMPLETED decided at 3 "done"
        = COMPLETED
        "#);
    }
}
