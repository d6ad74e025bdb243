//! What a model's server says when it does not answer, and the failure that this is: whose fault, and whether to come again.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use kapelle_engine::Failure;
use kapelle_telemetry::clock;
use kapelle_types::{Code, Timestamp};
use serde_json::Value;

use super::web::Failed;
use crate::failure;
use crate::secrets::Secrets;

/// Bytes of a server's own words that a failure quotes.
const QUOTE_BYTES_MAX: usize = 500;
/// What servers say when a conversation is too long, in their codes or in their words.
const TOO_LONG: [&str; 6] = [
    "context_length_exceeded",
    "exceed_context_size",
    "context length",
    "context size",
    "context window",
    "string_above_max_length",
];
/// What they say when a filter took the question.
const FILTERED: [&str; 3] = ["content_filter", "content_policy", "content management policy"];
/// What they say when nothing is paid for any more, which waiting does not change.
const UNPAID: [&str; 3] = ["insufficient_quota", "billing_hard_limit", "billing_not_active"];

/// A server's words, without secrets.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// What it calls the error: its type, its code, the parameter that it is about.
    names: Vec<String>,
    message: String,
}

impl Words {
    /// Reads the body of a refusal: `{"error": {…}}`, `{"error": "…"}`, `{"detail": …}` or anything else.
    pub(super) fn read(body: &[u8], secrets: &Secrets) -> Self {
        let text = secrets.mask(body);
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null); // what is no JSON is quoted as it is
        let error = ["error", "detail"].iter().find_map(|name| value.get(name)).unwrap_or(&value);
        let field = |name: &str| {
            error.get(name).and_then(|it| match it {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            })
        };
        let message = field("message").or_else(|| error.as_str().map(str::to_owned)).unwrap_or(text);
        let names = ["type", "code", "param"].into_iter().filter_map(field).collect();
        Self { names, message: failure::head(message.trim(), QUOTE_BYTES_MAX).to_owned() }
    }

    /// Whether the server wants the limit of tokens under its newer name.
    pub(super) fn wants_newer_limit(&self) -> bool {
        self.names.iter().any(|it| it == "max_tokens") && self.message.contains("max_completion_tokens")
    }

    fn say(&self, any: &[&str]) -> bool {
        let message = self.message.to_ascii_lowercase();
        any.iter().any(|what| message.contains(what) || self.names.iter().any(|name| name.contains(what)))
    }
}

/// The failure that a refusal is.
pub(super) fn refused(status: StatusCode, headers: &HeaderMap, words: &Words) -> Failure {
    let (code, what) = match status.as_u16() {
        400 | 413 | 422 if words.say(&TOO_LONG) => (Code::MODEL_CONTEXT, "finds the conversation too long"),
        400 | 403 | 422 if words.say(&FILTERED) => (Code::MODEL_DECLINED, "has a filter that took the question"),
        401 | 403 => (Code::MODEL_KEY, "does not accept the key"),
        402 => (Code::MODEL_KEY, "wants to be paid"),
        429 if words.say(&UNPAID) => (Code::MODEL_KEY, "wants to be paid"),
        408 | 409 | 425 | 429 | 500..=599 => {
            let busy = failure::transient(Code::MODEL_UNAVAILABLE, sentence("cannot answer now", status, words));
            return Failure { retry_after: retry_after(headers, clock::now()), ..busy };
        }
        413 => (Code::MODEL_CONTEXT, "finds the conversation too long"),
        _ => (Code::MODEL_REFUSED, "refuses the request"),
    };
    failure::permanent(code, sentence(what, status, words))
}

/// The failure of a server that gave up while it answered.
pub(super) fn given_up(error: &Value, secrets: &Secrets) -> Failure {
    let words = Words::read(serde_json::json!({ "error": error }).to_string().as_bytes(), secrets);
    failure::transient(
        Code::MODEL_UNAVAILABLE,
        format!("the model's server gave up while it answered: {}", words.message),
    )
}

