//! Events that runs tell: CloudEvents 1.0 in binary mode, the data as the message's body.
//!
//! The id is the step's, whichever attempt tells it and whichever coordinator: who subscribes, and the broker within its window
//! for duplicates, know a repetition by it. The subject is `kapelle.event.emitted.<type>`, so that no run can speak for the platform.

use async_nats::HeaderMap;
use kapelle_engine::EmitEvent;
use kapelle_types::{RunId, Timestamp, WorkflowVersion};

/// What stands before the type in the subject.
const EMITTED: &str = "emitted";

/// An event on its way.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// Its type, as the subject has it.
    pub(crate) kind: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// The event of a run's step.
pub(crate) fn of_run(run: RunId, workflow: &WorkflowVersion, at: Timestamp, event: &EmitEvent) -> Told {
    let id = format!("{run}/{}", event.task.step);
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", id.as_str());
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", id.as_str());
    headers.insert("ce-source", format!("kapelle/workflow/{workflow}").as_str());
    headers.insert("ce-type", event.kind.as_str());
    headers.insert("ce-subject", run.to_string().as_str());
    headers.insert("ce-time", at.rfc3339().as_str());
    let body = match (&event.data.value, &event.data.stored) {
        (_, Some(stored)) => {
            headers.insert("ce-dataref", format!("kapelle:payload/{}", stored.sha256).as_str());
            Vec::new()
        }
        (Some(value), None) => {
            headers.insert("content-type", "application/json");
            serde_json::to_vec(value).unwrap_or_default()
        }
        (None, None) => Vec::new(),
    };
    Told { kind: format!("{EMITTED}.{}", event.kind), headers, body }
}
