//! Approvals: what is held until people have agreed to exactly that.
//!
//! ```text
//!   an attempt is due ──ask──▶ Asked ──quorum──▶ Agreed ──checked──▶ Granted ──▶ dispatched, or done
//!                               │ ▲                │ void: nobody has agreed any more
//!                               │ └────────────────┘
//!                               └─ rejected, expired ──▶ gives up
//! ```
//!
//! People agree to a digest: of the run, the step, who would do it, what it would be given, the definition, and until when
//! the question stands. What is given in place of it by an edit is another digest, and nobody has agreed to it but who
//! edited. Between the quorum and the use the coordinator checks that everybody still may; the digest is computed again
//! just before an attempt is begun, and what differs is asked anew.

use std::collections::BTreeMap;

use kapelle_expression::Error;
use kapelle_types::{AgentVersion, Payload, Sha256, StepRef, Timestamp, WorkflowVersion, canonical};
use serde_json::{Value, json};

use crate::command::{CheckApproval, Command, TimerId};
use crate::entry::{Decider, Verdict};
use crate::outstanding;
use crate::plan::{Approval, PlanStep, Rung};
use crate::scope::View;
use crate::state::{Place, Run, Slot, SlotState};
use crate::turn::Turn;
use crate::weight::payload_bytes;

/// What a run's steps are held for, and what was agreed to.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Approvals {
    /// By the place that is held, or that goes on with what was agreed to.
    holds: BTreeMap<Place, Hold>,
    /// What they weigh.
    bytes: usize,
}

/// One question to people, and what they have said so far.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hold {
    /// Of what is asked about.
    pub(crate) digest: Sha256,
    pub(crate) asked_at: Timestamp,
    /// When it is denied, and what was agreed to is worth nothing any more.
    pub(crate) expires: Timestamp,
    /// What somebody put in the place of what the step would be given.
    pub(crate) edited: Option<Payload>,
    pub(crate) stage: HoldStage,
    /// Who has agreed, each person once.
    pub(crate) agreed: Vec<Decider>,
    /// How the last of them said it, and in which words.
    pub(crate) said: (Verdict, String),
}

/// How far a question is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldStage {
    /// More persons have to agree.
    Asked,
    /// Enough did, by the entry at this sequence; whether they still may is being checked.
    Agreed(u64),
    /// They may. The attempt that was held is begun next.
    Granted,
    /// It was begun; the attempts after it are covered too.
    Used,
}

/// A step or member that waits for people.
#[derive(Debug, Clone, PartialEq)]
pub struct Held<'r> {
    /// Which.
    pub step: StepRef,
    /// What is asked of whom.
    pub approval: &'r Approval,
    /// Who would do it, if an agent would.
    pub agent: Option<&'r AgentVersion>,
    /// Which workflow would be run, if one would.
    pub runs: Option<&'r WorkflowVersion>,
    /// What it would be given.
    pub arguments: Payload,
    /// What is agreed to.
    pub digest: Sha256,
    /// Since when.
    pub asked_at: Timestamp,
    /// Until when.
    pub expires: Timestamp,
    /// Who has agreed so far.
    pub agreed: &'r [Decider],
    /// Whether enough have; it is being checked then.
    pub decided: bool,
    /// Whether somebody put other arguments in the place of the step's.
    pub edited: bool,
}

impl Approvals {
    pub(crate) const fn weight_bytes(&self) -> usize {
        self.bytes
    }
}

impl Hold {
    const fn is_open(&self) -> bool {
        matches!(self.stage, HoldStage::Asked | HoldStage::Agreed(_))
    }

    fn weight_bytes(&self) -> usize {
        let decider = |it: &Decider| {
            size_of::<Decider>() + it.persons().chain(it.groups.iter().map(String::as_str)).map(str::len).sum::<usize>()
        };
        size_of::<Self>()
            + self.edited.as_ref().map_or(0, payload_bytes)
            + self.agreed.iter().map(decider).sum::<usize>()
            + self.said.1.len()
    }
}

impl Decider {
    /// Everybody whose word this is: a person has one, whoever says it.
    pub(crate) fn persons(&self) -> impl Iterator<Item = &str> {
        [self.person.as_str(), self.in_place_of.as_str()].into_iter().filter(|it| !it.is_empty())
    }
}

