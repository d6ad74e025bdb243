//! An answer that comes as it is written: server-sent events, put together to the answer that it would be at once.

use kapelle_types::limits::PAYLOAD_BYTES_MAX;
use serde::Deserialize;
use serde_json::Value;

use super::chat::{Answer, Call, Tokens};

/// What ends a stream.
const DONE: &[u8] = b"[DONE]";
/// Tools that one turn may call: an index beyond is no index.
const CALLS_MAX: usize = 128;

/// Puts the pieces of an answer together.
#[derive(Debug, Default)]
pub(super) struct Stream {
    answer: Answer,
    /// What came of a line.
    line: Vec<u8>,
    /// What came of an event.
    event: Vec<u8>,
    bytes: usize,
    done: bool,
}

/// Why a stream is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// It is not of the protocol: what it is instead.
    Garbage(String),
    /// The server says that it cannot go on: in its words, as JSON.
    Error(Value),
    /// It has more bytes than an answer may have.
    TooLong,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Tokens>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<CallDelta>>,
}

#[derive(Deserialize)]
struct CallDelta {
    /// Which call it is of; some servers leave it out.
    #[serde(default)]
    index: Option<usize>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: FunctionDelta,
}

#[derive(Default, Deserialize)]
struct FunctionDelta {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Option<String>,
}

