//! Samples of `task.proto`.

use kapelle_proto::v1::{AttemptFailure, DeadLetterMessage, TaskLimits, TaskMessage};

use super::log::{failure, inline, stored};
use super::{RUN, at};
use crate::golden::Sample;

pub(super) fn samples() -> Vec<Sample> {
    vec![
        Sample::new(task()),
        Sample::named("signed", TaskMessage { token: vec![7; 16].into(), ..task() }),
        Sample::named("limited", TaskMessage { limits: Some(limits()), ..task() }),
        Sample::named("repeated", TaskMessage { round: 3, ..task() }),
        Sample::named("handed_on", TaskMessage { round: 2, chain: chain(), ..task() }),
        Sample::new(limits()),
        Sample::new(DeadLetterMessage {
            version: 1,
            run_id: RUN.into(),
            step: "review:17".into(),
            attempt: 3,
            agent: "licence-review@1.2.0".into(),
            workflow: "software-intake@1.0.0".into(),
            input: Some(stored()),
            cause: Some(failure()),
            history: vec![attempt(1), attempt(2), attempt(3)],
            at_unix_nanos: at(60),
        }),
        Sample::new(attempt(1)),
    ]
}

fn task() -> TaskMessage {
    TaskMessage {
        version: 1,
        run_id: RUN.into(),
        step: "review:17".into(),
        attempt: 2,
        agent: "licence-review@2.0.0-rc.1".into(),
        workflow: "software-intake@1.0.0".into(),
        input: Some(inline(r#"{"component":{"name":"serde"}}"#)),
        timeout_millis: 20_000,
        deadline_unix_nanos: at(3_600),
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
        principal: "anna@example.com".into(),
        queued_at_unix_nanos: at(2),
        token: Default::default(),
        limits: None,
        round: 0,
        chain: vec![],
    }
}

/// Who had a step before somebody else: one of them twice, it may come back.
pub(super) fn chain() -> Vec<String> {
    vec!["triage@1.4.0".into(), "licence-review@2.0.0-rc.1".into()]
}

/// A task that may call no tool at all: that is said, since no limit is something else.
fn limits() -> TaskLimits {
    TaskLimits { payload_bytes: Some(262_144), tokens: Some(50_000), tool_calls: Some(0) }
}

fn attempt(attempt: u32) -> AttemptFailure {
    let at_unix_nanos = at(i64::from(attempt) * 10);
    AttemptFailure { step: "review:17".into(), attempt, at_unix_nanos, failure: Some(failure()) }
}
