//! `CancelRequested`: an orderly end. The run is CANCELED at once; what is in flight is withdrawn. It differs from a
//! termination once steps can declare a cleanup: cancelling will run it, terminating will not.

use kapelle_types::Principal;

use crate::entry::Failure;
use crate::ignored::Ignored;
use crate::state::RunStatus;
use crate::turn::Turn;

#[allow(clippy::unnecessary_wraps)] // every entry kind answers alike
pub(super) fn apply(turn: &mut Turn<'_>, who: &Principal, reason: &str) -> Result<(), Ignored> {
    turn.finish(RunStatus::Canceled, None, Some(Failure::canceled(who, reason)));
    Ok(())
}
