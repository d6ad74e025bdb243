//! `ApprovalChecked`: whether everybody who agreed still may, found out just before it is used.
//!
//! It is about one quorum, named by the sequence of the entry that completed it: a check of an earlier one says nothing, and
//! of two coordinators that check the same one the first to be written counts.

use super::locate;
use crate::approval::{self, HoldStage};
use crate::entry::ApprovalChecked;
use crate::ignored::Ignored;
use crate::plan::Act;
use crate::state::SlotState;
use crate::turn::Turn;

pub(super) fn apply(turn: &mut Turn<'_>, checked: &ApprovalChecked) -> Result<(), Ignored> {
    if turn.run.closing.is_some() {
        return Err(Ignored::RunClosing);
    }
    let place = locate(turn.run, &checked.step)?;
    let plan = turn.plan();
    let planned = plan.steps.get(place.step).ok_or(Ignored::UnknownStep)?;
    let hold = approval::at(turn.run, place).ok_or(Ignored::NotHeld)?;
    if hold.stage != HoldStage::Agreed(checked.agreed) || hold.digest != checked.digest {
        return Err(Ignored::StaleDigest);
    }
    let (at, expires) = (turn.stamp.at, hold.expires);
    if at >= expires {
        return Err(Ignored::ApprovalExpired); // the timer denies it
    }
    if checked.void.is_some() {
        approval::ask_anew(turn.run, place, planned);
        return Ok(());
    }
    turn.stop_waiting(place);
    if matches!(planned.act, Act::Approval(_)) {
        let output = approval::output(hold_of(turn, place)?, at);
        turn.succeed(place, &output.into());
        return Ok(());
    }
    approval::edit(turn.run, place, |hold| hold.stage = HoldStage::Granted);
    turn.run.set_slot(place, SlotState::Due);
    turn.wake(place.step);
    Ok(())
}

fn hold_of<'t>(turn: &'t Turn<'_>, place: crate::state::Place) -> Result<&'t approval::Hold, Ignored> {
    approval::at(turn.run, place).ok_or(Ignored::NotHeld)
}
