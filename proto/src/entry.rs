//! Entries of the run log, one by one. [`crate::encode_record`] and the API's history use these conversions.

use kapelle_engine::{
    Body, Entry, Kept, KeptOutcome, Parent, Pin, RunFinished, RunSubmitted, SignalReceived, StepFailed, StepSucceeded,
    Usage, WorkflowPin,
};
use kapelle_types::{Fairness, Principal, Priority, RunId, StepRef, printed};

use crate::error::{DecodeError, parsed};
use crate::payload::digest;
use crate::task::decode_id;
use crate::v1::log_entry::Body as WireBody;
use crate::{failure, payload, status, token, v1};

impl From<&Entry> for v1::LogEntry {
    fn from(entry: &Entry) -> Self {
        Self {
            id: entry.id.clone(),
            principal: entry.principal.0.clone(),
            traceparent: entry.traceparent.clone().unwrap_or_default(),
            body: Some((&entry.body).into()),
        }
    }
}

impl TryFrom<v1::LogEntry> for Entry {
    type Error = DecodeError;

    fn try_from(wire: v1::LogEntry) -> Result<Self, DecodeError> {
        Ok(Self {
            id: wire.id,
            principal: Principal(wire.principal),
            traceparent: (!wire.traceparent.is_empty()).then_some(wire.traceparent),
            body: wire.body.ok_or(DecodeError::Missing("body"))?.try_into()?,
        })
    }
}

impl From<&Body> for WireBody {
    fn from(body: &Body) -> Self {
        match body {
            Body::RunSubmitted(submitted) => Self::RunSubmitted(submitted.as_ref().into()),
            Body::StepSucceeded(succeeded) => Self::StepSucceeded(succeeded.into()),
            Body::StepFailed(failed) => Self::StepFailed(failed.into()),
            Body::TimerFired { timer } => Self::TimerFired(v1::TimerFired { timer: timer.to_string() }),
            Body::ApprovalDecided(decided) => Self::ApprovalDecided(decided.as_ref().into()),
            Body::ApprovalChecked(checked) => Self::ApprovalChecked(checked.into()),
            Body::SignalReceived(signal) => Self::SignalReceived(v1::SignalReceived {
                name: printed(&signal.name),
                payload: Some((&signal.payload).into()),
            }),
            Body::CancelRequested { reason } => Self::CancelRequested(v1::CancelRequested { reason: reason.clone() }),
            Body::TerminateRequested { reason } => {
                Self::TerminateRequested(v1::TerminateRequested { reason: reason.clone() })
            }
            Body::PauseRequested { reason } => Self::PauseRequested(v1::PauseRequested { reason: reason.clone() }),
            Body::ResumeRequested => Self::ResumeRequested(v1::ResumeRequested {}),
            Body::RetryRequested { steps } => {
                Self::RetryRequested(v1::RetryRequested { steps: steps.iter().map(StepRef::to_string).collect() })
            }
            Body::FailRequested { reason } => Self::FailRequested(v1::FailRequested { reason: reason.clone() }),
            Body::RunFinished(finished) => Self::RunFinished(finished.as_ref().into()),
        }
    }
}

impl TryFrom<WireBody> for Body {
    type Error = DecodeError;

    fn try_from(wire: WireBody) -> Result<Self, DecodeError> {
        Ok(match wire {
            WireBody::RunSubmitted(submitted) => Self::RunSubmitted(Box::new(submitted.try_into()?)),
            WireBody::StepSucceeded(succeeded) => Self::StepSucceeded(succeeded.try_into()?),
            WireBody::StepFailed(failed) => Self::StepFailed(failed.try_into()?),
            WireBody::TimerFired(fired) => Self::TimerFired { timer: parsed(&fired.timer, "timer")? },
            WireBody::ApprovalDecided(decided) => Self::ApprovalDecided(Box::new(decided.try_into()?)),
            WireBody::ApprovalChecked(checked) => Self::ApprovalChecked(checked.try_into()?),
            WireBody::SignalReceived(signal) => Self::SignalReceived(SignalReceived {
                name: parsed(&signal.name, "name")?,
                payload: payload::decode(signal.payload, "payload")?,
            }),
            WireBody::CancelRequested(request) => Self::CancelRequested { reason: request.reason },
            WireBody::TerminateRequested(request) => Self::TerminateRequested { reason: request.reason },
            WireBody::PauseRequested(request) => Self::PauseRequested { reason: request.reason },
            WireBody::ResumeRequested(v1::ResumeRequested {}) => Self::ResumeRequested,
            WireBody::RetryRequested(request) => Self::RetryRequested {
                steps: request.steps.iter().map(|step| parsed(step, "steps")).collect::<Result<_, _>>()?,
            },
            WireBody::FailRequested(request) => Self::FailRequested { reason: request.reason },
            WireBody::RunFinished(finished) => Self::RunFinished(Box::new(finished.try_into()?)),
        })
    }
}

