//! Tasks: one attempt of one step, from the coordinator to a worker, on `kapelle.task.…`.

use std::time::Duration;

use bytes::Bytes;
use kapelle_engine::{TaskLimits, TaskToken};
use kapelle_types::{AgentVersion, Payload, Principal, RunId, StepRef, TaskId, Timestamp, WorkflowVersion, printed};
use prost::Message;

use crate::error::{DecodeError, WIRE_VERSION, check_version, missing_or_unknown, parsed};
use crate::failure::millis;
use crate::{payload, token, v1};

/// Everything that a worker needs to execute one attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// The run.
    pub run_id: RunId,
    /// The attempt.
    pub task: TaskId,
    /// Who shall do it.
    pub agent: AgentVersion,
    /// The workflow that the run follows.
    pub workflow: WorkflowVersion,
    /// What the agent gets; a claim check if it is large.
    pub input: Payload,
    /// How long the agent may take, in whole milliseconds.
    pub timeout: Duration,
    /// When the run's own deadline ends it, if it has one.
    pub deadline: Option<Timestamp>,
    /// W3C trace context, if there is one.
    pub traceparent: Option<String>,
    /// Who caused the run.
    pub principal: Principal,
    /// When it was queued, by the log's time.
    pub queued_at: Timestamp,
    /// The round of a step that is repeated or handed on, from 0.
    pub round: u32,
    /// Who did the step before it was handed to this agent, the first first.
    pub chain: Vec<AgentVersion>,
    /// What it may give and use up.
    pub limits: TaskLimits,
    /// What the report has to show, if the run needs that.
    pub token: Option<TaskToken>,
}

impl Task {
    /// Writes the task as one message.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let message = v1::TaskMessage {
            version: WIRE_VERSION,
            run_id: printed(&self.run_id),
            step: printed(&self.task.step),
            attempt: self.task.attempt,
            agent: printed(&self.agent),
            workflow: printed(&self.workflow),
            input: Some((&self.input).into()),
            timeout_millis: millis(self.timeout),
            deadline_unix_nanos: self.deadline.map_or(0, Timestamp::nanos),
            traceparent: self.traceparent.clone().unwrap_or_default(),
            principal: self.principal.0.clone(),
            queued_at_unix_nanos: self.queued_at.nanos(),
            token: token::encode(self.token),
            limits: (self.limits != TaskLimits::default()).then(|| self.limits.into()),
            round: self.round,
            chain: self.chain.iter().map(printed).collect(),
        };
        message.encode_to_vec().into()
    }

    /// Reads a task.
    ///
    /// # Errors
    /// It is garbage, or a newer release wrote it: [`DecodeError::is_newer`] tells which.
    pub fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        let message = v1::TaskMessage::decode(payload.clone())?;
        check_version(message.version)?;
        Self::from_message(message).map_err(|error| missing_or_unknown::<v1::TaskMessage>(error, payload))
    }

    /// The token of a message that may be no task that this release can read: whoever holds it has to report on it.
    #[must_use]
    pub fn token_in(payload: &Bytes) -> Option<TaskToken> {
        v1::TaskMessage::decode(payload.clone()).ok().and_then(|message| TaskToken::from_bytes(&message.token))
    }

    fn from_message(wire: v1::TaskMessage) -> Result<Self, DecodeError> {
        Ok(Self {
            run_id: parsed(&wire.run_id, "run_id")?,
            task: decode_id(&wire.step, wire.attempt)?,
            agent: parsed(&wire.agent, "agent")?,
            workflow: parsed(&wire.workflow, "workflow")?,
            input: payload::decode(wire.input, "input")?,
            timeout: Duration::from_millis(wire.timeout_millis),
            deadline: (wire.deadline_unix_nanos != 0).then(|| Timestamp::from_nanos(wire.deadline_unix_nanos)),
            traceparent: (!wire.traceparent.is_empty()).then_some(wire.traceparent),
            principal: Principal(wire.principal),
            queued_at: Timestamp::from_nanos(wire.queued_at_unix_nanos),
            token: token::decode(&wire.token)?,
            limits: wire.limits.map(Into::into).unwrap_or_default(),
            round: wire.round,
            chain: wire.chain.iter().map(|it| parsed(it, "chain")).collect::<Result<_, _>>()?,
        })
    }
}

impl From<TaskLimits> for v1::TaskLimits {
    fn from(limits: TaskLimits) -> Self {
        Self { payload_bytes: limits.payload_bytes, tokens: limits.tokens, tool_calls: limits.tool_calls }
    }
}

impl From<v1::TaskLimits> for TaskLimits {
    fn from(wire: v1::TaskLimits) -> Self {
        Self { payload_bytes: wire.payload_bytes, tokens: wire.tokens, tool_calls: wire.tool_calls }
    }
}

/// Reads the attempt that a message is about.
pub(crate) fn decode_id(step: &str, attempt: u32) -> Result<TaskId, DecodeError> {
    Ok(TaskId { step: parsed::<StepRef>(step, "step")?, attempt })
}