impl Stream {
    /// Takes in bytes as they come.
    ///
    /// # Errors
    /// The stream is none, or says that it has failed.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.bytes += bytes.len();
        if self.bytes > PAYLOAD_BYTES_MAX {
            return Err(Broken::TooLong);
        }
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if let Some(line) = self.line.strip_suffix(b"\n") {
                let line = line.strip_suffix(b"\r").unwrap_or(line).to_owned();
                self.line.clear();
                self.line(&line)?;
            }
        }
        Ok(())
    }

    /// The answer.
    ///
    /// # Errors
    /// The stream ended before the answer did.
    pub(super) fn end(self) -> Result<Answer, Broken> {
        if self.done || !self.answer.finish.is_empty() {
            return Ok(self.answer);
        }
        Err(Broken::Garbage("an answer that ends before its end".into()))
    }

    /// Whether the server said that this was all. It may keep the connection open behind it.
    pub(super) const fn is_done(&self) -> bool {
        self.done
    }

    /// The answer's text so far.
    pub(super) fn text(&self) -> &str {
        &self.answer.text
    }

    /// Takes in a line: a field of an event, or the empty line behind one. Fields besides `data` say nothing to us.
    fn line(&mut self, line: &[u8]) -> Result<(), Broken> {
        if let Some(data) = line.strip_prefix(b"data:") {
            if !self.event.is_empty() {
                self.event.push(b'\n');
            }
            self.event.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
            return Ok(());
        }
        if !line.is_empty() || self.event.is_empty() {
            return Ok(());
        }
        let event = std::mem::take(&mut self.event);
        if event == DONE {
            self.done = true;
            return Ok(());
        }
        let chunk: Chunk = serde_json::from_slice(&event)
            .map_err(|e| Broken::Garbage(format!("an event that is no part of an answer (column {})", e.column())))?;
        self.chunk(chunk)
    }

    fn chunk(&mut self, chunk: Chunk) -> Result<(), Broken> {
        if let Some(error) = chunk.error {
            return Err(Broken::Error(error));
        }
        let answer = &mut self.answer;
        answer.tokens = chunk.usage.or(answer.tokens);
        let Some(Choice { delta, finish_reason }) = chunk.choices.into_iter().next() else { return Ok(()) };
        answer.text.push_str(&delta.content.unwrap_or_default());
        if let Some(refusal) = delta.refusal {
            answer.refusal.get_or_insert_default().push_str(&refusal);
        }
        for delta in delta.tool_calls.unwrap_or_default() {
            let begun = answer.calls.len();
            let index = delta.index.unwrap_or(if delta.id.is_some() { begun } else { begun.saturating_sub(1) });
            if index >= CALLS_MAX || index > begun {
                return Err(Broken::Garbage("a call of a tool that has no place among the others".into()));
            }
            if index == begun {
                answer.calls.push(Call::default());
            }
            let call = &mut answer.calls[index];
            call.id.push_str(&delta.id.unwrap_or_default());
            call.name.push_str(&delta.function.name.unwrap_or_default());
            call.arguments.push_str(&delta.function.arguments.unwrap_or_default());
        }
        answer.finish = finish_reason.unwrap_or_else(|| std::mem::take(&mut answer.finish));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn events(chunks: &[Value]) -> String {
        let lines: String = chunks.iter().map(|it| format!("data: {it}\n\n")).collect();
        format!(": ping\r\n\r\nevent: x\r\n{lines}data: [DONE]\n\n")
    }

    fn read(text: &str, step: usize) -> Result<Answer, Broken> {
        let mut stream = Stream::default();
        text.as_bytes().chunks(step).try_for_each(|piece| stream.take(piece))?;
        stream.end()
    }

    #[test]
    fn pieces_become_the_answer_however_they_are_cut() {
        let call = |index: usize, more: Value| {
            json!({ "choices": [{ "delta": { "tool_calls": [
            { "index": index, "function": more },
        ] } }] })
        };
        let text = events(&[
            json!({ "choices": [{ "delta": { "role": "assistant", "content": "Grü" } }] }),
            json!({ "choices": [{ "delta": { "content": "ße" } }] }),
            json!({ "choices": [{ "delta": { "tool_calls": [{ "index": 0, "id": "c1", "function": { "name": "f" } }] } }] }),
            call(0, json!({ "arguments": "{\"a\"" })),
            call(0, json!({ "arguments": ":1}" })),
            call(1, json!({ "name": "g", "arguments": "{}" })),
            json!({ "choices": [{ "delta": {}, "finish_reason": "tool_calls" }] }),
            json!({ "choices": [], "usage": { "prompt_tokens": 5, "completion_tokens": 2 } }),
        ]);
        for step in [1, 7, 10_000] {
            let answer = read(&text, step).unwrap();
            assert_eq!((answer.text.as_str(), answer.finish.as_str()), ("Grüße", "tool_calls"));
            assert_eq!(answer.calls[0], Call { id: "c1".into(), name: "f".into(), arguments: "{\"a\":1}".into() });
            assert_eq!(answer.calls[1].name, "g");
            assert_eq!(answer.tokens, Some(Tokens { read: 5, written: 2 }));
        }
    }

    #[test]
    fn calls_without_numbers_are_told_apart_by_their_ids() {
        let text = events(&[
            json!({ "choices": [{ "delta": { "tool_calls": [{ "id": "a", "function": { "name": "f" } }] } }] }),
            json!({ "choices": [{ "delta": { "tool_calls": [{ "function": { "arguments": "{}" } }] } }] }),
            json!({ "choices": [{ "delta": { "tool_calls": [{ "id": "b", "function": { "name": "g" } }] } }] }),
            json!({ "choices": [{ "delta": {}, "finish_reason": "tool_calls" }] }),
        ]);
        let calls = read(&text, 10_000).unwrap().calls;
        assert_eq!(calls[0], Call { id: "a".into(), name: "f".into(), arguments: "{}".into() });
        assert_eq!((calls.len(), calls[1].name.as_str()), (2, "g"));
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        let cut = "data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n";
        assert_eq!(read(cut, 9), Err(Broken::Garbage("an answer that ends before its end".into())));
        assert!(matches!(read("data: hello\n\n", 9), Err(Broken::Garbage(_))));
        assert!(matches!(read("data: {\"error\":{\"message\":\"x\"}}\n\n", 9), Err(Broken::Error(_))));
        let far = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":9}]}}]}\n\n";
        assert!(matches!(read(far, 9), Err(Broken::Garbage(_))));
        let mut stream = Stream::default();
        let long = vec![b'x'; PAYLOAD_BYTES_MAX];
        assert_eq!(stream.take(&long), Ok(()));
        assert_eq!(stream.take(b"y"), Err(Broken::TooLong));
    }
}
