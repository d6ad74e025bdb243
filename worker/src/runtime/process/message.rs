//! The lines of the protocol: a task to the child, progress and one answer back.

use std::ffi::OsString;
use std::time::Duration;

use kapelle_engine::{Failure, Usage};
use kapelle_telemetry::clock;
use kapelle_types::{AgentVersion, Code};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::Attempt;
use crate::failure;
use crate::secrets::Secrets;

/// Bytes of an offending line that its failure quotes.
const QUOTE_BYTES_MAX: usize = 200;

/// A task as the child reads it.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    pub(super) id: String,
    agent: &'a str,
    version: String,
    run: String,
    step: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<u32>,
    attempt: u32,
    idempotency_key: String,
    deadline: String,
    /// Who did the step before it was handed to this agent, the first first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    chain: Vec<Before<'a>>,
    input: &'a Value,
}

/// An agent that did a step before another.
#[derive(Debug, Serialize)]
struct Before<'a> {
    agent: &'a str,
    version: String,
}

impl<'a> Request<'a> {
    pub(super) fn new(attempt: Attempt<'a>, agent: &'a AgentVersion, input: &'a Value) -> Self {
        let task = attempt.task;
        let left = attempt.ends_at.saturating_duration_since(tokio::time::Instant::now());
        // Each round is work of its own.
        let round = if task.round > 0 { format!("~{}", task.round) } else { String::new() };
        let idempotency_key = format!("{}/{}{round}", task.run_id, task.task.step);
        Self {
            id: format!("{idempotency_key}#{}", task.task.attempt),
            agent: agent.name.as_str(),
            version: agent.version.to_string(),
            run: task.run_id.to_string(),
            step: task.task.step.step.as_str(),
            item: task.task.step.item,
            attempt: task.task.attempt,
            idempotency_key,
            deadline: clock::now().plus(left).rfc3339(),
            chain: task.chain.iter().map(Before::of).collect(),
            input,
        }
    }

    /// One line.
    pub(super) fn line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_default(); // strings, numbers and a `Value` can always be written
        line.push(b'\n');
        line
    }

    /// Who did the step before, in one line.
    fn words(&self) -> String {
        let names = self.chain.iter().map(|it| format!("{}@{}", it.agent, it.version));
        names.collect::<Vec<_>>().join(" ")
    }

    /// The same facts as variables, for a child that does one task only.
    pub(super) fn facts(&self) -> impl Iterator<Item = (String, OsString)> {
        let facts = [
            ("RUN", Some(self.run.clone())),
            ("STEP", Some(self.step.to_owned())),
            ("ITEM", self.item.map(|i| i.to_string())),
            ("ATTEMPT", Some(self.attempt.to_string())),
            ("IDEMPOTENCY_KEY", Some(self.idempotency_key.clone())),
            ("DEADLINE", Some(self.deadline.clone())),
            ("CHAIN", (!self.chain.is_empty()).then(|| self.words())),
        ];
        facts.into_iter().filter_map(|(name, value)| Some((format!("KAPELLE_{name}"), value?.into())))
    }
}

impl<'a> Before<'a> {
    fn of(it: &'a AgentVersion) -> Self {
        Self { agent: it.name.as_str(), version: it.version.to_string() }
    }
}

/// What a child may write.
#[derive(Debug)]
pub(super) enum Said {
    Progress(Progress),
    Reply(Reply),
}

/// The answer to a task.
#[derive(Debug)]
pub(super) enum Reply {
    Output(Value),
    Error(AgentError),
}

/// How far a child says it is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Progress {
    pub(super) done: f64,
    pub(super) total: f64,
    pub(super) note: String,
}

/// What a child says that it has used up since its task began.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Consumed {
    cost: f64,
    input_tokens: u64,
    output_tokens: u64,
    tool_calls: u64,
}

impl From<Consumed> for Usage {
    fn from(said: Consumed) -> Self {
        let Consumed { cost, input_tokens, output_tokens, tool_calls } = said;
        Self { cost_usd: cost, input_tokens, output_tokens, tool_calls }
    }
}

/// What a child says went wrong.
#[derive(Debug, Deserialize)]
pub(super) struct AgentError {
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    retryable: bool,
    #[serde(default)]
    retry_after_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Line {
    id: String,
    #[serde(default)]
    progress: Option<Progress>,
    /// `null` is an output.
    #[serde(default, deserialize_with = "present")]
    output: Option<Value>,
    #[serde(default)]
    usage: Option<Consumed>,
    #[serde(default)]
    error: Option<AgentError>,
}

fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(d).map(Some)
}

