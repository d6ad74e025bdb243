//! The tools of a model agent: a call is checked, made over HTTP, and its result bounded.
//!
//! Whatever the model can mend is told to it: a tool that is not there, arguments that break the schema, an answer of 400 to
//! 499. A tool that cannot be reached or is out of order ends the attempt: a model that goes on without it makes things up.

use std::sync::Arc;

use form_urlencoded::Serializer;
use http::Method as Verb;
use kapelle_engine::Failure;
use kapelle_manifest::{Checker, Method, Tool};
use kapelle_telemetry::clock;
use kapelle_telemetry::metrics::TOOL_CALLS;
use kapelle_types::limits::TOOL_RESULT_BYTES_MAX;
use kapelle_types::{AgentVersion, Code, Diagnosis, Sha256, ToolName};
use serde_json::{Map, Value};

use super::chat::Call;
use super::refusal::{retry_after, unanswered};
use super::web::{Asked, Web};
use crate::failure;
use crate::secrets::Secrets;

/// What stands for the name of a tool that is not there: models make up names, and a metric's labels are few.
const UNKNOWN: &str = "unknown";
/// Characters of such a name that are shown.
const NAME_CHARS_MAX: usize = 64;

/// The tools that an agent is granted.
pub(super) struct Tools {
    agent: AgentVersion,
    tools: Vec<(Tool, Checker)>,
    web: Arc<Web>,
    secrets: Arc<Secrets>,
}

impl Tools {
    /// # Errors
    /// A tool is not granted, or the schema of its parameters is none.
    pub(super) fn new(
        tools: &[Tool],
        granted: &[ToolName],
        agent: &AgentVersion,
        web: Arc<Web>,
        secrets: Arc<Secrets>,
    ) -> Result<Self, Diagnosis> {
        let checked = |tool: &Tool| {
            if !granted.contains(&tool.name) {
                tracing::warn!(%agent, tool = %tool.name, "denied: the agent's access does not name the tool");
                let message = format!("{agent} has the tool `{}`, and its access does not name it.", tool.name);
                return Err(Diagnosis::new(Code::MODEL_TOOL, message).hint("Add it to `access.tools` of its manifest."));
            }
            let checker = tool.parameters.compile().map_err(|invalid| {
                let message =
                    format!("The parameters of the tool `{}` are no JSON Schema: {}.", tool.name, invalid.message);
                Diagnosis::new(Code::SCHEMA_INVALID, message)
            })?;
            Ok((tool.clone(), checker))
        };
        let tools = tools.iter().map(checked).collect::<Result<_, _>>()?;
        Ok(Self { agent: agent.clone(), tools, web, secrets })
    }

    /// What the model is offered.
    pub(super) fn all(&self) -> impl Iterator<Item = &Tool> {
        self.tools.iter().map(|(tool, _)| tool)
    }

    /// Makes a call under a key that is the same whenever the same is called for the same step: what the model gets to see.
    ///
    /// # Errors
    /// The failure of the attempt.
    pub(super) async fn call(&self, call: &Call, step_key: &str) -> Result<String, Failure> {
        let Some((tool, checker)) = self.tools.iter().find(|(tool, _)| tool.name.as_str() == call.name) else {
            let name: String = call.name.chars().take(NAME_CHARS_MAX).collect();
            tracing::warn!(agent = %self.agent, tool = name.escape_debug().to_string(), "denied: the agent has no such tool");
            self.count(UNKNOWN, "denied");
            let names: Vec<&str> = self.all().map(|tool| tool.name.as_str()).collect();
            return Ok(format!("There is no tool `{name}`. There are: {}.", names.join(", ")));
        };
        let name = tool.name.as_str();
        let arguments = match arguments(&call.arguments, checker) {
            Ok(arguments) => arguments,
            Err(why) => {
                self.count(name, "refused");
                return Ok(format!("The tool was not called, because its arguments are wrong: {why}."));
            }
        };
        let made = self.make(tool, arguments, step_key).await;
        match &made {
            Ok((_, outcome)) => self.count(name, outcome),
            Err(failure) => {
                tracing::warn!(agent = %self.agent, tool = name, code = failure.code, why = failure.message, "a tool failed");
                self.count(name, if failure.code == Code::HOST_DENIED.as_str() { "denied" } else { "failed" });
            }
        }
        Ok(made?.0)
    }

