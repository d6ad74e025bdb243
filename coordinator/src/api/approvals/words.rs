//! Questions and refusals as clients are told of them.

use kapelle_engine::{Held, Ignored, Run, Rung};
use kapelle_proto::v1;
use kapelle_telemetry::clock;
use kapelle_types::{Code, Diagnosis, StepRef, printed};

use crate::runs::json;

/// That a step asks nobody.
pub(super) fn not_held(run: &Run, step: &StepRef) -> Diagnosis {
    let message = format!("step `{step}` of run {} ({}) waits for no decision", run.id(), run.status().name());
    Diagnosis::new(Code::NOT_HELD, message).hint("`kapelle approval list` shows what does")
}

/// Why a decision does not count, in words.
pub(super) fn told(why: Ignored, run: &Run, step: &StepRef) -> Diagnosis {
    let refused = |code, why: &str| Diagnosis::new(code, format!("step `{step}` of run {}: {why}", run.id()));
    match why {
        Ignored::StaleDigest => refused(Code::STALE_DIGEST, "what it would do is not what was shown to you")
            .hint("look again with `kapelle approval show`, then decide about that"),
        Ignored::ApprovalExpired => refused(Code::NOT_HELD, "the time to decide is over; it is denied"),
        Ignored::AlreadyDecided => refused(Code::NOT_HELD, "it is decided already"),
        Ignored::SelfApproval => refused(Code::SELF_APPROVAL, "you submitted this run, so another person has to agree")
            .hint("you may reject it"),
        Ignored::SamePerson => refused(Code::SAME_PERSON, "you have agreed already; it takes another person"),
        Ignored::NotInGroup => refused(Code::NOT_IN_GROUP, "you are in none of the groups that are asked"),
        Ignored::NotAgreed => refused(Code::NOT_HELD, "you have not agreed to it, so there is nothing to take back"),
        Ignored::BadEdit => refused(Code::BAD_EDIT, "the edited arguments are not what its agent takes"),
        Ignored::Duplicate => refused(Code::WRONG_STATE, "this decision was recorded before; it counts once"),
        Ignored::RunFinished | Ignored::NotHeld | Ignored::UnknownStep => not_held(run, step),
        other => refused(Code::WRONG_STATE, other.name()),
    }
}

/// A question, as listings have it and with its arguments.
pub(super) fn view(run: &Run, held: &Held<'_>) -> v1::ApprovalView {
    let rung =
        |it: &Rung| v1::ApprovalRung { at_unix_nanos: held.asked_at.plus(it.after).nanos(), groups: it.to.clone() };
    v1::ApprovalView {
        run_id: printed(&run.id()),
        step: printed(&held.step),
        workflow: printed(&run.plan().workflow),
        title: held.approval.title.clone(),
        reason: held.approval.reason.clone(),
        groups: held.approval.groups_at(held.asked_at, clock::now()).map(str::to_owned).collect(),
        quorum: held.approval.quorum,
        agreed: held.agreed.iter().map(|it| it.person.clone()).collect(),
        agent: held.agent.map(printed).or_else(|| held.runs.map(printed)).unwrap_or_default(),
        arguments: json(&held.arguments),
        edited: held.edited,
        digest: held.digest.to_string(),
        asked_at_unix_nanos: held.asked_at.nanos(),
        expires_at_unix_nanos: held.expires.nanos(),
        submitted_by: run.submitted_by_person().unwrap_or_default().to_owned(),
        self_approval: held.approval.self_approval,
        escalation: held.approval.escalate.iter().map(rung).collect(),
        ..v1::ApprovalView::default()
    }
}

/// That nobody agrees to what they may not see.
pub(super) fn unseen(person: &str, step: &str) -> Diagnosis {
    let message = format!("{person} may not see what step `{step}` would be given, so they cannot agree to it");
    let hint = "ask whoever administers Kapelle for payload access; you may reject it";
    Diagnosis::new(Code::APPROVAL_UNSEEN, message).hint(hint)
}
