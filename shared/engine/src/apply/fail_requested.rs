//! `FailRequested`: what stalled the run stays as it is. The run ends FAILED with that cause. Only a STALLED run can be
//! failed; one that is going on can be cancelled.

use kapelle_types::Principal;

use crate::ignored::Ignored;
use crate::state::RunStatus;
use crate::turn::Turn;

pub(super) fn apply(turn: &mut Turn<'_>, who: &Principal, reason: &str) -> Result<(), Ignored> {
    let cause = turn.run.stall_reason().ok_or(Ignored::NotStalled)?;
    turn.finish(RunStatus::Failed, None, Some(cause.failed_by(who, reason)));
    Ok(())
}
