//! `TerminateRequested`: an end at once, without any cleanup. The run is TERMINATED; what is in flight is withdrawn.

use kapelle_types::Principal;

use crate::entry::Failure;
use crate::ignored::Ignored;
use crate::state::RunStatus;
use crate::turn::Turn;

#[allow(clippy::unnecessary_wraps)] // every entry kind answers alike
pub(super) fn apply(turn: &mut Turn<'_>, who: &Principal, reason: &str) -> Result<(), Ignored> {
    turn.finish(RunStatus::Terminated, None, Some(Failure::terminated(who, reason)));
    Ok(())
}
