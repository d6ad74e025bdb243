//! The words of the protocol: what is sent to a model, and a whole answer of it.

use kapelle_manifest::Tool;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What a model answered in one turn, however it came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) text: String,
    /// Why it does not answer, in its own words.
    pub(super) refusal: Option<String>,
    pub(super) calls: Vec<Call>,
    /// Why it ended, as the protocol names it.
    pub(super) finish: String,
    pub(super) tokens: Option<Tokens>,
}

/// A tool that a model wants called.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    /// JSON, if the model wrote some.
    pub(super) arguments: String,
}

/// What one turn used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Tokens {
    #[serde(rename = "prompt_tokens")]
    pub(super) read: u64,
    #[serde(rename = "completion_tokens", default)]
    pub(super) written: u64,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Deserialize)]
struct ToolCall {
    id: String,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    arguments: String,
}

impl Answer {
    /// Reads a whole answer.
    ///
    /// # Errors
    /// What it is instead.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let completion: Completion = serde_json::from_slice(body)
            .map_err(|e| format!("an answer that is no chat completion (line {}, column {})", e.line(), e.column()))?;
        let choice = completion.choices.into_iter().next().ok_or("an answer without a choice")?;
        let Message { content, refusal, tool_calls } = choice.message;
        let calls = tool_calls.unwrap_or_default().into_iter().map(|it| {
            let Function { name, arguments } = it.function;
            Call { id: it.id, name, arguments }
        });
        Ok(Self {
            text: content.unwrap_or_default(),
            refusal: refusal.filter(|it| !it.is_empty()),
            calls: calls.collect(),
            finish: choice.finish_reason.unwrap_or_default(),
            tokens: completion.usage,
        })
    }
}

/// A message of the system or of the user.
pub(super) fn said(role: &str, text: &str) -> Value {
    json!({ "role": role, "content": text })
}

/// What the model answered, for it to see again.
pub(super) fn answered(answer: &Answer) -> Value {
    let mut message = Map::from_iter([("role".to_owned(), json!("assistant"))]);
    let content = if answer.text.is_empty() && !answer.calls.is_empty() { Value::Null } else { json!(answer.text) };
    message.insert("content".to_owned(), content);
    if !answer.calls.is_empty() {
        let call = |it: &Call| json!({ "id": it.id, "type": "function", "function": { "name": it.name, "arguments": it.arguments } });
        message.insert("tool_calls".to_owned(), answer.calls.iter().map(call).collect());
    }
    message.into()
}

/// What came of a call.
pub(super) fn result(call: &Call, text: &str) -> Value {
    json!({ "role": "tool", "tool_call_id": call.id, "content": text })
}

/// A tool as it is offered.
pub(super) fn offered(tool: &Tool) -> Value {
    let function = json!({
        "name": tool.name, "description": tool.description, "parameters": tool.parameters.schema(),
    });
    json!({ "type": "function", "function": function })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_answers_are_read() {
        let body = json!({
            "id": "x", "object": "chat.completion", "choices": [{ "index": 0, "finish_reason": "tool_calls", "message": {
                "role": "assistant", "content": null,
                "tool_calls": [{ "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{}" } }],
            } }],
            "usage": { "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7 },
        });
        let answer = Answer::read(body.to_string().as_bytes()).unwrap();
        assert_eq!(answer.tokens, Some(Tokens { read: 3, written: 4 }));
        assert_eq!((answer.finish.as_str(), answer.calls[0].name.as_str()), ("tool_calls", "f"));
        assert_eq!(answered(&answer)["tool_calls"], body["choices"][0]["message"]["tool_calls"]);
        for bad in ["", "<html>", "[]", r#"{"choices":[]}"#, r#"{"choices":[{"message":{"content":1}}]}"#] {
            assert!(Answer::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
