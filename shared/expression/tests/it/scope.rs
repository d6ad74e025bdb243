//! A scope made of plain JSON, for tests.

use kapelle_expression::Scope;
use kapelle_types::{Payload, StepId, Timestamp};
use serde_json::{Value, json};

/// `{"input": …, "steps": {"<id>": {"output": …, "outputs": …, "status": …}}, "item": …, "index": …, "error": …}`
pub(crate) struct Run {
    pub(crate) input: Payload,
    pub(crate) rest: Value,
}

impl Run {
    pub(crate) fn new(input: Value, rest: Value) -> Self {
        Self { input: Payload::inline(input), rest }
    }

    /// A run with something of everything.
    pub(crate) fn sample() -> Self {
        Self::new(
            json!({
                "name": "kapelle", "score": 0.9, "count": 3, "big": u64::MAX, "none": null, "on": true,
                "labels": ["billing", "urgent"], "a-b": 1, "nested": {"deep": {"x": [10, 20]}},
                "items": [{"id": "a", "n": 1}, {"id": "b", "n": 2}], "weights": {"b": 2, "a": 1},
            }),
            json!({
                "steps": {
                    "score": {"output": {"risk": 0.7, "risks": {"a": 1}}, "status": "SUCCEEDED"},
                    "review": {"outputs": [{"licence": "MIT"}, {"licence": "GPL-3.0"}], "status": "SUCCEEDED"},
                    "skipped": {"output": null, "status": "SKIPPED"},
                },
                "item": {"id": "a"}, "index": 7,
            }),
        )
    }

    fn of(&self, step: &StepId, what: &str) -> Option<Payload> {
        self.rest["steps"][step.as_str()].get(what).cloned().map(Payload::inline)
    }
}

impl Scope for Run {
    fn input(&self) -> Payload {
        self.input.clone()
    }
    fn output(&self, step: &StepId) -> Option<Payload> {
        self.of(step, "output")
    }
    fn outputs(&self, step: &StepId) -> Option<Payload> {
        self.of(step, "outputs")
    }
    fn status(&self, step: &StepId) -> Option<&'static str> {
        match self.rest["steps"][step.as_str()]["status"].as_str()? {
            "SUCCEEDED" => Some("SUCCEEDED"),
            _ => Some("SKIPPED"),
        }
    }
    fn item(&self) -> Option<Payload> {
        self.rest.get("item").cloned().map(Payload::inline)
    }
    fn index(&self) -> Option<u32> {
        u32::try_from(self.rest["index"].as_u64()?).ok()
    }
    fn given(&self) -> Option<Payload> {
        self.rest.get("output").cloned().map(Payload::inline)
    }
    fn last(&self) -> Option<Payload> {
        self.rest.get("last").cloned().map(Payload::inline)
    }
    fn round(&self) -> Option<u32> {
        u32::try_from(self.rest["round"].as_u64()?).ok()
    }
    fn error(&self) -> Option<(&str, &str)> {
        Some((self.rest["error"]["code"].as_str()?, self.rest["error"]["message"].as_str()?))
    }
    fn run_id(&self) -> String {
        "0199c0de-0000-7000-8000-000000000001".to_owned()
    }
    fn started_at(&self) -> Timestamp {
        Timestamp::from_nanos(1_795_000_000_123_456_789)
    }
}