    async fn make(
        &self,
        tool: &Tool,
        arguments: Map<String, Value>,
        step_key: &str,
    ) -> Result<(String, &'static str), Failure> {
        let unreachable = |failed| unanswered(failed, Code::TOOL_UNAVAILABLE);
        let mut answer = self.web.send(self.asked(tool, arguments, step_key)).await.map_err(unreachable)?;
        let status = answer.status;
        if status.is_server_error() || [408, 425, 429].contains(&status.as_u16()) {
            let message = format!("the tool `{}` is out of order: it answers {}", tool.name, status.as_u16());
            let retry_after = retry_after(&answer.headers, clock::now());
            return Err(Failure { retry_after, ..failure::transient(Code::TOOL_UNAVAILABLE, message) });
        }
        let (body, more) = answer.head(TOOL_RESULT_BYTES_MAX).await.map_err(unreachable)?;
        let mut text = self.secrets.without_values(&body);
        if more {
            text.push_str(&format!("\n[cut off after {TOOL_RESULT_BYTES_MAX} bytes]"));
        }
        Ok(if status.is_success() { (text, "ok") } else { (format!("HTTP {}: {text}", status.as_u16()), "error") })
    }

    fn asked<'t>(&self, tool: &'t Tool, arguments: Map<String, Value>, step_key: &str) -> Asked<'t> {
        let (method, has_body) = match tool.http.method {
            Method::Get => (Verb::GET, false),
            Method::Delete => (Verb::DELETE, false),
            Method::Post => (Verb::POST, true),
            Method::Put => (Verb::PUT, true),
            Method::Patch => (Verb::PATCH, true),
        };
        let mut headers = vec![("accept", "application/json, text/plain, */*".to_owned())];
        let key = tool.http.bearer.as_ref().and_then(|bearer| self.secrets.value(&bearer.secret));
        headers.extend(key.map(|key| ("authorization", format!("Bearer {key}"))));
        let body = Value::from(arguments);
        if method != Verb::GET {
            let what = Sha256::of(format!("{}\n{body}", tool.name).as_bytes());
            headers.push(("idempotency-key", format!("{step_key}/{what}")));
        }
        let behind = if has_body { String::new() } else { query(&body) };
        Asked { method, url: &tool.http.url, behind, headers, body: has_body.then(|| body.to_string().into_bytes()) }
    }

    fn count(&self, tool: &str, outcome: &str) {
        let version = self.agent.version.to_string();
        TOOL_CALLS.counter(&[self.agent.name.as_str(), &version, tool, outcome]).increment(1);
    }
}

/// The arguments that a model wrote, if they keep the tool's schema.
fn arguments(text: &str, checker: &Checker) -> Result<Map<String, Value>, String> {
    // Some models write nothing where there is nothing to say.
    let text = if text.trim().is_empty() { "{}" } else { text };
    let value: Value = serde_json::from_str(text).map_err(|error| format!("they are no JSON ({error})"))?;
    match checker.violations(&value).as_slice() {
        [] => {}
        violations => return Err(violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
    }
    match value {
        Value::Object(arguments) => Ok(arguments),
        _ => Err("they are no object".to_owned()),
    }
}

/// Arguments as a query: texts as they are, everything else as JSON, nothing for what is null.
fn query(arguments: &Value) -> String {
    let mut query = Serializer::for_suffix(String::from("?"), 1);
    for (name, value) in arguments.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::String(text) => {
                query.append_pair(name, text);
            }
            other => {
                query.append_pair(name, &other.to_string());
            }
        }
    }
    let query = query.finish();
    if query.len() > 1 { query } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kapelle_manifest::Contract;
    use serde_json::json;

    #[test]
    fn arguments_keep_the_schema_or_are_refused() {
        let schema = json!({
            "type": "object", "required": ["city"], "additionalProperties": false,
            "properties": { "city": { "type": "string" }, "days": { "type": "integer" } },
        });
        let checker = Contract::new(schema).compile().unwrap();
        assert_eq!(arguments(r#"{"city":"Köln","days":2}"#, &checker).unwrap()["days"], 2);
        for bad in ["", "{", "[]", "\"Köln\"", r#"{"city":1}"#, r#"{"city":"a","url":"http://evil"}"#] {
            assert!(arguments(bad, &checker).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_query_cannot_be_broken_out_of() {
        let of = |value: Value| query(&value);
        assert_eq!(of(json!({})), "");
        assert_eq!(of(json!({ "q": "a&b=c #/../?", "n": 3, "none": null })), "?q=a%26b%3Dc+%23%2F..%2F%3F&n=3");
        assert_eq!(of(json!({ "l": [1, "x"] })), "?l=%5B1%2C%22x%22%5D");
        assert_eq!(of(json!({ "q": "a\r\nHost: evil" })), "?q=a%0D%0AHost%3A+evil");
    }
}