impl Run {
    /// What waits for people now, in the plan's order.
    pub fn held(&self) -> impl Iterator<Item = Held<'_>> {
        let holds =
            self.approvals.iter().filter(|_| !self.is_finished() && self.closing.is_none()).flat_map(|it| &it.holds);
        holds.filter(|(_, hold)| hold.is_open()).filter_map(|(place, hold)| {
            let planned = self.plan.steps.get(place.step)?;
            Some(Held {
                step: place.name(&self.plan)?,
                approval: planned.approval()?,
                agent: self.doing(*place, planned).version(),
                runs: planned.runs(),
                arguments: arguments(self, *place, planned).ok()?,
                digest: hold.digest,
                asked_at: hold.asked_at,
                expires: hold.expires,
                agreed: &hold.agreed,
                decided: hold.stage != HoldStage::Asked,
                edited: hold.edited.is_some(),
            })
        })
    }

    /// What waits for people now, by step or member, and since when.
    pub fn questions(&self) -> impl Iterator<Item = (StepRef, Timestamp)> {
        let open = asked(self).filter(|_| !self.is_finished());
        open.filter_map(|place| Some((place.name(&self.plan)?, at(self, place)?.asked_at)))
    }

    /// Since when a step or member waits for people; `None` if it does not.
    #[must_use]
    pub fn asked_at(&self, step: &StepRef) -> Option<Timestamp> {
        self.hold(step).map(|hold| hold.asked_at)
    }

    /// Who has agreed to what a step or member waits with.
    #[must_use]
    pub fn agreed(&self, step: &StepRef) -> &[Decider] {
        self.hold(step).map_or(&[], |hold| &hold.agreed)
    }

    /// The question that a step or member waits with, while the run goes on.
    fn hold(&self, step: &StepRef) -> Option<&Hold> {
        let place = Place { step: self.find(&step.step)?, item: step.item };
        let open = !self.is_finished() && self.closing.is_none();
        at(self, place).filter(|hold| open && hold.is_open())
    }

    /// The person who submitted it, as far as known.
    #[must_use]
    pub fn submitted_by_person(&self) -> Option<&str> {
        self.origin.as_ref().and_then(|origin| origin.person.as_deref())
    }
}

/// The question that a place is held for, or the answer that it goes on with.
pub(crate) fn at(run: &Run, place: Place) -> Option<&Hold> {
    run.approvals.as_ref()?.holds.get(&place)
}

/// Whether a place waits for people, so that its latest attempt was never begun.
pub(crate) fn is_asked(run: &Run, place: Place) -> bool {
    at(run, place).is_some_and(Hold::is_open)
}

/// The places that wait for people.
pub(crate) fn asked(run: &Run) -> impl Iterator<Item = Place> {
    let approvals = run.approvals.iter().filter(|_| run.closing.is_none());
    approvals.flat_map(|it| &it.holds).filter(|(_, hold)| hold.is_open()).map(|(place, _)| *place)
}

/// Changes a question.
pub(crate) fn edit(run: &mut Run, place: Place, change: impl FnOnce(&mut Hold)) {
    let Some(approvals) = run.approvals.as_deref_mut() else { return };
    let Some(hold) = approvals.holds.get_mut(&place) else { return };
    let before = hold.weight_bytes();
    change(hold);
    approvals.bytes = approvals.bytes.saturating_sub(before) + hold.weight_bytes();
}

/// Nobody needs to answer any more. What was agreed to before stays: it is what the attempts were given.
pub(crate) fn withdraw(run: &mut Run, place: Place) {
    if at(run, place).is_some_and(Hold::is_open) {
        forget(run, place);
    }
}

/// Lets a question and its answer go.
pub(crate) fn forget(run: &mut Run, place: Place) {
    let Some(approvals) = run.approvals.as_deref_mut() else { return };
    if let Some(hold) = approvals.holds.remove(&place) {
        approvals.bytes = approvals.bytes.saturating_sub(hold.weight_bytes());
    }
    if approvals.holds.is_empty() {
        run.approvals = None;
    }
}

/// What an attempt of a step is given: what people agreed to, or what the step says.
pub(crate) fn arguments(run: &Run, place: Place, planned: &PlanStep) -> Result<Payload, Error> {
    match at(run, place).and_then(|hold| hold.edited.clone()) {
        Some(edited) => Ok(edited),
        None => said(run, place, planned),
    }
}

/// What the step says that an attempt is given: its `with`, or what it is handed on with.
fn said(run: &Run, place: Place, planned: &PlanStep) -> Result<Payload, Error> {
    let handed = run.slot(place).is_some_and(|slot| slot.round() > 0);
    let with = planned.handoff.as_ref().filter(|_| handed).and_then(|it| it.with.as_ref());
    with.unwrap_or(&planned.with).evaluate(&View::from(run, place))
}

/// Lets an answer go that is over by now, or was to something else than what would be done.
pub(crate) fn verify(run: &mut Run, place: Place, planned: &PlanStep, now: Timestamp) {
    let Some(hold) = at(run, place) else { return };
    let same =
        || arguments(run, place, planned).is_ok_and(|it| digest(run, place, planned, &it, hold.expires) == hold.digest);
    if hold.is_open() || hold.expires <= now || !same() {
        forget(run, place);
    }
}

