//! A server of chat completions that takes nothing which is not exactly the protocol, and answers what it is told to.
//!
//! Requests that break the protocol are refused with 400 and remembered: a test that ends without looking at them fails in
//! [`Server::drop`]. It also answers for tools, below `/tools/`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::protocol::violation;

/// How quickly a model murmurs.
const MURMUR_INTERVAL: Duration = Duration::from_millis(20);
/// The key that it knows its callers by.
pub(crate) const KEY: &str = "sk-strict-4f1c99d0";

/// What it answers to one request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// A text, which ended for this reason.
    Text(String, &'static str),
    /// Calls of tools: id, name, arguments.
    Calls(Vec<(&'static str, &'static str, String)>),
    /// It declines.
    Refusal(&'static str),
    /// The same as the one inside, without saying what it took.
    Unmetered(Box<Reply>),
    /// A status with headers and a body.
    Status(u16, &'static str, String),
    /// A stream of these events, whether they make sense or not.
    Events(Vec<String>),
    /// The same, and the connection stays open behind them.
    Open(Vec<String>),
    /// A stream that says the first over and over until it is let go on, and then the second.
    Murmur(&'static str, Arc<Notify>, &'static str),
    /// Nothing, for ever.
    Silence,
}

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

#[derive(Default)]
struct State {
    replies: VecDeque<Reply>,
    requests: Vec<Request>,
    violations: Vec<String>,
}

/// The server, until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address, state, task }
    }

    /// What it answers to the next requests, in their order.
    pub(crate) fn will(&self, replies: impl IntoIterator<Item = Reply>) {
        let mut state = self.state.lock().unwrap();
        assert!(state.replies.is_empty(), "not asked for: {:?}", state.replies);
        state.replies.extend(replies);
    }

    /// The requests that came since this was last asked.
    pub(crate) fn requests(&self) -> Vec<Request> {
        let mut state = self.state.lock().unwrap();
        assert_eq!(state.violations, [""; 0], "the protocol was broken");
        std::mem::take(&mut state.requests)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        if !std::thread::panicking() {
            self.requests();
        }
    }
}

/// Requests of one connection, one after the other.
async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    while let Some(request) = read(&mut stream).await {
        let reply = {
            let mut state = state.lock().unwrap();
            let wrong = violation(&request);
            state.requests.push(request.clone());
            state.violations.extend(wrong.clone());
            match wrong {
                Some(why) => Reply::Status(400, "", json!({ "error": { "message": why } }).to_string()),
                None => state.replies.pop_front().unwrap_or(Reply::Status(500, "", "nothing was planned".into())),
            }
        };
        if let Reply::Murmur(word, go_on, rest) = &reply {
            let _ = murmur(&mut stream, word, go_on, rest).await; // whoever asked may have left
            return;
        }
        let Some(answer) = written(&reply, &request) else {
            std::future::pending::<()>().await;
            return;
        };
        // In small pieces, so that whoever reads has to put them together.
        for piece in answer.as_bytes().chunks(61) {
            if stream.write_all(piece).await.is_err() || stream.flush().await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
        if matches!(reply, Reply::Open(_)) {
            std::future::pending::<()>().await;
        }
        if answer.contains("connection: close") {
            return;
        }
    }
}

/// Writes a word as an event now and then, and the rest of the answer when it may.
async fn murmur(stream: &mut TcpStream, word: &str, go_on: &Notify, rest: &str) -> std::io::Result<()> {
    let (head, again) = (self::stream(&[]), deltas(&json!({ "content": word })));
    stream.write_all(head.as_bytes()).await?;
    let mut interval = tokio::time::interval(MURMUR_INTERVAL);
    loop {
        tokio::select! {
            () = go_on.notified() => break,
            _ = interval.tick() => stream.write_all(events(&again).as_bytes()).await?,
        }
    }
    let mut last = deltas(&json!({ "content": rest }));
    last.push(json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] }).to_string());
    last.push(json!({ "choices": [], "usage": { "prompt_tokens": 10, "completion_tokens": 5 } }).to_string());
    last.push("[DONE]".to_owned());
    stream.write_all(events(&last).as_bytes()).await
}

