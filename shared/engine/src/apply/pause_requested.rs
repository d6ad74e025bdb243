//! `PauseRequested`: nothing new is dispatched. What is in flight may report; retries that become due and steps that
//! become ready wait for the resume. The deadline goes on, and a run whose last step succeeds completes.

use crate::ignored::Ignored;
use crate::turn::Turn;

pub(super) fn apply(turn: &mut Turn<'_>) -> Result<(), Ignored> {
    if turn.run.paused {
        return Err(Ignored::AlreadyPaused);
    }
    turn.run.paused = true;
    Ok(())
}
