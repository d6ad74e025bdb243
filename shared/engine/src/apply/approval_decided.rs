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
mod tests {
    use serde_json::json;

    use crate::testing::check;

    const TWO_OF_LEGAL: &str = r#"
        0 submit {"n": 1}
        1 ok a 1 7
        2 decide a approve ada legal
        3 stale a approve bob legal
        4 decide a approve bob sales
        5 decide a approve bob legal
        6 decide a approve bob legal
        7 checked a
        8 decide z approve cyd legal
        9 decide id=r1 a approve cyd legal
        10 decide id=r1 a approve cyd legal
        11 decide a reject dee legal
        12 ?
        13 checked a a policy changed
        14 decide a approve bob legal
        15 decide a approve cyd legal
        16 pause
        17 checked a
        18 checked a
        19 ?
        20 resume
        21 fail a 1
        1021 fire retry=a=2
        1022 ok a 2 7"#;

    #[test]
    fn what_people_agreed_to_is_dispatched_and_nothing_before() {
        let plan = json!({"steps": [
            {"id": "a", "with": {"n": "${input.n}"}, "approve": {"quorum": 2, "groups": ["legal"], "expires_ms": 9000}},
        ], "output": "${steps.a.output}"});
        insta::assert_snapshot!(check(&plan, TWO_OF_LEGAL), @r#"
        > 0 submit {"n": 1}
          start timer wake=a=1 at 9000
        > 1 ok a 1 7
          ignored: unknown_attempt
        > 2 decide a approve ada legal
          ignored: self_approval
        > 3 stale a approve bob legal
          ignored: stale_digest
        > 4 decide a approve bob sales
          ignored: not_in_group
        > 5 decide a approve bob legal
        > 6 decide a approve bob legal
          ignored: same_person
        > 7 checked a
          ignored: stale_digest
        > 8 decide z approve cyd legal
          ignored: unknown_step
        > 9 decide id=r1 a approve cyd legal
          check a agreed at 10 by bob, cyd
        > 10 decide id=r1 a approve cyd legal
          ignored: duplicate
        > 11 decide a reject dee legal
          ignored: already_decided
        > 12 ?
          start timer wake=a=1 at 9000
          check a agreed at 10 by bob, cyd
        > 13 checked a a policy changed
        > 14 decide a approve bob legal
        > 15 decide a approve cyd legal
          check a agreed at 16 by bob, cyd
        > 16 pause
        > 17 checked a
          cancel timer wake=a=1
        > 18 checked a
          ignored: stale_digest
        > 19 ?
        > 20 resume
          dispatch a#1 {"n":1}
        > 21 fail a 1
          start timer retry=a=2 at 1021
        > 1021 fire retry=a=2
          dispatch a#2 {"n":1}
        > 1022 ok a 2 7
          finish COMPLETED decided at 24 7
        = COMPLETED
        "#);
    }

    #[test]
    fn the_first_no_ends_it_and_an_edit_is_another_question() {
        let plan = json!({"steps": [
            {"id": "a", "with": {"n": 1}, "takes": ["n"], "approve": {"quorum": 2}, "on_give_up": "continue"},
            {"id": "b", "approve": {}},
            {"id": "c", "approve": {"quorum": 3}},
        ]});
        let script = r#"
            0 submit
            1 decide a approve bob
            2 decide a edit cyd {"m": 2}
            3 decide a edit cyd {"n": 2}
            4 decide a approve cyd
            5 decide a approve bob
            6 checked a
            7 ?
            8 decide b reject ada
            9 decide b approve bob
            10 decide c override ada
            11 decide c override bob
            12 checked c
            13 retry b
            14 decide b approve bob
            10013 fire wake=b=2"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          start timer wake=a=1 at 10000
          start timer wake=b=1 at 10000
          start timer wake=c=1 at 10000
        > 1 decide a approve bob
        > 2 decide a edit cyd {"m": 2}
          ignored: bad_edit
        > 3 decide a edit cyd {"n": 2}
        > 4 decide a approve cyd
          ignored: same_person
        > 5 decide a approve bob
          check a agreed at 6 by cyd, bob
        > 6 checked a
          cancel timer wake=a=1
          dispatch a#1 {"n":2}
        > 7 ?
          dispatch a#1 {"n":2}
          start timer wake=b=1 at 10000
          start timer wake=c=1 at 10000
        > 8 decide b reject ada
          cancel timer wake=b=1
          dead letter b#1 {} K0330, history ["b#1 K0330"]
        > 9 decide b approve bob
          ignored: not_held
        > 10 decide c override ada
          ignored: self_approval
        > 11 decide c override bob
          check c agreed at 12 by bob
        > 12 checked c
          cancel timer wake=c=1
          dispatch c#1 {}
        > 13 retry b
          remove dead letter b
          start timer wake=b=2 at 10013
        > 14 decide b approve bob
          check b agreed at 15 by bob
        > 10013 fire wake=b=2
          dead letter b#2 {} K0331, history ["b#1 K0330", "b#2 K0331"]
        = STALLED
          K0301: step `b` gave up after 2 attempts: K0331: 1 person did not agree within 10s
        "#);
    }

    #[test]
    fn who_does_not_answer_in_time_has_said_no() {
        let plan = json!({"steps": [
            {"id": "each", "foreach": "[1, 2]", "max_parallel": 1, "approve": {"expires_ms": 1000}, "on_give_up": "continue"},
            {"id": "gate", "approval": {"expires_ms": 5000, "self": true}, "with": {"sure": true}},
        ], "output": ["${steps.each.outputs}", "${steps.gate.output}"]});
        let script = r#"
            0 submit
            1 decide each:0 approve bob
            2 checked each:0
            3 ok each:0 1 "done"
            4 decide gate edit ada {"sure": false}
            5 checked gate
            1002 fire wake=each:1=1
            1003 decide each:1 approve bob
            1004 fire wake=each:1=1"#;
        insta::assert_snapshot!(check(&plan, script), @r#"
        > 0 submit
          start timer wake=each:0=1 at 1000
          start timer wake=gate=1 at 5000
        > 1 decide each:0 approve bob
          check each:0 agreed at 2 by bob
        > 2 checked each:0
          cancel timer wake=each:0=1
          dispatch each:0#1 {}
        > 3 ok each:0 1 "done"
          start timer wake=each:1=1 at 1003
        > 4 decide gate edit ada {"sure": false}
          check gate agreed at 5 by ada
        > 5 checked gate
          cancel timer wake=gate=1
        > 1002 fire wake=each:1=1
          ignored: timer_early
          start timer wake=each:1=1 at 1003
        > 1003 decide each:1 approve bob
          ignored: approval_expired
        > 1004 fire wake=each:1=1
          finish COMPLETED decided at 9 [["done",null],{"decision":"edit","by":["ada"],"at":"1970-01-01T00:00:00.005Z","comment":"fine","edited":{"sure":false}}]
        = COMPLETED
        "#);
    }

    #[test]
    fn rungs_widen_who_may_decide_and_decide_nothing() {
        let plan = json!({"steps": [
            {"id": "a", "approve": {"groups": ["legal"], "escalate": [{"after_ms": 1000, "to": ["leads"]}], "expires_ms": 3000}},
            {"id": "b", "approve": {"groups": ["legal"], "escalate": [{"after_ms": 1000, "to": ["leads"]}], "expires_ms": 3000}},
        ]});
        let script = r#"
            0 submit
            999 decide a approve bob leads
            1000 decide a approve bob leads
            1001 checked a
            3000 fire wake=b=1"#;
        insta::assert_snapshot!(check(&plan, script), @"");
    }

    #[test]
    fn in_the_place_of_another_is_that_ones_word() {
        let plan = json!({"steps": [
            {"id": "a", "approve": {"groups": ["legal"], "quorum": 2, "self": true}},
        ]});
        let script = r#"
            0 submit
            1 decide a approve ada/bob legal
            2 decide a approve cyd/ada legal
            3 decide a approve cyd/bob legal
            4 decide a approve bob legal
            5 decide a approve cyd legal
            6 decide a approve dee/cyd legal
            7 decide a approve dee/bob legal
            8 decide a approve dee legal"#;
        insta::assert_snapshot!(check(&plan, script), @"");
    }
}
