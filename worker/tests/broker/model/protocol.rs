//! What a request for a chat completion is, rule by rule.

use std::collections::BTreeSet;

use serde_json::Value;

use super::server::{KEY, Request};

/// Fields that a request may have.
const FIELDS: [&str; 10] = [
    "model",
    "messages",
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "seed",
    "response_format",
    "tools",
    "stream",
    "stream_options",
];

/// What is wrong with a request.
pub(super) fn violation(request: &Request) -> Option<String> {
    let found = if request.line.contains(" /tools/") { tool(request) } else { completion(request) };
    found.err().map(|why| format!("{why}: {} {}", request.line, request.body))
}

fn hold(holds: bool, rule: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(rule.to_owned()) }
}

fn tool(request: &Request) -> Result<(), String> {
    let has_body = ["POST", "PUT", "PATCH"].iter().any(|it| request.line.starts_with(it));
    hold(request.body.is_object() == has_body, "a body has the arguments, where there is one")?;
    hold(
        request.header("idempotency-key").is_some() != request.line.starts_with("GET"),
        "what changes something has a key",
    )
}

fn completion(request: &Request) -> Result<(), String> {
    hold(request.line == "POST /v1/chat/completions HTTP/1.1", "the line of the request")?;
    hold(request.header("content-type") == Some("application/json"), "the content's type")?;
    hold(request.header("authorization") == Some(&format!("Bearer {KEY}")), "the key")?;
    let body = request.body.as_object().ok_or("the body is an object")?;
    for field in body.keys() {
        hold(FIELDS.contains(&field.as_str()), "only known fields")?;
    }
    hold(body.get("model").is_some_and(|it| it == "strict-1"), "the model's name")?;
    messages(body.get("messages").and_then(Value::as_array).ok_or("messages are a list")?)?;
    for (field, most) in [("temperature", 2.0), ("max_tokens", 1e6), ("max_completion_tokens", 1e6), ("seed", 1e10)] {
        let fits = body.get(field).is_none_or(|it| it.as_f64().is_some_and(|it| (0.0..=most).contains(&it)));
        hold(fits, field)?;
    }
    hold(body.get("max_tokens").is_none_or(|it| it.as_u64().is_some_and(|it| it > 0)), "a limit is above zero")?;
    let streams = body.get("stream") == Some(&Value::Bool(true));
    hold(body.contains_key("stream_options") == streams, "options of a stream go with a stream")?;
    body.get("response_format").map_or(Ok(()), format)?;
    body.get("tools").map_or(Ok(()), tools)
}

fn messages(messages: &[Value]) -> Result<(), String> {
    let mut open: BTreeSet<&str> = BTreeSet::new();
    for (index, message) in messages.iter().enumerate() {
        let text = message["content"].is_string();
        let role = message["role"].as_str().unwrap_or_default();
        hold(role == "tool" || open.is_empty(), "every call has its result before anything else is said")?;
        match role {
            "system" => hold(text && index == 0, "the system speaks first")?,
            "user" => hold(text, "the user's message is a text")?,
            "assistant" => {
                let calls = message["tool_calls"].as_array();
                hold(text || (message["content"].is_null() && calls.is_some()), "an answer is a text or calls")?;
                for call in calls.into_iter().flatten() {
                    let whole = call["type"] == "function"
                        && call["function"]["name"].is_string()
                        && call["function"]["arguments"].is_string();
                    hold(whole, "a call has its type, name and arguments")?;
                    hold(open.insert(call["id"].as_str().ok_or("a call has an id")?), "ids of calls differ")?;
                }
            }
            "tool" => hold(
                text && open.remove(message["tool_call_id"].as_str().unwrap_or_default()),
                "a result has its call",
            )?,
            other => return Err(format!("there is no role {other}")),
        }
    }
    let last = messages.last().map(|it| it["role"].as_str().unwrap_or_default().to_owned());
    hold(open.is_empty() && matches!(last.as_deref(), Some("user" | "tool")), "something is asked")
}

fn format(format: &Value) -> Result<(), String> {
    let it = &format["json_schema"];
    hold(
        format["type"] == "json_schema" && it["name"].is_string() && it["strict"].is_boolean(),
        "a format has its parts",
    )?;
    hold(it["schema"].is_object(), "a schema is an object")?;
    if it["strict"] == true { closed(&it["schema"]) } else { Ok(()) }
}

/// A strict schema: every object names all its fields and needs them.
fn closed(schema: &Value) -> Result<(), String> {
    if schema["type"] == "object" {
        let properties = schema["properties"].as_object().ok_or("a strict object names its fields")?;
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        hold(properties.keys().all(|name| required.iter().any(|it| it == name)), "a strict object needs its fields")?;
        hold(schema["additionalProperties"] == false, "a strict object is closed")?;
        properties.values().try_for_each(closed)?;
    }
    schema.get("items").map_or(Ok(()), closed)
}

fn tools(tools: &Value) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for tool in tools.as_array().filter(|it| !it.is_empty()).ok_or("tools are a list of some")? {
        let function = &tool["function"];
        hold(tool["type"] == "function" && function["parameters"]["type"] == "object", "a tool is a function")?;
        hold(function["description"].is_string(), "a tool is described")?;
        hold(names.insert(function["name"].as_str().ok_or("a tool has a name")?), "names of tools differ")?;
    }
    Ok(())
}
