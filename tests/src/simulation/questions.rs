//! A second opinion on approvals: who may say what of which question, when enough have, and that nothing begins before that.
//! What a question is about is read where people read it; what becomes of it is decided here once more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kapelle_engine::{
    Approval, ApprovalChecked, ApprovalDecided, Command, Decider, Held, Ignored, Plan, PlanStep, Run, Stamp, Verdict,
};
use kapelle_types::{Payload, Sha256, StepRef, TaskId, Timestamp};
use serde_json::Value;

use super::slots::{Wrong, hold};

/// All questions of a run.
pub(crate) struct Questions {
    plan: Arc<Plan>,
    asked: BTreeMap<StepRef, Question>,
    /// What enough people have ever agreed to.
    granted: BTreeSet<StepRef>,
    /// Ids of what was said: who repeats themselves says nothing.
    heard: BTreeSet<String>,
}

struct Question {
    attempt: u32,
    digest: Sha256,
    asked_at: Timestamp,
    expires: Timestamp,
    arguments: Option<Arc<Value>>,
    edited: bool,
    stage: Stage,
    agreed: Vec<Decider>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asked,
    /// By the entry at this sequence.
    Agreed(u64),
    Granted,
    /// The attempt that was held was begun; those after it are covered.
    Used,
}

impl Question {
    const fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Asked | Stage::Agreed(_))
    }
}

impl Questions {
    pub(crate) fn new(plan: &Arc<Plan>) -> Self {
        let plan = Arc::clone(plan);
        Self { plan, asked: BTreeMap::new(), granted: BTreeSet::new(), heard: BTreeSet::new() }
    }

    /// Whether a step or member waits for people, so that its latest attempt was never begun.
    pub(crate) fn is_open(&self, step: &StepRef) -> bool {
        self.asked.get(step).is_some_and(Question::is_open)
    }

    /// Whether enough people have ever agreed to what a step did.
    pub(crate) fn was_granted(&self, step: &StepRef) -> bool {
        self.granted.contains(step)
    }

    /// The question of a step or member is over, however it ended.
    pub(crate) fn forget(&mut self, step: &StepRef) {
        self.asked.remove(step);
    }

    fn approval(&self, step: &StepRef) -> Option<Approval> {
        self.plan.steps.iter().find(|planned| planned.id == step.step)?.approval().cloned()
    }

    /// Somebody is asked about an attempt.
    pub(crate) fn ask(&mut self, run: &Run, task: &TaskId, due: Timestamp, at: Timestamp) -> Result<(), Wrong> {
        let step = &task.step;
        let (Some(held), Some(approval)) = (held(run, step), self.approval(step)) else {
            return Err(("only_what_people_shall_agree_to_is_asked", task.to_string()));
        };
        let right = held.asked_at == at && held.expires == at.plus(approval.expires) && held.expires == due;
        let right = right && held.agreed.is_empty() && !held.decided && !held.edited;
        hold("a_question_is_new_when_it_is_asked", right, || format!("{held:?}"))?;
        let question = Question {
            attempt: task.attempt,
            digest: held.digest,
            asked_at: at,
            expires: due,
            arguments: held.arguments.value,
            edited: false,
            stage: Stage::Asked,
            agreed: Vec::new(),
        };
        self.asked.insert(step.clone(), question);
        Ok(())
    }

    /// Somebody said something. True if it was a no that counts.
    pub(crate) fn decided(
        &mut self,
        run: &Run,
        (id, decided): (&str, &ApprovalDecided),
        stamp: Stamp,
        (over, ignored): (bool, Option<Ignored>),
        commands: &[Command],
    ) -> Result<bool, Wrong> {
        let again = !self.heard.insert(id.to_owned());
        let counts = !over && !again && self.counts(run, decided, stamp.at);
        hold("what_people_say_counts_if_they_may_say_it", counts == ignored.is_none(), || {
            format!("{decided:?}, ignored: {ignored:?}")
        })?;
        let Some(approval) = self.approval(&decided.step).filter(|_| counts) else { return Ok(false) };
        let Some(question) = self.asked.get_mut(&decided.step) else { return Ok(false) };
        match &decided.verdict {
            Verdict::Reject => return Ok(true),
            Verdict::Undo => {
                question.agreed.retain(|it| it.person != decided.by.person);
                return if question.agreed.is_empty() { self.renew(run, &decided.step) } else { Ok(()) }
                    .map(|()| false);
            }
            Verdict::Edit(arguments) => {
                question.agreed.clear();
                (question.arguments, question.edited) = (arguments.value.clone(), true);
                question.digest = held(run, &decided.step).map_or(question.digest, |held| held.digest);
            }
            Verdict::Approve | Verdict::Override => {}
        }
        question.agreed.push(decided.by.clone());
        let enough = question.agreed.len() >= approval.quorum as usize || decided.verdict == Verdict::Override;
        let checks = commands.iter().any(|command| match command {
            Command::CheckApproval(check) => {
                (&check.step, check.digest, check.agreed) == (&decided.step, question.digest, stamp.seq)
                    && check.deciders == question.agreed
            }
            _ => false,
        });
        if enough {
            question.stage = Stage::Agreed(stamp.seq);
        }
        hold("what_enough_agreed_to_is_checked", enough == checks, || format!("{decided:?} {commands:?}"))?;
        Ok(false)
    }

