//! `ApprovalDecided`: a person said yes or no to what a step would do.
//!
//! The first no ends it. Enough persons who say yes, each counted once, whichever of their logins they used, bring the check
//! that comes before its use. What they say is about a digest: to anything else it is no answer.

use kapelle_types::Timestamp;

use super::{give_up, locate};
use crate::approval::{self, HoldStage};
use crate::contract;
use crate::entry::{ApprovalDecided, Decider, Failure, Verdict};
use crate::ignored::Ignored;
use crate::limits;
use crate::plan::{Approval, PlanStep};
use crate::state::{Place, Run, Stage, StepState};
use crate::turn::Turn;

pub(super) fn apply(turn: &mut Turn<'_>, decided: &ApprovalDecided) -> Result<(), Ignored> {
    if turn.run.closing.is_some() {
        return Err(Ignored::RunClosing);
    }
    let place = locate(turn.run, &decided.step)?;
    let plan = turn.plan();
    let planned = plan.steps.get(place.step).ok_or(Ignored::UnknownStep)?;
    let approval = planned.approval().ok_or(Ignored::NotHeld)?;
    acceptable(turn.run, place, approval, decided, turn.stamp.at)?;
    match &decided.verdict {
        Verdict::Reject => {
            reject(turn, place, planned, decided);
            return Ok(());
        }
        Verdict::Undo => {
            take_back(turn, place, planned, &decided.by);
            return Ok(());
        }
        Verdict::Edit(arguments) => put(turn, place, planned, arguments)?,
        Verdict::Approve | Verdict::Override => {}
    }
    let seq = turn.stamp.seq;
    approval::edit(turn.run, place, |hold| {
        hold.agreed.push(decided.by.clone());
        hold.said = (decided.verdict.without_arguments(), decided.comment.clone());
        let persons = u32::try_from(hold.agreed.len()).unwrap_or(u32::MAX);
        if persons >= approval.quorum || decided.verdict == Verdict::Override {
            hold.stage = HoldStage::Agreed(seq);
        }
    });
    turn.commands.extend(approval::check(turn.run, place));
    Ok(())
}

impl Run {
    /// Why it would ignore this decision if it were the next entry of its log, written now.
    #[must_use]
    pub fn would_ignore(&self, decided: &ApprovalDecided, now: Timestamp) -> Option<Ignored> {
        match self.stage() {
            Stage::Pending => return Some(Ignored::NotSubmitted),
            Stage::Finished => return Some(Ignored::RunFinished),
            Stage::Halted => return Some(Ignored::RunHalted),
            Stage::Open => {}
        }
        let place = match locate(self, &decided.step) {
            Ok(place) => place,
            Err(why) => return Some(why),
        };
        let planned = self.plan.steps.get(place.step)?;
        let Some(approval) = planned.approval() else { return Some(Ignored::NotHeld) };
        acceptable(self, place, approval, decided, now.max(self.last_progress)).err()
    }
}

/// Whether this person may say this about that now. What does not hang on the log was checked before it was written.
fn acceptable(
    run: &Run,
    place: Place,
    approval: &Approval,
    decided: &ApprovalDecided,
    now: Timestamp,
) -> Result<(), Ignored> {
    let Some(hold) = approval::at(run, place) else {
        let ended = run.state(place.step).is_some_and(StepState::is_ended);
        return Err(if ended { Ignored::AlreadyDecided } else { Ignored::NotHeld });
    };
    if hold.stage != HoldStage::Asked {
        return Err(Ignored::AlreadyDecided);
    }
    if decided.digest != hold.digest {
        return Err(Ignored::StaleDigest);
    }
    if now >= hold.expires {
        return Err(Ignored::ApprovalExpired);
    }
    let (by, verdict) = (&decided.by, &decided.verdict);
    if by.person.is_empty() {
        return Err(Ignored::NoPerson);
    }
    if *verdict == Verdict::Undo {
        let agreed = hold.agreed.iter().any(|it| it.person == by.person);
        return if agreed { Ok(()) } else { Err(Ignored::NotAgreed) };
    }
    let mut asked = approval.groups_at(hold.asked_at, now);
    let member = approval.groups.is_empty() || asked.any(|group| by.groups.iter().any(|it| it == group));
    if *verdict != Verdict::Override && !member {
        return Err(Ignored::NotInGroup);
    }
    if *verdict == Verdict::Reject {
        return Ok(()); // whoever may decide may stop it, at any time
    }
    // In somebody's place nobody agrees to a run of their own, or of theirs, whatever the approval allows.
    let own = by.persons().any(|person| run.submitted_by_person() == Some(person));
    if own && (!approval.self_approval || !by.in_place_of.is_empty()) {
        return Err(Ignored::SelfApproval);
    }
    if hold.agreed.iter().flat_map(Decider::persons).any(|one| by.persons().any(|other| one == other)) {
        return Err(Ignored::SamePerson);
    }
    Ok(())
}

/// Puts other arguments in the place of the step's. Whoever agreed to the old ones has not agreed to these.
fn put(turn: &mut Turn<'_>, place: Place, planned: &PlanStep, edited: &kapelle_types::Payload) -> Result<(), Ignored> {
    let at_hand = edited.value.is_some();
    let broken = contract::input(turn.run, place, planned, edited);
    if !at_hand || broken.or_else(|| limits::input(turn.run, place, planned, edited)).is_some() {
        return Err(Ignored::BadEdit);
    }
    let Some(expires) = approval::at(turn.run, place).map(|hold| hold.expires) else { return Err(Ignored::NotHeld) };
    let digest = approval::digest(turn.run, place, planned, edited, expires);
    approval::edit(turn.run, place, |hold| {
        hold.digest = digest;
        hold.edited = Some(edited.clone());
        hold.agreed.clear();
    });
    Ok(())
}

/// Takes back what somebody said. An edit to which nobody agrees any more is none.
fn take_back(turn: &mut Turn<'_>, place: Place, planned: &PlanStep, by: &Decider) {
    approval::edit(turn.run, place, |hold| hold.agreed.retain(|it| it.person != by.person));
    if approval::at(turn.run, place).is_some_and(|hold| hold.agreed.is_empty()) {
        approval::ask_anew(turn.run, place, planned);
    }
}

fn reject(turn: &mut Turn<'_>, place: Place, planned: &PlanStep, decided: &ApprovalDecided) {
    turn.stop_waiting(place);
    deny(turn, place, planned, &Failure::rejected(&decided.by.person, &decided.comment));
}

/// What people were asked is not done.
pub(super) fn deny(turn: &mut Turn<'_>, place: Place, planned: &PlanStep, failure: &Failure) {
    let at = turn.stamp.at;
    turn.run.edit_slot(place, |slot| slot.remember(at, failure));
    approval::forget(turn.run, place);
    give_up(turn, place, planned);
    turn.wake(place.step);
}

#[cfg(test)]
mod tests;
