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
