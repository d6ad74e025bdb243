//! Entries of a run's log: the kind, what it is about, and the rest as a value.

use std::collections::BTreeMap;

use kapelle_proto::v1;
use kapelle_proto::v1::log_entry::Body;
use serde::Serialize;
use serde_json::{Map, Value, json, map};

use super::{Error, payload, status_name};
use crate::output::moment;

/// One recorded fact.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Entry {
    pub(crate) seq: u64,
    pub(crate) at: Option<String>,
    /// `control` or `report`.
    pub(crate) channel: String,
    /// `StepSucceeded`.
    pub(crate) kind: &'static str,
    pub(crate) principal: String,
    pub(crate) id: String,
    /// Why it changed nothing; null if it did.
    pub(crate) ignored: Option<String>,
    /// What it says.
    pub(crate) body: Value,
}

impl From<v1::HistoryEntry> for Entry {
    fn from(wire: v1::HistoryEntry) -> Self {
        let entry = wire.entry.unwrap_or_default();
        let (kind, body) = entry.body.map_or(("Unknown", Value::Null), body);
        Self {
            seq: wire.seq,
            at: moment(wire.at_unix_nanos),
            channel: wire.channel,
            kind,
            principal: entry.principal,
            id: entry.id,
            ignored: (!wire.ignored.is_empty()).then_some(wire.ignored),
            body,
        }
    }
}

fn body(body: Body) -> (&'static str, Value) {
    match body {
        Body::RunSubmitted(b) => ("RunSubmitted", submitted(b)),
        Body::StepSucceeded(b) => {
            let mut value = attempt(&b.step, b.attempt, b.work, b.usage);
            value.insert("output".into(), data(b.output));
            ("StepSucceeded", value.into())
        }
        Body::StepFailed(b) => {
            let mut value = attempt(&b.step, b.attempt, b.work, b.usage);
            value.insert("error".into(), failure(b.failure));
            ("StepFailed", value.into())
        }
        Body::TimerFired(b) => ("TimerFired", json!({ "timer": b.timer })),
        Body::SignalReceived(b) => ("SignalReceived", json!({ "name": b.name, "payload": data(b.payload) })),
        Body::ApprovalDecided(b) => {
            let verdict = verdict_name(b.verdict);
            let person = b.by.map(|by| by.person).unwrap_or_default();
            let value = json!({
                "step": b.step, "verdict": verdict, "person": person, "comment": b.comment, "arguments": data(b.arguments),
            });
            ("ApprovalDecided", value)
        }
        Body::ApprovalChecked(b) => ("ApprovalChecked", json!({ "step": b.step, "void": b.void })),
        Body::CancelRequested(b) => ("CancelRequested", json!({ "reason": b.reason })),
        Body::TerminateRequested(b) => ("TerminateRequested", json!({ "reason": b.reason })),
        Body::PauseRequested(b) => ("PauseRequested", json!({ "reason": b.reason })),
        Body::ResumeRequested(_) => ("ResumeRequested", json!({})),
        Body::RetryRequested(b) => ("RetryRequested", json!({ "steps": b.steps })),
        Body::FailRequested(b) => ("FailRequested", json!({ "reason": b.reason })),
        Body::RunFinished(b) => {
            let (status, error) = (status_name(b.status), failure(b.error));
            let output = data(b.output);
            ("RunFinished", json!({ "status": status, "output": output, "error": error, "decided_seq": b.decided_seq }))
        }
    }
}

fn verdict_name(verdict: i32) -> &'static str {
    use v1::approval_decided::Verdict;
    match Verdict::try_from(verdict) {
        Ok(Verdict::Approve) => "approve",
        Ok(Verdict::Reject) => "reject",
        Ok(Verdict::Edit) => "edit",
        Ok(Verdict::Override) => "override",
        Ok(Verdict::Undo) => "undo",
        Ok(Verdict::Unspecified) | Err(_) => "unknown",
    }
}

fn submitted(b: v1::RunSubmitted) -> Value {
    let (mut agents, mut handed_to) = (Map::new(), BTreeMap::<String, Vec<String>>::new());
    for pin in b.pins {
        match agents.entry(pin.step) {
            map::Entry::Vacant(first) => drop(first.insert(pin.agent.into())),
            map::Entry::Occupied(there) => handed_to.entry(there.key().clone()).or_default().push(pin.agent),
        }
    }
    let labels: Map<String, Value> = b.labels.into_iter().map(|(k, v)| (k, v.into())).collect();
    let mut value = json!({
        "workflow": b.workflow, "agents": agents, "input": data(b.input), "key": b.key,
        "behaviour": b.behaviour, "labels": labels,
    });
    if !handed_to.is_empty() {
        value["may_be_handed_to"] = json!(handed_to);
    }
    value
}