/// The failure of a request that was not answered.
pub(super) fn unanswered(failed: Failed, unreachable: Code) -> Failure {
    match failed {
        Failed::Denied(why) => failure::permanent(Code::HOST_DENIED, format!("denied: {why}")),
        Failed::Broken(why) => failure::transient(unreachable, why),
        Failed::TooLong => {
            failure::permanent(Code::AGENT_OUTPUT_TOO_LARGE, "the server's answer is longer than any payload may be")
        }
    }
}

fn sentence(what: &str, status: StatusCode, words: &Words) -> String {
    let said = if words.message.is_empty() { String::new() } else { format!(": {}", words.message) };
    format!("the model's server {what} ({}){said}", status.as_u16())
}

/// When the server wants to be asked again: in milliseconds, in seconds, or at a time.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|it| it.to_str().ok()).map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|it| it.parse().ok()) {
        return Some(Duration::from_millis(ms));
    }
    let after = text("retry-after")?;
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = chrono::DateTime::parse_from_rfc2822(after).ok()?.timestamp_nanos_opt()?;
    Some(Timestamp::from_nanos(at).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn failure(status: u16, body: &Value) -> Failure {
        let words = Words::read(body.to_string().as_bytes(), &Secrets::default());
        refused(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), &words)
    }

    #[test]
    fn each_refusal_has_its_code_and_only_some_are_worth_another_try() {
        let said = |code: &str, message: &str| json!({ "error": { "message": message, "type": "x", "code": code } });
        for (status, body, code, retryable) in [
            (400, said("invalid_request_error", "bad"), "K0418", false),
            (404, said("model_not_found", "no such model"), "K0418", false),
            (404, json!({ "error": "model \"x\" not found" }), "K0418", false),
            (422, json!({ "detail": [{ "msg": "bad" }] }), "K0418", false),
            (400, said("context_length_exceeded", "This model's maximum context length is 8 tokens"), "K0420", false),
            (400, json!({ "error": { "type": "exceed_context_size_error", "message": "too long" } }), "K0420", false),
            (400, json!({ "object": "error", "message": "This model's maximum context length is 8" }), "K0420", false),
            (413, json!(null), "K0420", false),
            (400, said("content_filter", "filtered"), "K0421", false),
            (401, said("invalid_api_key", "no"), "K0419", false),
            (403, json!("<html>"), "K0419", false),
            (429, said("insufficient_quota", "You exceeded your current quota"), "K0419", false),
            (429, said("rate_limit_exceeded", "slow down"), "K0417", true),
            (408, json!(null), "K0417", true),
            (500, json!(null), "K0417", true),
            (503, json!({ "error": { "message": "Loading model", "code": 503 } }), "K0417", true),
            (529, said("overloaded_error", "Overloaded"), "K0417", true),
        ] {
            let failure = failure(status, &body);
            assert_eq!((failure.code.as_str(), failure.retryable), (code, retryable), "{status} {body}: {failure:?}");
        }
        assert!(failure(400, &said("x", &"y".repeat(5_000))).message.len() < 600);
        let newer = said("unsupported_parameter", "Use 'max_completion_tokens' instead.").to_string();
        assert!(!Words::read(newer.as_bytes(), &Secrets::default()).wants_newer_limit());
        let newer = newer.replace("\"code\"", "\"param\":\"max_tokens\",\"code\"");
        assert!(Words::read(newer.as_bytes(), &Secrets::default()).wants_newer_limit());
    }

    #[test]
    fn a_server_says_when_to_come_again() {
        let at = Timestamp::parse("2026-11-22T10:00:00Z").unwrap();
        for (name, value, ms) in [
            ("retry-after", "7", Some(7_000)),
            ("retry-after-ms", "250", Some(250)),
            ("retry-after", "Sun, 22 Nov 2026 10:00:30 GMT", Some(30_000)),
            ("retry-after", "Sun, 22 Nov 2026 09:00:00 GMT", Some(0)),
            ("retry-after", "soon", None),
            ("retry-after", "-1", None),
        ] {
            let headers = HeaderMap::from_iter([(http::HeaderName::from_static(name), value.parse().unwrap())]);
            assert_eq!(retry_after(&headers, at), ms.map(Duration::from_millis), "{name}: {value}");
        }
    }
}
