//! `TerminateRequested`: an end at once, without any cleanup. The run is TERMINATED; what is in flight is withdrawn.

use kapelle_types::Principal;

use crate::entry::Failure;
use crate::ignored::Ignored;
use crate::state::RunStatus;
use crate::turn::Turn;

#[allow(clippy::unnecessary_wraps)] // every entry kind answers alike
pub(super) fn apply(turn: &mut Turn<'_>, who: &Principal, reason: &str) -> Result<(), Ignored> {
    turn.pass_on(true);
    turn.finish(RunStatus::Terminated, None, Some(Failure::terminated(who, reason)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::check;

    #[test]
    fn it_ends_at_once() {
        let plan = json!({"steps": [{"id": "a"}]});
        let script = r#"
            0 submit
            1 terminate runaway
            2 finished
            3 finished"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          dispatch a#1 {}
        > 1 terminate runaway
          withdraw a#1
          finish TERMINATED decided at 2 terminated: terminated by ada: runaway
        > 2 finished
        > 3 finished
          ignored: already_marked
        = TERMINATED
        "#);
    }
}