/// Nobody has agreed any more, and what is asked is what the step says: an edit was somebody's word.
pub(crate) fn ask_anew(run: &mut Run, place: Place, planned: &PlanStep) {
    let Some(expires) = at(run, place).map(|hold| hold.expires) else { return };
    let original = said(run, place, planned).ok();
    let digest = original.map(|it| digest(run, place, planned, &it, expires));
    edit(run, place, |hold| {
        hold.stage = HoldStage::Asked;
        hold.agreed.clear();
        hold.edited = None;
        hold.digest = digest.unwrap_or(hold.digest);
    });
}

/// Whether people have agreed to what is about to be begun; [`verify`] was asked before.
pub(crate) fn is_granted(run: &Run, place: Place) -> bool {
    at(run, place).is_some_and(|hold| !hold.is_open())
}

/// Whether the attempt that was held is the one that is about to be begun.
pub(crate) fn is_first_use(run: &Run, place: Place) -> bool {
    at(run, place).is_some_and(|hold| hold.stage == HoldStage::Granted)
}

/// What people agree to.
pub(crate) fn digest(run: &Run, place: Place, planned: &PlanStep, arguments: &Payload, expires: Timestamp) -> Sha256 {
    let approval = planned.approval();
    let definition = run.origin.as_ref().map(|origin| origin.definition.to_string());
    let mut action = json!({
        "run": run.id.to_string(),
        "step": place.name(&run.plan).map(|it| it.to_string()),
        "kind": planned.act.name(),
        "agent": run.doing(place, planned).version().map(ToString::to_string).or_else(|| planned.runs().map(ToString::to_string)),
        "arguments": arguments.value.as_deref(),
        "workflow": run.plan.workflow.to_string(),
        "definition": definition,
        "title": approval.map(|it| &it.title),
        "reason": approval.map(|it| &it.reason),
        "groups": approval.map(|it| &it.groups),
        "quorum": approval.map(|it| it.quorum),
        "self_approval": approval.map(|it| it.self_approval),
        "expires": expires.to_string(),
    });
    if let Some(approval) = approval.filter(|it| !it.escalate.is_empty()) {
        let rung = |it: &Rung| json!({ "after": kapelle_types::duration::format(it.after), "to": it.to });
        action["escalate"] = approval.escalate.iter().map(rung).collect();
    }
    Sha256::of(canonical(&action).as_bytes())
}

/// The check that has to come before what was agreed to is used.
pub(crate) fn check(run: &Run, place: Place) -> Option<Command> {
    let hold = at(run, place)?;
    let HoldStage::Agreed(agreed) = hold.stage else { return None };
    Some(Command::CheckApproval(Box::new(CheckApproval {
        step: place.name(&run.plan)?,
        digest: hold.digest,
        agreed,
        deciders: hold.agreed.clone(),
    })))
}

/// What an approval that is a step of its own gives.
pub(crate) fn output(hold: &Hold, at: Timestamp) -> Value {
    let (verdict, comment) = &hold.said;
    json!({
        "decision": verdict.name(),
        "by": hold.agreed.iter().map(|it| &it.person).collect::<Vec<_>>(),
        "at": at.to_string(),
        "comment": comment,
        "edited": hold.edited.as_ref().and_then(|it| it.value.as_deref()),
    })
}

impl Turn<'_> {
    /// Asks people before an attempt is begun.
    pub(crate) fn ask(&mut self, place: Place, planned: &PlanStep, approval: &Approval, arguments: &Payload) {
        let (asked_at, expires) = (self.stamp.at, self.stamp.at.plus(approval.expires));
        let digest = digest(self.run, place, planned, arguments, expires);
        let said = (Verdict::Approve, String::new());
        let hold = Hold { digest, asked_at, expires, edited: None, stage: HoldStage::Asked, agreed: Vec::new(), said };
        let approvals = self.run.approvals.get_or_insert_default();
        approvals.bytes += hold.weight_bytes();
        approvals.holds.insert(place, hold);
        self.run.set_slot(place, SlotState::Awaiting(Some(expires)));
        let timer = self.run.slot(place).and_then(|slot| outstanding::wake(self.run, place, slot, expires));
        self.commands.extend(timer);
    }

    /// Takes the timer of a question back.
    pub(crate) fn stop_waiting(&mut self, place: Place) {
        let task = self.run.slot(place).map(|slot: &Slot| slot.attempt).and_then(|it| place.task(&self.run.plan, it));
        self.commands.extend(task.map(|task| Command::CancelTimer { timer: TimerId::Wake(task) }));
    }
}
