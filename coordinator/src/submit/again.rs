//! A run that was there before, started again: wholly, or from one of its steps.
//!
//! The new run has the input of the old one without anybody having read it: the coordinator takes it out of one log and puts
//! it into another. It belongs to whom the old one belonged, so that whoever starts it again sees no more of it than before.
//!
//! | | versions | input | steps |
//! |---|---|---|---|
//! | restart | those of the old run, or `latest` | the old run's | all are done |
//! | fork | those of the old run, or `latest` | the old run's, or another | those that do not depend on the first are kept |

use std::sync::Arc;

use bytes::Bytes;
use kapelle_bus::payloads;
use kapelle_engine::{Body, Kept, NotKept, Plan, RunSubmitted, behaviour, keep};
use kapelle_types::{Caller, Code, Diagnosis, Payload, RunId, StepId, limits};
use tokio::time::Instant;

use super::{Asked, PARENT, Prepared, ROOT, Submitter, check_key, run_id};
use crate::catalog::Resolved;
use crate::identity::spelled;
use crate::plans::PlanStore;
use crate::runs::Rebuilt;

/// The label that names the run that was restarted.
const RESTARTED_FROM: &str = "restarted_from";
/// The label that names the run that was forked.
const FORKED_FROM: &str = "forked_from";

/// What is to be started again.
pub(crate) struct Again<'r> {
    /// The old run.
    pub(crate) old: &'r Rebuilt,
    /// Where a fork begins; without it everything is done again.
    pub(crate) fork: Option<Fork>,
    /// The versions that a job would get now, instead of those of the old run.
    pub(crate) latest: bool,
    /// One key, one run.
    pub(crate) key: Option<String>,
    /// Who asks.
    pub(crate) caller: &'r Caller,
    /// Whether they may hear what is wrong with the old run's input.
    pub(crate) sees: bool,
    /// The trace that this is part of.
    pub(crate) traceparent: Option<String>,
}

/// A fork.
pub(crate) struct Fork {
    /// The step that it begins at.
    pub(crate) from: StepId,
    /// Another input, as JSON text.
    pub(crate) input: Option<Bytes>,
}

impl Submitter {
    /// Checks a run that is to be started again, without recording anything but large payloads.
    ///
    /// # Errors
    /// As [`Submitter::prepare`]; `AGENT_RETIRED`, `NOTHING_TO_FORK`, `STEP_DIFFERS`, `OLDER_COORDINATOR`, `PAYLOAD_MISSING`.
    pub(crate) async fn prepare_again(&self, again: Again<'_>, plans: &PlanStore) -> Result<Prepared, Diagnosis> {
        self.admission.check()?;
        check_key(again.key.as_deref())?;
        let behaviour = self.behaviour();
        if behaviour < behaviour::KEPT {
            let message = "a coordinator of an older release is still there, which would not know whose run this is";
            return Err(Diagnosis::new(Code::OLDER_COORDINATOR, message).hint("repeat it when all are of this release"));
        }
        let (ticket, prepared_at) = (self.catalog.ticket(), Instant::now());
        let first = submission(again.old)?;
        let namespace = again.caller.namespace.clone().unwrap_or_default();
        let run = run_id(&namespace, first.workflow.name.as_str(), again.key.as_deref())?;
        let resolved = if again.latest {
            self.catalog.resolve(first.workflow.name.as_str(), "", Some(run)).await?
        } else {
            self.catalog.resolve_as(first)?
        };
        let input = match again.fork.as_ref().and_then(|fork| fork.input.as_ref()) {
            Some(other) => self.input(other, &resolved, false).await?,
            None => old_input(again.old, first, &resolved, again.sees)?,
        };
        let old = again.old.run.id();
        let mut labels = first.labels.clone();
        if first.parent.is_some() {
            labels.retain(|label, _| label != PARENT && label != ROOT);
        }
        let label = if again.fork.is_some() { FORKED_FROM } else { RESTARTED_FROM };
        labels.insert(label.to_owned(), old.to_string());
        let owner = again.old.run.submitted_by().filter(|owner| **owner != again.caller.principal);
        // That of the run above was for what the workflow does not say; nobody asked for it in the place of what it says.
        let says = self.catalog.snapshot().workflow(&resolved.workflow).is_some_and(|it| it.spec.priority.is_some());
        let asked_for = first.parent.is_none() || !says;
        let mut submitted = RunSubmitted {
            workflow: resolved.workflow.clone(),
            workflow_digest: resolved.digest,
            pins: resolved.pins.clone(),
            input,
            key: again.key,
            behaviour,
            signing_key: Some(self.catalog.newest_key()),
            labels,
            owner: owner.cloned(),
            forked_from: again.fork.as_ref().map(|_| old),
            kept: Vec::new(),
            // Who asks for it anew may not agree to what it does.
            person: again.caller.person.as_deref().or(Some(again.caller.principal.0.as_str())).map(spelled),
            workflow_pins: resolved.workflow_pins.clone(),
            // Nobody waits for it: the run above has what the old one came to, or begins one of its own.
            parent: None,
            continued_from: None,
            priority: first.priority.filter(|_| asked_for),
            fairness: first.fairness.clone(),
        };
        if let Some(fork) = &again.fork {
            let plan = plans.plan(&submitted).await.map_err(|e| Diagnosis::new(Code::PLAN_MISSING, e.to_string()))?;
            submitted.kept = self.kept(again.old, first, &submitted, &plan, &fork.from).await?;
        }
        let asked = Asked { principal: again.caller.principal.clone(), traceparent: again.traceparent };
        let keyed = submitted.key.is_some();
        Ok(asked.into_record((run, keyed), submitted, None, resolved.outgoing.clone(), (ticket, prepared_at)))
    }