fn attempt(
    step: &str,
    attempt: u32,
    work: Option<v1::WorkDone>,
    usage: Option<v1::ResourceUsage>,
) -> Map<String, Value> {
    let mut value = Map::new();
    value.insert("step".into(), step.into());
    value.insert("attempt".into(), attempt.into());
    if let Some(work) = work {
        value.insert("worker".into(), work.worker.into());
        value.insert("duration_ms".into(), (work.duration_nanos / 1_000_000).into());
        if !work.agent.is_empty() {
            value.insert("agent".into(), work.agent.into());
        }
    }
    if let Some(usage) = usage {
        value.insert("cost_usd".into(), usage.cost_usd.into());
        value.insert("input_tokens".into(), usage.input_tokens.into());
        value.insert("output_tokens".into(), usage.output_tokens.into());
        value.insert("tool_calls".into(), usage.tool_calls.into());
    }
    value
}

fn failure(wire: Option<v1::StepFailure>) -> Value {
    wire.and_then(|f| serde_json::to_value(Error::from(f)).ok()).unwrap_or_default()
}

/// An inline payload's value; for one in the object store, its digest and size.
fn data(wire: Option<v1::PayloadData>) -> Value {
    use v1::payload_data::Content;
    match wire.and_then(|w| w.content) {
        None => Value::Null,
        Some(Content::Inline(json)) => payload(&json),
        Some(Content::Reference(stored)) => {
            let sha256: String = stored.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "stored": { "sha256": sha256, "size_bytes": stored.size_bytes } })
        }
    }
}

impl Entry {
    /// What it says, in a few words for a table.
    pub(crate) fn gist(&self) -> String {
        let text = |key: &str| self.body[key].as_str().unwrap_or_default().to_owned();
        let step = || format!("{} #{}", text("step"), self.body["attempt"]);
        let said = match self.kind {
            "RunSubmitted" => text("workflow"),
            "StepSucceeded" => format!("{} in {} ms", step(), self.body["duration_ms"]),
            "StepFailed" => {
                let of = |key: &str| self.body["error"][key].as_str().unwrap_or_default().to_owned();
                format!("{} {}: {}", step(), of("code"), of("message"))
            }
            "TimerFired" => text("timer"),
            "SignalReceived" => text("name"),
            "ApprovalDecided" => format!("{} {} by {}", text("step"), text("verdict"), text("person")),
            "ApprovalChecked" if self.body["void"].is_null() => format!("{} may go on", text("step")),
            "ApprovalChecked" => format!("{} is void: {}", text("step"), text("void")),
            "RetryRequested" => self.body["steps"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(" "),
            "RunFinished" => text("status"),
            _ => text("reason"),
        };
        match &self.ignored {
            Some(why) => format!("{said} (ignored: {why})").trim_start().to_owned(),
            None => said,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(body: Body, ignored: &str) -> Entry {
        let entry = v1::LogEntry { principal: "worker:w1".into(), body: Some(body), ..Default::default() };
        Entry::from(v1::HistoryEntry { seq: 7, entry: Some(entry), ignored: ignored.into(), ..Default::default() })
    }

    #[test]
    fn entries_say_what_they_are_about() {
        let work = Some(v1::WorkDone { worker: "w1".into(), duration_nanos: 42_000_000, ..Default::default() });
        let output = Some(v1::PayloadData { content: Some(v1::payload_data::Content::Inline("[1]".into())) });
        let done =
            v1::StepSucceeded { step: "review:3".into(), attempt: 2, output, work, usage: None, ..Default::default() };
        let done = entry(Body::StepSucceeded(done), "");
        assert_eq!((done.kind, done.gist().as_str()), ("StepSucceeded", "review:3 #2 in 42 ms"));
        assert_eq!(done.body["output"], json!([1]));
        let failure = v1::StepFailure { code: "K0401".into(), message: "too slow".into(), ..Default::default() };
        let failed = v1::StepFailed {
            step: "a".into(),
            attempt: 1,
            failure: Some(failure),
            work: None,
            usage: None,
            ..Default::default()
        };
        assert_eq!(entry(Body::StepFailed(failed), "").gist(), "a #1 K0401: too slow");
        let asked = entry(Body::CancelRequested(v1::CancelRequested { reason: String::new() }), "run_finished");
        assert_eq!(asked.gist(), "(ignored: run_finished)");
    }

    #[test]
    fn a_stored_payload_is_named_not_fetched() {
        let stored = v1::PayloadReference { sha256: vec![0xab, 1].into(), size_bytes: 70_000 };
        let wire = v1::PayloadData { content: Some(v1::payload_data::Content::Reference(stored)) };
        assert_eq!(data(Some(wire))["stored"], json!({ "sha256": "ab01", "size_bytes": 70_000 }));
        assert!(data(None).is_null());
    }
}