/// Reads one request with the length that it states.
async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut text = Vec::new();
    let end = loop {
        if let Some(end) = text.windows(4).position(|it| it == b"\r\n\r\n") {
            break end;
        }
        let mut piece = [0; 4_096];
        let count = stream.read(&mut piece).await.ok().filter(|count| *count > 0)?;
        text.extend_from_slice(&piece[..count]);
    };
    let head = String::from_utf8(text[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let headers: Vec<(String, String)> = lines
        .map(|it| it.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, it)| it.parse().unwrap());
    let mut body = text[end + 4..].to_vec();
    let have = body.len();
    body.resize(length, 0);
    stream.read_exact(&mut body[have..]).await.ok()?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap_or(json!("no JSON")) };
    Some(Request { line, headers, body })
}

/// The bytes of an answer; `None` for silence.
fn written(reply: &Reply, request: &Request) -> Option<String> {
    let streamed = request.body["stream"] == true;
    let (message, finish, metered) = match reply {
        Reply::Silence | Reply::Murmur(..) => return None,
        Reply::Status(status, headers, body) => {
            let length = body.len();
            return Some(format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}"));
        }
        Reply::Events(events) | Reply::Open(events) => return Some(stream(events)),
        Reply::Unmetered(inner) => {
            let (message, finish) = message(inner);
            (message, finish, false)
        }
        other => {
            let (message, finish) = message(other);
            (message, finish, true)
        }
    };
    let usage = json!({ "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15 });
    if streamed {
        let mut events = deltas(&message);
        events.push(json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": finish }] }).to_string());
        if metered {
            events.push(json!({ "choices": [], "usage": usage }).to_string());
        }
        events.push("[DONE]".to_owned());
        return Some(stream(&events));
    }
    let mut body = json!({ "object": "chat.completion", "choices": [
        { "index": 0, "message": message, "finish_reason": finish },
    ] });
    if metered {
        body["usage"] = usage;
    }
    let body = body.to_string();
    Some(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

fn message(reply: &Reply) -> (Value, &'static str) {
    match reply {
        Reply::Text(text, finish) => (json!({ "role": "assistant", "content": text }), finish),
        Reply::Refusal(why) => (json!({ "role": "assistant", "content": null, "refusal": why }), "stop"),
        Reply::Calls(calls) => {
            let call = |(id, name, arguments): &(&str, &str, String)| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
            let calls: Vec<Value> = calls.iter().map(call).collect();
            (json!({ "role": "assistant", "content": null, "tool_calls": calls }), "tool_calls")
        }
        other => panic!("{other:?} is no message"),
    }
}

/// A message in the pieces that it is streamed in.
fn deltas(message: &Value) -> Vec<String> {
    let mut deltas = vec![json!({ "role": "assistant" })];
    for field in ["content", "refusal"] {
        let text: Vec<char> = message[field].as_str().unwrap_or_default().chars().collect();
        deltas.extend(text.chunks(3).map(|piece| json!({ field: piece.iter().collect::<String>() })));
    }
    for (index, call) in message["tool_calls"].as_array().into_iter().flatten().enumerate() {
        let name = &call["function"]["name"];
        deltas.push(json!({ "tool_calls": [
            { "index": index, "id": call["id"], "type": "function", "function": { "name": name, "arguments": "" } },
        ] }));
        let arguments: Vec<char> = call["function"]["arguments"].as_str().unwrap().chars().collect();
        deltas.extend(arguments.chunks(4).map(|piece| {
            json!({ "tool_calls": [{ "index": index, "function": { "arguments": piece.iter().collect::<String>() } }] })
        }));
    }
    let event = |delta| json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] }).to_string();
    deltas.into_iter().map(event).collect()
}

fn stream(all: &[String]) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{}", events(all))
}

fn events(all: &[String]) -> String {
    all.iter().map(|it| format!("data: {it}\n\n")).collect()
}