    /// What the fork keeps, large payloads stored.
    async fn kept(
        &self,
        old: &Rebuilt,
        first: &RunSubmitted,
        new: &RunSubmitted,
        plan: &Plan,
        from: &StepId,
    ) -> Result<Vec<Kept>, Diagnosis> {
        let snapshot = self.catalog.snapshot();
        let (before, after) = (snapshot.workflow(&first.workflow), snapshot.workflow(&new.workflow));
        let same = |step: &StepId| {
            let defined = |workflow: &Option<Arc<kapelle_manifest::Workflow>>| {
                workflow.as_ref().and_then(|it| it.spec.steps.iter().find(|s| s.id == *step).cloned())
            };
            let pinned = |submitted: &RunSubmitted| {
                submitted.pins.iter().filter(|pin| pin.step == *step).cloned().collect::<Vec<_>>()
            };
            let runs = |submitted: &RunSubmitted| submitted.workflow_pins.iter().find(|pin| pin.step == *step).cloned();
            defined(&before) == defined(&after) && pinned(first) == pinned(new) && runs(first) == runs(new)
        };
        let mut kept = keep(&old.run, plan, from, same).map_err(|why| not_kept(old.run.id(), from, &why))?;
        // All of them travel in one entry: only as much as fits beside the input is inline.
        let mut room = limits::PAYLOAD_INLINE_BYTES_MAX;
        for payload in kept.iter_mut().filter_map(Kept::payload_mut) {
            self.fit(payload, &mut room).await?;
        }
        Ok(kept)
    }

    /// Leaves a payload inline if there is room for it, and stores it otherwise.
    async fn fit(&self, payload: &mut Payload, room: &mut usize) -> Result<(), Diagnosis> {
        let (Some(value), None) = (&payload.value, &payload.stored) else { return Ok(()) };
        let invalid =
            |why: String| Diagnosis::new(Code::BROKER_UNAVAILABLE, format!("what is kept cannot be stored: {why}"));
        let text = serde_json::to_vec(value).map_err(|e| invalid(e.to_string()))?;
        if let Some(left) = room.checked_sub(text.len()) {
            *room = left;
            return Ok(());
        }
        payload.stored = Some(self.bus.payloads().put(&text).await.map_err(|error| match error {
            payloads::Error::TooLarge(bytes) => {
                let message =
                    format!("the outputs of one `foreach` come to {bytes} bytes together, which is too much to keep");
                Diagnosis::new(Code::PAYLOAD_TOO_LARGE, message).hint("fork from that step, or from one before it")
            }
            other => invalid(other.to_string()),
        })?);
        Ok(())
    }
}

/// The first entry of a run.
fn submission(old: &Rebuilt) -> Result<&RunSubmitted, Diagnosis> {
    let bodies = old.records.iter().flat_map(|record| &record.entries).map(|entry| &entry.body);
    let mut submissions = bodies.filter_map(|body| if let Body::RunSubmitted(it) = body { Some(&**it) } else { None });
    let missing = || Diagnosis::new(Code::UNKNOWN_RUN, format!("run {} has no submission", old.run.id()));
    submissions.next().ok_or_else(missing)
}

/// The input of the old run, as it is, if it is still there and what the workflow takes.
fn old_input(old: &Rebuilt, first: &RunSubmitted, resolved: &Resolved, sees: bool) -> Result<Payload, Diagnosis> {
    let gone = || {
        let message = format!("the input of run {} is stored and cannot be found", old.run.id());
        Diagnosis::new(Code::PAYLOAD_MISSING, message).hint("restore the object store `payloads`")
    };
    let value = first.input.value.as_ref().ok_or_else(gone)?;
    resolved.check_input(value, !sees)?;
    Ok(first.input.clone())
}

fn not_kept(run: RunId, from: &StepId, why: &NotKept) -> Diagnosis {
    let nothing = |message: String| Diagnosis::new(Code::NOTHING_TO_FORK, message);
    match why {
        NotKept::UnknownStep => nothing(format!("the workflow of run {run} has no step {from}"))
            .hint(format!("`kapelle run describe {run}` shows its steps")),
        NotKept::NotEnded(step) => nothing(format!("step {from} needs {step}, which has no outcome in run {run}"))
            .hint(format!("fork from {step} or from a step before it, or retry the run")),
        NotKept::Gone(step) => nothing(format!("what step {step} of run {run} returned is stored and cannot be found"))
            .hint("restore the object store `payloads`, or fork from that step"),
        NotKept::Differs(step) => {
            let message = format!("step {step} is not the one that run {run} had, so what it returned cannot be kept");
            Diagnosis::new(Code::STEP_DIFFERS, message)
                .hint(format!("fork from {step} or from a step before it, or leave --latest out"))
        }
    }
}
