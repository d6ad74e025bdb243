//! `RunFinished`: the mark of an outcome that was decided by the entries before it. It adds nothing; with it, nothing is
//! outstanding any more but what the end takes back, since the mark may be written before that is.

use crate::ignored::Ignored;
use crate::turn::Turn;

pub(super) fn apply(turn: &mut Turn<'_>) -> Result<(), Ignored> {
    if turn.run.marked {
        return Err(Ignored::AlreadyMarked);
    }
    turn.run.marked = true;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::check;

    #[test]
    fn the_mark_needs_an_outcome() {
        let plan = json!({"steps": [{"id": "a"}]});
        let script = r#"
            0 submit
            1 finished
            2 ok a 1
            3 ?
            4 finished
            5 ?"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 finished
          ignored: not_decided
        > 2 ok a 1
          finish COMPLETED decided at 3 null
        > 3 ?
          finish COMPLETED decided at 3 null
        > 4 finished
        > 5 ?
        = COMPLETED
        "#);
    }
}
