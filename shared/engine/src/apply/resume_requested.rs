//! `ResumeRequested`: everything that became ready or due in the meantime is dispatched.

use crate::ignored::Ignored;
use crate::turn::Turn;

pub(super) fn apply(turn: &mut Turn<'_>) -> Result<(), Ignored> {
    if !turn.run.paused {
        return Err(Ignored::NotPaused);
    }
    turn.run.paused = false;
    turn.wake_all();
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::check;

    #[test]
    fn members_go_on_from_the_lowest_index() {
        let plan = json!({"steps": [{"id": "each", "foreach": "input", "max_parallel": 2, "with": "${item}"}]});
        let script = r#"
            0 submit [0, 1, 2, 3]
            1 pause
            2 returned each:1 1
            3 ok each:0 1
            4 resume"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit [0, 1, 2, 3]
          dispatch each:0#1 0
          dispatch each:1#1 1
        > 1 pause
        > 2 returned each:1 1
        > 3 ok each:0 1
        > 4 resume
          dispatch each:1#2 1
          dispatch each:2#1 2
        = RUNNING
        "#);
    }
}
