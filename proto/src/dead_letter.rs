//! Dead letters: steps that gave up, kept on `kapelle.dead.…` with their payload, cause and full history.

use bytes::Bytes;
use kapelle_engine::{DeadLetter, Failure};
use kapelle_types::{RunId, TaskId, Timestamp, WorkflowVersion};
use prost::Message;

use crate::error::{DecodeError, WIRE_VERSION, check_version, missing_or_unknown, parsed};
use crate::task::decode_id;
use crate::{failure, payload, v1};

/// A dead letter with the run that it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetterRecord {
    /// The run.
    pub run_id: RunId,
    /// The workflow that it follows.
    pub workflow: WorkflowVersion,
    /// What the engine said about the step.
    pub letter: DeadLetter,
}

impl DeadLetterRecord {
    /// Writes the dead letter as one message.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let letter = &self.letter;
        let message = v1::DeadLetterMessage {
            version: WIRE_VERSION,
            run_id: self.run_id.to_string(),
            step: letter.task.step.to_string(),
            attempt: letter.task.attempt,
            agent: letter.agent.to_string(),
            workflow: self.workflow.to_string(),
            input: Some((&letter.input).into()),
            cause: Some((&letter.cause).into()),
            history: letter.history.iter().map(encode_attempt).collect(),
            at_unix_nanos: letter.at.nanos(),
        };
        message.encode_to_vec().into()
    }

    /// Reads a dead letter.
    ///
    /// # Errors
    /// It is garbage, or a newer release wrote it: [`DecodeError::is_newer`] tells which.
    pub fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        let message = v1::DeadLetterMessage::decode(payload.clone())?;
        check_version(message.version)?;
        Self::from_message(message).map_err(|error| missing_or_unknown::<v1::DeadLetterMessage>(error, payload))
    }

    fn from_message(wire: v1::DeadLetterMessage) -> Result<Self, DecodeError> {
        Ok(Self {
            run_id: parsed(&wire.run_id, "run_id")?,
            workflow: parsed(&wire.workflow, "workflow")?,
            letter: DeadLetter {
                task: decode_id(&wire.step, wire.attempt)?,
                agent: parsed(&wire.agent, "agent")?,
                input: payload::decode(wire.input, "input")?,
                cause: failure::decode(wire.cause, "cause")?,
                history: wire.history.into_iter().map(decode_attempt).collect::<Result<_, _>>()?,
                at: Timestamp::from_nanos(wire.at_unix_nanos),
            },
        })
    }
}

fn encode_attempt((task, at, failure): &(TaskId, Timestamp, Failure)) -> v1::AttemptFailure {
    v1::AttemptFailure {
        step: task.step.to_string(),
        attempt: task.attempt,
        at_unix_nanos: at.nanos(),
        failure: Some(failure.into()),
    }
}

fn decode_attempt(wire: v1::AttemptFailure) -> Result<(TaskId, Timestamp, Failure), DecodeError> {
    let task = decode_id(&wire.step, wire.attempt)?;
    let failure = failure::decode(wire.failure, "history.failure")?;
    Ok((task, Timestamp::from_nanos(wire.at_unix_nanos), failure))
}