impl From<&RunSubmitted> for v1::RunSubmitted {
    fn from(submitted: &RunSubmitted) -> Self {
        let pin = |pin: &Pin| v1::StepPin {
            step: printed(&pin.step),
            agent: printed(&pin.agent),
            digest: pin.digest.0.to_vec().into(),
        };
        Self {
            workflow: printed(&submitted.workflow),
            workflow_digest: submitted.workflow_digest.0.to_vec().into(),
            pins: submitted.pins.iter().map(pin).collect(),
            input: Some((&submitted.input).into()),
            key: submitted.key.clone(),
            behaviour: submitted.behaviour,
            signing_key: submitted.signing_key.unwrap_or_default(),
            labels: submitted.labels.clone(),
            owner: submitted.owner.as_ref().map(|owner| owner.0.clone()).unwrap_or_default(),
            forked_from: submitted.forked_from.as_ref().map(printed).unwrap_or_default(),
            kept: submitted.kept.iter().map(Into::into).collect(),
            person: submitted.person.clone(),
            workflow_pins: submitted.workflow_pins.iter().map(Into::into).collect(),
            parent: submitted.parent.as_ref().map(Into::into),
            continued_from: submitted.continued_from.as_ref().map(printed).unwrap_or_default(),
            priority: submitted.priority.map_or(0, |it| it.get().into()),
            fairness_key: submitted.fairness.as_ref().map(|it| it.key.clone()).unwrap_or_default(),
            fairness_weight: submitted.fairness.as_ref().map_or(0, |it| it.weight),
        }
    }
}

impl TryFrom<v1::RunSubmitted> for RunSubmitted {
    type Error = DecodeError;

    fn try_from(wire: v1::RunSubmitted) -> Result<Self, DecodeError> {
        let pin = |pin: v1::StepPin| -> Result<Pin, DecodeError> {
            Ok(Pin {
                step: parsed(&pin.step, "pins.step")?,
                agent: parsed(&pin.agent, "pins.agent")?,
                digest: digest(&pin.digest, "pins.digest")?,
            })
        };
        Ok(Self {
            workflow: parsed(&wire.workflow, "workflow")?,
            workflow_digest: digest(&wire.workflow_digest, "workflow_digest")?,
            pins: wire.pins.into_iter().map(pin).collect::<Result<_, _>>()?,
            input: payload::decode(wire.input, "input")?,
            key: wire.key,
            behaviour: wire.behaviour,
            signing_key: (wire.signing_key != 0).then_some(wire.signing_key),
            labels: wire.labels,
            owner: (!wire.owner.is_empty()).then_some(Principal(wire.owner)),
            forked_from: other_run(&wire.forked_from, "forked_from")?,
            kept: wire.kept.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            person: wire.person,
            workflow_pins: wire.workflow_pins.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            parent: wire.parent.map(TryInto::try_into).transpose()?,
            continued_from: other_run(&wire.continued_from, "continued_from")?,
            priority: priority(wire.priority)?,
            fairness: (wire.fairness_weight > 0)
                .then_some(Fairness { key: wire.fairness_key, weight: wire.fairness_weight }),
        })
    }
}

fn priority(number: u32) -> Result<Option<Priority>, DecodeError> {
    let invalid = || DecodeError::invalid("priority", "no number from 1 to 5");
    let number = u8::try_from(number).map_err(|_| invalid())?;
    if number == 0 { Ok(None) } else { Priority::new(number).map(Some).ok_or_else(invalid) }
}

impl From<&WorkflowPin> for v1::WorkflowPin {
    fn from(pin: &WorkflowPin) -> Self {
        let digest = pin.digest.0.to_vec().into();
        Self { step: printed(&pin.step), workflow: printed(&pin.workflow), digest }
    }
}

impl TryFrom<v1::WorkflowPin> for WorkflowPin {
    type Error = DecodeError;

    fn try_from(wire: v1::WorkflowPin) -> Result<Self, DecodeError> {
        Ok(Self {
            step: parsed(&wire.step, "workflow_pins.step")?,
            workflow: parsed(&wire.workflow, "workflow_pins.workflow")?,
            digest: digest(&wire.digest, "workflow_pins.digest")?,
        })
    }
}

impl From<&Parent> for v1::ParentRun {
    fn from(parent: &Parent) -> Self {
        Self {
            run_id: printed(&parent.run),
            step: printed(&parent.task.step),
            attempt: parent.task.attempt,
            signing_key: parent.signing_key.unwrap_or_default(),
            root_run_id: printed(&parent.root),
            depth: parent.depth,
            awaited: parent.awaited,
        }
    }
}

impl TryFrom<v1::ParentRun> for Parent {
    type Error = DecodeError;

    fn try_from(wire: v1::ParentRun) -> Result<Self, DecodeError> {
        Ok(Self {
            run: parsed(&wire.run_id, "parent.run_id")?,
            task: decode_id(&wire.step, wire.attempt)?,
            signing_key: (wire.signing_key != 0).then_some(wire.signing_key),
            root: parsed(&wire.root_run_id, "parent.root_run_id")?,
            depth: wire.depth,
            awaited: wire.awaited,
        })
    }
}

