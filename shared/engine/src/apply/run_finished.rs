//! `RunFinished`: the mark of an outcome that was decided by the entries before it. It adds nothing; with it, nothing is
//! outstanding any more.

use crate::ignored::Ignored;
use crate::turn::Turn;

pub(super) fn apply(turn: &mut Turn<'_>) -> Result<(), Ignored> {
    if turn.run.marked {
        return Err(Ignored::AlreadyMarked);
    }
    turn.run.marked = true;
    Ok(())
}