impl Said {
    /// Reads a line that must be about this task, with what it says was used up so far.
    ///
    /// # Errors
    /// What is wrong with it, in words without secrets.
    pub(super) fn read(line: &[u8], id: &str, secrets: &Secrets) -> Result<(Self, Option<Usage>), String> {
        let quoted = |text: &[u8]| failure::head(&secrets.mask(text), QUOTE_BYTES_MAX).to_owned();
        let said: Line = serde_json::from_slice(line).map_err(|e| {
            let why = secrets.mask(e.to_string().as_bytes());
            format!("`{}`, which is not a line of the protocol ({why})", quoted(line))
        })?;
        if said.id != id {
            return Err(format!("an answer to `{}`, which was not asked", quoted(said.id.as_bytes())));
        }
        let what = match (said.progress, said.output, said.error) {
            (Some(progress), None, None) => Self::Progress(progress),
            (None, Some(output), None) => Self::Reply(Reply::Output(output)),
            (None, None, Some(error)) => Self::Reply(Reply::Error(error)),
            _ => return Err("a line without exactly one of `progress`, `output` and `error`".into()),
        };
        Ok((what, said.usage.map(Into::into)))
    }
}

impl Reply {
    /// The output, or the failure; neither with a secret.
    pub(super) fn into_answer(self, secrets: &Secrets) -> Result<Value, Failure> {
        match self {
            Self::Output(value) => {
                if let Some(name) = secrets.found_in(&value) {
                    let message = format!("the output holds the secret `{name}`, so nothing of it is recorded");
                    return Err(failure::permanent(Code::SECRET_IN_OUTPUT, message));
                }
                Ok(value)
            }
            Self::Error(AgentError { code, message, retryable, retry_after_ms }) => {
                let [code, message] = [code, message].map(|text| secrets.mask(text.as_bytes()));
                Err(failure::by_agent(&code, &message, retryable, retry_after_ms.map(Duration::from_millis)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(Said, Option<Usage>), String> {
        Said::read(line.as_bytes(), "t", &Secrets::default())
    }

    #[test]
    fn the_three_kinds_of_lines_are_told_apart() {
        let progress = read(r#"{"id":"t","progress":{"done":3,"total":10}}"#);
        assert!(
            matches!(progress, Ok((Said::Progress(Progress { done: 3.0, total: 10.0, .. }), None))),
            "{progress:?}"
        );
        let running = read(r#"{"id":"t","progress":{},"usage":{"tool_calls":2}}"#);
        assert!(matches!(running, Ok((Said::Progress(_), Some(Usage { tool_calls: 2, .. })))), "{running:?}");
        let (output, usage) = read(r#"{"id":"t","output":null,"usage":{"cost":0.5},"more":1}"#).unwrap();
        assert!(matches!(output, Said::Reply(Reply::Output(Value::Null))), "{output:?}");
        assert_eq!(usage, Some(Usage { cost_usd: 0.5, ..Usage::default() }));
        let error = read(r#"{"id":"t","error":{"code":"busy","retryable":true,"retry_after_ms":500}}"#);
        let Ok((Said::Reply(reply), None)) = error else { panic!("{error:?}") };
        let failure = reply.into_answer(&Secrets::default()).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retryable), ("busy", true));
        assert_eq!(failure.retry_after, Some(Duration::from_millis(500)));
    }

    #[test]
    fn anything_else_is_refused_in_words() {
        for (line, want) in [
            ("Hello!", "which is not a line of the protocol"),
            ("[]", "which is not a line of the protocol"),
            (r#"{"output":1}"#, "missing field `id`"),
            (r#"{"id":"u","output":1}"#, "an answer to `u`"),
            (r#"{"id":"t"}"#, "without exactly one"),
            (r#"{"id":"t","output":1,"usage":{"input_tokens":-1}}"#, "which is not a line of the protocol"),
            (r#"{"id":"t","output":1,"error":{"code":"x"}}"#, "without exactly one"),
        ] {
            let said = read(line);
            assert!(said.as_ref().is_err_and(|e| e.contains(want)), "{line}: {said:?}");
        }
    }
}