impl From<&Kept> for v1::KeptStep {
    fn from(kept: &Kept) -> Self {
        use v1::kept_step::Outcome;
        let outcome = match &kept.outcome {
            KeptOutcome::Skipped => Outcome::Skipped(v1::KeptSkipped {}),
            KeptOutcome::Output(output) => Outcome::Output(output.into()),
            KeptOutcome::Members { outputs, total } => {
                Outcome::Members(v1::KeptMembers { outputs: Some(outputs.into()), total: *total })
            }
        };
        Self { step: printed(&kept.step), outcome: Some(outcome) }
    }
}

impl TryFrom<v1::KeptStep> for Kept {
    type Error = DecodeError;

    fn try_from(wire: v1::KeptStep) -> Result<Self, DecodeError> {
        use v1::kept_step::Outcome;
        let outcome = match wire.outcome.ok_or(DecodeError::Missing("kept.outcome"))? {
            Outcome::Skipped(v1::KeptSkipped {}) => KeptOutcome::Skipped,
            Outcome::Output(output) => KeptOutcome::Output(payload::decode(Some(output), "kept.output")?),
            Outcome::Members(members) => KeptOutcome::Members {
                outputs: payload::decode(members.outputs, "kept.members.outputs")?,
                total: members.total,
            },
        };
        Ok(Self { step: parsed(&wire.step, "kept.step")?, outcome })
    }
}

impl From<&StepSucceeded> for v1::StepSucceeded {
    fn from(succeeded: &StepSucceeded) -> Self {
        Self {
            step: printed(&succeeded.task.step),
            attempt: succeeded.task.attempt,
            output: Some((&succeeded.output).into()),
            work: Some((&succeeded.work).into()),
            usage: encode_usage(succeeded.usage),
            token: token::encode(succeeded.token),
        }
    }
}

impl TryFrom<v1::StepSucceeded> for StepSucceeded {
    type Error = DecodeError;

    fn try_from(wire: v1::StepSucceeded) -> Result<Self, DecodeError> {
        Ok(Self {
            task: decode_id(&wire.step, wire.attempt)?,
            output: payload::decode(wire.output, "output")?,
            work: wire.work.map(Into::into).unwrap_or_default(),
            usage: decode_usage(wire.usage)?,
            token: token::decode(&wire.token)?,
        })
    }
}

impl From<&StepFailed> for v1::StepFailed {
    fn from(failed: &StepFailed) -> Self {
        Self {
            step: printed(&failed.task.step),
            attempt: failed.task.attempt,
            failure: Some((&failed.failure).into()),
            work: Some((&failed.work).into()),
            usage: encode_usage(failed.usage),
            token: token::encode(failed.token),
        }
    }
}

impl TryFrom<v1::StepFailed> for StepFailed {
    type Error = DecodeError;

    fn try_from(wire: v1::StepFailed) -> Result<Self, DecodeError> {
        Ok(Self {
            task: decode_id(&wire.step, wire.attempt)?,
            failure: failure::decode(wire.failure, "failure")?,
            work: wire.work.map(Into::into).unwrap_or_default(),
            usage: decode_usage(wire.usage)?,
            token: token::decode(&wire.token)?,
        })
    }
}

impl From<&RunFinished> for v1::RunFinished {
    fn from(finished: &RunFinished) -> Self {
        Self {
            status: v1::RunStatus::from(finished.status).into(),
            output: finished.output.as_ref().map(Into::into),
            error: finished.error.as_ref().map(Into::into),
            decided_seq: finished.decided_seq,
            continued_as: finished.continued_as.as_ref().map(printed).unwrap_or_default(),
        }
    }
}

impl TryFrom<v1::RunFinished> for RunFinished {
    type Error = DecodeError;

    fn try_from(wire: v1::RunFinished) -> Result<Self, DecodeError> {
        Ok(Self {
            status: status::decode(wire.status)?,
            output: wire.output.map(|data| payload::decode(Some(data), "output")).transpose()?,
            error: wire.error.map(TryInto::try_into).transpose()?,
            decided_seq: wire.decided_seq,
            continued_as: other_run(&wire.continued_as, "continued_as")?,
        })
    }
}

/// A run that is named if there is one.
fn other_run(text: &str, field: &'static str) -> Result<Option<RunId>, DecodeError> {
    if text.is_empty() { Ok(None) } else { parsed(text, field).map(Some) }
}

/// Most agents report no usage, and nothing is what they send.
fn encode_usage(usage: Usage) -> Option<v1::ResourceUsage> {
    (usage != Usage::default()).then(|| usage.into())
}

fn decode_usage(wire: Option<v1::ResourceUsage>) -> Result<Usage, DecodeError> {
    wire.map_or(Ok(Usage::default()), TryInto::try_into)
}