    /// Whether this person may say this of that now.
    fn counts(&self, run: &Run, decided: &ApprovalDecided, at: Timestamp) -> bool {
        let (Some(question), Some(approval)) = (self.asked.get(&decided.step), self.approval(&decided.step)) else {
            return false;
        };
        let (by, verdict) = (&decided.by, &decided.verdict);
        let meant = question.stage == Stage::Asked && question.digest == decided.digest && at < question.expires;
        if !meant || by.person.is_empty() {
            return false;
        }
        if *verdict == Verdict::Undo {
            return question.agreed.iter().any(|it| it.person == by.person);
        }
        let climbed = approval.escalate.iter().filter(|rung| question.asked_at.plus(rung.after) <= at);
        let groups: Vec<_> = approval.groups.iter().chain(climbed.flat_map(|rung| &rung.to)).collect();
        let member = approval.groups.is_empty() || by.groups.iter().any(|group| groups.contains(&group));
        if !member && *verdict != Verdict::Override {
            return false;
        }
        let own = run.submitted_by_person().is_some_and(|person| voices(by).any(|voice| voice == person));
        let allowed = !own || (approval.self_approval && by.in_place_of.is_empty());
        let fresh = !question.agreed.iter().any(|said| voices(said).any(|one| voices(by).any(|other| one == other)));
        *verdict == Verdict::Reject || (allowed && fresh)
    }

    /// It was found out whether those who agreed still may. True if they may.
    pub(crate) fn checked(
        &mut self,
        run: &Run,
        checked: &ApprovalChecked,
        at: Timestamp,
        (over, ignored): (bool, Option<Ignored>),
    ) -> Result<bool, Wrong> {
        let question = self.asked.get_mut(&checked.step);
        let of =
            |it: &Question| it.stage == Stage::Agreed(checked.agreed) && it.digest == checked.digest && at < it.expires;
        let counts = !over && question.as_deref().is_some_and(of);
        hold("a_check_counts_for_the_quorum_that_it_is_of", counts == ignored.is_none(), || {
            format!("{checked:?}, ignored: {ignored:?}")
        })?;
        let Some(question) = question.filter(|_| counts) else { return Ok(false) };
        if checked.void.is_some() {
            return self.renew(run, &checked.step).map(|()| false);
        }
        question.stage = Stage::Granted;
        self.granted.insert(checked.step.clone());
        Ok(true)
    }

    /// Nobody has agreed any more, to what the step says.
    fn renew(&mut self, run: &Run, step: &StepRef) -> Result<(), Wrong> {
        let Some(question) = self.asked.get_mut(step) else { return Ok(()) };
        question.stage = Stage::Asked;
        question.agreed.clear();
        if let Some(held) = held(run, step) {
            let same = question.edited || held.digest == question.digest;
            hold("a_question_that_nobody_edited_stays_the_same", same, || format!("{held:?}"))?;
            (question.digest, question.arguments, question.edited) = (held.digest, held.arguments.value, false);
        }
        Ok(())
    }

    /// The timer of a question went off and counted. True if it was one.
    pub(crate) fn expired(&self, task: &TaskId, at: Timestamp) -> Result<bool, Wrong> {
        let Some(question) = self.asked.get(&task.step).filter(|it| it.is_open()) else { return Ok(false) };
        let right = question.attempt == task.attempt && at >= question.expires;
        hold("a_question_is_over_at_its_time", right, || format!("{task} at {at}, due {}", question.expires))?;
        Ok(true)
    }

    /// An attempt begins. True if it is the one that people were asked about.
    pub(crate) fn begin(
        &mut self,
        planned: &PlanStep,
        task: &TaskId,
        input: &Payload,
        at: Timestamp,
    ) -> Result<bool, Wrong> {
        if planned.approval().is_none() {
            return Ok(false);
        }
        let question = self.asked.get_mut(&task.step).filter(|it| !it.is_open() && at < it.expires);
        let Some(question) = question.filter(|it| it.stage == Stage::Used || it.attempt == task.attempt) else {
            return Err(("nothing_begins_that_nobody_agreed_to", format!("{task} at {at}")));
        };
        let same = question.arguments.as_deref() == input.value.as_deref();
        hold("what_begins_is_what_was_agreed_to", same, || format!("{task} {input:?}, not {:?}", question.arguments))?;
        let first = question.stage == Stage::Granted;
        question.stage = Stage::Used;
        Ok(first)
    }

    /// What people see is what was counted here.
    pub(crate) fn compare(&mut self, run: &Run) -> Result<(), Wrong> {
        for held in run.held() {
            let known = self.asked.get(&held.step).filter(|it| it.is_open());
            let same = known.is_some_and(|it| {
                it.digest == held.digest
                    && it.agreed == held.agreed
                    && (it.stage != Stage::Asked) == held.decided
                    && it.edited == held.edited
            });
            hold("people_see_what_is_asked", same, || format!("{held:?}"))?;
        }
        let lost = self.asked.iter().find(|(step, it)| it.is_open() && run.asked_at(step).is_none());
        hold("no_question_is_lost", lost.is_none(), || format!("{:?}", lost.map(|(step, _)| step)))
    }
}

fn held<'r>(run: &'r Run, step: &StepRef) -> Option<Held<'r>> {
    run.held().find(|held| held.step == *step)
}

/// Everybody whose word it is.
fn voices(by: &Decider) -> impl Iterator<Item = &str> {
    [&by.person, &by.in_place_of].into_iter().map(String::as_str).filter(|it| !it.is_empty())
}
