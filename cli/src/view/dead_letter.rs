//! Dead letters.

use kapelle_proto::v1;
use serde::Serialize;
use serde_json::Value;

use super::{Error, payload};
use crate::output::moment;

/// One step that gave up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct DeadLetter {
    pub(crate) run_id: String,
    pub(crate) step: String,
    pub(crate) attempt: u32,
    pub(crate) agent: String,
    pub(crate) workflow: String,
    pub(crate) at: Option<String>,
    pub(crate) error: Option<Error>,
    /// The same for those that are alike.
    pub(crate) fingerprint: String,
    /// How often it was put back before; only where one dead letter was asked for, or something is done to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replays: Option<u32>,
    /// Only where one dead letter was asked for.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(crate) input: Value,
    /// Only where one dead letter was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) history: Vec<Attempt>,
}

/// One attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Attempt {
    pub(crate) attempt: u32,
    pub(crate) at: Option<String>,
    pub(crate) error: Option<Error>,
}

/// How many dead letters an agent has for one cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DeadLetterCount {
    pub(crate) agent: String,
    pub(crate) code: String,
    pub(crate) count: u64,
    pub(crate) oldest_at: Option<String>,
}

/// Dead letters that are alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DeadLetterGroup {
    pub(crate) fingerprint: String,
    pub(crate) agent: String,
    pub(crate) versions: Vec<String>,
    pub(crate) code: String,
    /// What they have in common; `…` stands for what differs.
    pub(crate) text: String,
    pub(crate) count: u64,
    pub(crate) oldest_at: Option<String>,
    pub(crate) newest_at: Option<String>,
    pub(crate) workflows: Vec<String>,
    /// The newest of them.
    pub(crate) run_id: String,
    pub(crate) step: String,
}

impl From<v1::DeadLetterGroup> for DeadLetterGroup {
    fn from(wire: v1::DeadLetterGroup) -> Self {
        Self {
            fingerprint: wire.fingerprint,
            agent: wire.agent,
            versions: wire.versions,
            code: wire.code,
            text: wire.text,
            count: wire.count,
            oldest_at: moment(wire.oldest_unix_nanos),
            newest_at: moment(wire.newest_unix_nanos),
            workflows: wire.workflows,
            run_id: wire.run_id,
            step: wire.step,
        }
    }
}

impl From<v1::DeadLetterView> for DeadLetter {
    fn from(wire: v1::DeadLetterView) -> Self {
        let attempt = |a: v1::DeadLetterAttempt| Attempt {
            attempt: a.attempt,
            at: moment(a.at_unix_nanos),
            error: a.failure.map(Error::from),
        };
        Self {
            run_id: wire.run_id,
            step: wire.step,
            attempt: wire.attempt,
            agent: wire.agent,
            workflow: wire.workflow,
            at: moment(wire.at_unix_nanos),
            error: wire.cause.map(Error::from),
            fingerprint: wire.fingerprint,
            replays: (wire.replays > 0).then_some(wire.replays),
            input: payload(&wire.input),
            history: wire.history.into_iter().map(attempt).collect(),
        }
    }
}

impl From<v1::DeadLetterCount> for DeadLetterCount {
    fn from(wire: v1::DeadLetterCount) -> Self {
        let oldest_at = moment(wire.oldest_unix_nanos);
        Self { agent: wire.agent, code: wire.code, count: wire.count, oldest_at }
    }
}
