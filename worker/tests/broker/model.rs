//! Model agents against a strict server of chat completions: what they send, what comes of each answer, what they may not.

mod protocol;
mod server;
mod words;

use std::time::Duration;

use kapelle_engine::{Body, Failure, TaskLimits, Usage};
use kapelle_manifest::{Agents, Manifest, check, parse};
use kapelle_proto::Task;
use kapelle_types::AgentVersion;
use kapelle_worker::{AgentSpec, Config, Error, Handle, ModelSpec, RuntimeSpec};
use serde_json::{Value, json};

use crate::rig::{Rig, task};
use server::{KEY, Reply, Request, Server};

/// A closed schema, which servers can be held to word by word.
const VERDICT: &str = "{ type: object, required: [verdict], additionalProperties: false, \
                       properties: { verdict: { type: string, enum: [good, bad] } } }";
/// A tool that looks something up, and one that changes something.
const TOOLS: &str = "tools:
        - name: look_up
          description: Looks a word up.
          parameters: { type: object, required: [word], properties: { word: { type: string } } }
          http: { method: GET, url: \"http://ADDRESS/tools/words\" }
        - name: book
          description: Books it.
          parameters: { type: object, properties: { days: { type: integer } }, additionalProperties: false }
          http: { method: POST, url: \"http://ADDRESS/tools/book\", bearer: { secret: model-key } }";

struct Scene {
    rig: Rig,
    server: Server,
    count: usize,
}

/// What came of one task.
struct Outcome {
    body: Body,
    requests: Vec<Request>,
}

impl Scene {
    async fn start() -> Self {
        Self { rig: Rig::start().await, server: Server::start().await, count: 0 }
    }

    /// An agent of these lines of `runtime.model`, with this output contract.
    fn agent(&mut self, lines: &str, output: &str) -> (AgentVersion, AgentSpec) {
        self.count += 1;
        let tools = if lines.contains("tools:") { "[look_up, book]" } else { "[]" };
        let text = format!(
            "apiVersion: kapelle.dev/v1
kind: Agent
metadata: {{ name: judge, version: 1.0.{count}, owner: tests }}
spec:
  role: {{ purpose: Judge a text. }}
  input: {{ schema: {{ type: object, properties: {{ text: {{ type: string }} }} }} }}
  output: {{ schema: {output} }}
  access: {{ hosts: [\"ADDRESS\"], secrets: [model-key], tools: {tools} }}
  runtime:
    model:
      endpoint: http://ADDRESS/v1
      model: strict-1
      api_key: {{ secret: model-key }}
      system: You judge.
      prompt: \"Judge this: {{{{ input.text }}}}\"
      {lines}
",
            count = self.count,
        );
        let text = text.replace("ADDRESS", &self.server.address.to_string());
        let manifest = parse("agent.yaml", &text).unwrap_or_else(|it| panic!("{}", it[0].render(false))).remove(0);
        let problems = check(&manifest, &Agents::default());
        assert!(problems.is_empty(), "{}", problems[0].render(false));
        let Manifest::Agent(agent) = manifest.manifest else { panic!("no agent") };
        let runtime = RuntimeSpec::Model(Box::new(ModelSpec::of(&agent.spec).unwrap()));
        (agent.version(), AgentSpec::new(agent.version(), runtime))
    }

    async fn serve(&self, spec: AgentSpec) -> Result<Handle, Error> {
        let environment = [("KAPELLE_SECRET_MODEL_KEY".into(), KEY.into())].into_iter().collect();
        let config = Config { environment, agents: vec![spec], ..Config::new() };
        kapelle_worker::Worker::start(config, self.rig.bus().await).await
    }

    /// One task of such an agent, which is answered so.
    async fn run(&mut self, lines: &str, output: &str, replies: impl IntoIterator<Item = Reply>) -> Outcome {
        self.run_within(lines, output, replies, |_| {}).await
    }

    async fn run_within(
        &mut self,
        lines: &str,
        output: &str,
        replies: impl IntoIterator<Item = Reply>,
        change: impl FnOnce(&mut Task),
    ) -> Outcome {
        let (version, spec) = self.agent(lines, output);
        self.rig.queue(&version).await;
        let _worker = self.serve(spec).await.unwrap();
        self.server.will(replies);
        let run = format!("run-{}", self.count);
        let mut task = Task { agent: version, ..task(&run, 0, json!({ "text": "a < b" })) };
        change(&mut task);
        self.rig.submit(&task).await;
        let body = self.rig.settled(task.run_id, 1).await.remove(0);
        Outcome { body, requests: self.server.requests() }
    }
}

impl Outcome {
    #[track_caller]
    fn output(&self) -> (Value, Usage) {
        let Body::StepSucceeded(done) = &self.body else { panic!("{:?}", self.body) };
        (done.output.value.as_ref().unwrap().as_ref().clone(), done.usage)
    }

    #[track_caller]
    fn failure(&self, code: &str, says: &str) -> (Failure, Usage) {
        let Body::StepFailed(failed) = &self.body else { panic!("{:?}", self.body) };
        let failure = &failed.failure;
        assert!(failure.code == code && failure.message.contains(says), "not {code} `{says}`: {failure:?}");
        assert!(!format!("{failure:?}").contains(KEY), "{failure:?}");
        (failure.clone(), failed.usage)
    }
}

fn text(text: &str) -> Reply {
    Reply::Text(text.to_owned(), "stop")
}

fn call(name: &'static str, arguments: Value) -> Reply {
    Reply::Calls(vec![("call-1", name, arguments.to_string())])
}

fn answers(body: &str) -> Reply {
    Reply::Status(200, "content-type: application/json\r\n", body.to_owned())
}

#[tokio::test]
async fn a_text_is_asked_for_and_given() {
    let mut scene = Scene::start().await;
    for (lines, streams) in [("stream: false", None), ("stream: true", Some(true)), ("repair: 1", Some(true))] {
        let lines = format!(
            "{lines}\n      temperature: 0\n      seed: 7\n      max_output_tokens: 50\n      price: {{ input: 2, output: 10 }}"
        );
        let done = scene.run(&lines, "{}", [text("It is grün.")]).await;
        let (output, usage) = done.output();
        assert_eq!(output, json!({ "text": "It is grün." }));
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.tool_calls), (10, 5, 0));
        assert!((usage.cost_usd - 70e-6).abs() < 1e-12, "{usage:?}");
        let body = &done.requests[0].body;
        assert_eq!(body["messages"][0], json!({ "role": "system", "content": "You judge." }));
        assert_eq!(body["messages"][1], json!({ "role": "user", "content": "Judge this: a < b" }));
        assert_eq!((&body["seed"], &body["max_tokens"]), (&json!(7), &json!(50)));
        assert_eq!(
            body.get("stream").and_then(Value::as_bool),
            streams,
            "answers come as they are written, if not told"
        );
    }
}

#[tokio::test]
async fn an_answer_keeps_the_contract_or_is_mended_a_few_times() {
    let mut scene = Scene::start().await;
    let good = || text(r#"{"verdict":"good"}"#);
    let done = scene.run("repair: 0", VERDICT, [good()]).await;
    assert_eq!(done.output().0, json!({ "verdict": "good" }));
    assert_eq!(done.requests[0].body["response_format"]["json_schema"]["strict"], true);

    let done = scene.run("repair: 2", VERDICT, [text("It is good."), text(r#"{"verdict":"so so"}"#), good()]).await;
    let (output, usage) = done.output();
    assert_eq!((output, usage.input_tokens, usage.output_tokens), (json!({ "verdict": "good" }), 30, 15));
    let last = done.requests[2].body["messages"].as_array().unwrap();
    assert_eq!(last.len(), 6, "the system, the question, and two answers with what is wrong with them");
    let told = last[5]["content"].as_str().unwrap();
    assert!(told.contains("/verdict") && !told.contains("so so"), "{told}");

    let broken = scene.run("repair: 1", VERDICT, [text("{}"), text("hunter2")]).await;
    let (failure, usage) = broken.failure("K0423", "1 times told so: it is no JSON");
    assert!(!failure.retryable && !failure.message.contains("hunter2"), "{failure:?}");
    assert_eq!(usage.input_tokens, 20, "what failed was paid for too");
}

#[tokio::test]
async fn tools_are_called_and_their_results_go_back() {
    let mut scene = Scene::start().await;
    for stream in ["stream: false", "stream: true"] {
        let both = Reply::Calls(vec![
            ("c1", "look_up", json!({ "word": "a&b=c" }).to_string()),
            ("c2", "book", json!({ "days": 2 }).to_string()),
        ]);
        let replies = [both, answers("a letter"), answers(&format!("booked with {KEY}")), text("Done.")];
        let done = scene.run(&format!("{stream}\n      {TOOLS}"), "{}", replies).await;
        let (output, usage) = done.output();
        assert_eq!((output, usage.tool_calls, usage.input_tokens), (json!({ "text": "Done." }), 2, 20));
        let [asked, looked, booked, asked_again] = done.requests.as_slice() else { panic!("{:?}", done.requests) };
        assert_eq!(asked.body["tools"].as_array().unwrap().len(), 2);
        assert_eq!(looked.line, "GET /tools/words?word=a%26b%3Dc HTTP/1.1");
        assert_eq!(looked.header("authorization"), None, "a key goes where it is meant to go");
        assert_eq!(
            (booked.header("authorization"), &booked.body),
            (Some(&*format!("Bearer {KEY}")), &json!({ "days": 2 }))
        );
        assert!(booked.header("idempotency-key").unwrap().contains("/s:0/"));
        let messages = asked_again.body["messages"].as_array().unwrap();
        assert_eq!(messages[3], json!({ "role": "tool", "tool_call_id": "c1", "content": "a letter" }));
        assert_eq!(messages[4]["content"], "booked with [secret:model-key]", "the model sees no key");
    }
}

#[tokio::test]
async fn what_a_model_gets_wrong_about_tools_it_is_told() {
    let mut scene = Scene::start().await;
    let replies = [
        call("rm_rf", json!({})),
        call("look_up", json!({ "word": 3 })),
        call("book", json!({ "days": 1, "url": "http://evil.example" })),
        call("look_up", json!({ "word": "x" })),
        Reply::Status(404, "", "no such word".into()),
        call("look_up", json!({ "word": "long" })),
        answers(&"x".repeat(100_000)),
        text("Enough."),
    ];
    let done = scene.run(TOOLS, "{}", replies).await;
    let (_, usage) = done.output();
    assert_eq!(usage.tool_calls, 5, "each of them counts");
    let messages = done.requests.last().unwrap().body["messages"].clone();
    let results: Vec<&str> = messages
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["role"] == "tool")
        .map(|it| it["content"].as_str().unwrap())
        .collect();
    for (result, says) in results.iter().zip([
        "no tool `rm_rf`",
        "not called",
        "not called",
        "HTTP 404: no such word",
        "[cut off after 65536 bytes]",
    ]) {
        assert!(result.contains(says), "{says}: {result:.200}");
    }
    assert_eq!(done.requests.iter().filter(|it| it.line.contains("/tools/")).count(), 2, "what is wrong is not called");

    let failed = scene
        .run(
            TOOLS,
            "{}",
            [call("look_up", json!({ "word": "x" })), Reply::Status(503, "retry-after: 9\r\n", String::new())],
        )
        .await;
    let (failure, usage) = failed.failure("K0426", "out of order: it answers 503");
    assert_eq!((failure.retryable, failure.retry_after, usage.tool_calls), (true, Some(Duration::from_secs(9)), 1));

    let many = || call("look_up", json!({ "word": "x" }));
    let limits = TaskLimits { tool_calls: Some(1), ..TaskLimits::default() };
    let ended = scene.run_within(TOOLS, "{}", [many(), answers("x"), many()], |task| task.limits = limits).await;
    ended.failure("K0416", "2 calls of tools");
    let turns = format!("max_turns: 2\n      {TOOLS}");
    scene.run(&turns, "{}", [many(), answers("x"), many(), answers("x")]).await.failure("K0424", "within its 2 turns");
}

#[tokio::test]
async fn every_way_not_to_answer_has_its_code() {
    let mut scene = Scene::start().await;
    let error = |code: &str| json!({ "error": { "message": format!("{code} for {KEY}"), "code": code } }).to_string();
    let status = |status, headers, code: &str| Reply::Status(status, headers, error(code));
    let cut = json!({ "choices": [{ "delta": { "content": "half" } }] }).to_string();
    for (reply, code, says, retryable, after_ms) in [
        (status(429, "retry-after: 7\r\n", "rate_limit"), "K0417", "[secret:model-key]", true, Some(7_000)),
        (status(503, "retry-after-ms: 250\r\n", "busy"), "K0417", "503", true, Some(250)),
        (status(500, "", "x"), "K0417", "500", true, None),
        (status(400, "", "bad"), "K0418", "refuses the request", false, None),
        (status(404, "", "model_not_found"), "K0418", "404", false, None),
        (status(401, "", "invalid_api_key"), "K0419", "does not accept the key", false, None),
        (status(429, "", "insufficient_quota"), "K0419", "paid", false, None),
        (status(400, "", "context_length_exceeded"), "K0420", "too long", false, None),
        (status(400, "", "content_filter"), "K0421", "filter", false, None),
        (Reply::Refusal("I cannot help with that."), "K0421", "I cannot help", false, None),
        (Reply::Text("par".into(), "content_filter"), "K0421", "filter", false, None),
        (Reply::Text("half an ans".into(), "length"), "K0422", "cut off after 5 tokens", false, None),
        (answers("<html>"), "K0403", "no chat completion", true, None),
        (Reply::Events(vec![cut.clone()]), "K0403", "before its end", true, None),
        (Reply::Events(vec![cut, error("overloaded")]), "K0417", "gave up", true, None),
        (
            Reply::Status(307, "location: http://169.254.169.254/x\r\n", String::new()),
            "K0425",
            "169.254.169.254",
            false,
            None,
        ),
    ] {
        for lines in ["stream: false", "stream: true"] {
            let (failure, _) = scene.run(lines, "{}", [reply.clone()]).await.failure(code, says);
            let after = after_ms.map(Duration::from_millis);
            assert_eq!((failure.retryable, failure.retry_after), (retryable, after), "{lines} {reply:?}");
        }
    }
    let late = |task: &mut Task| task.timeout = Duration::from_millis(300);
    let (failure, _) =
        scene.run_within("stream: false", "{}", [Reply::Silence], late).await.failure("K0401", "0.300 s");
    assert!(failure.retryable);
    let missing = |task: &mut Task| task.input = json!({}).into();
    scene.run_within("stream: false", "{}", [], missing).await.failure("K0127", "`prompt` yields no prompt");
}

#[tokio::test]
async fn limits_hold_before_the_next_turn() {
    let mut scene = Scene::start().await;
    let again = || text("no verdict");
    let tokens = |max| move |task: &mut Task| task.limits = TaskLimits { tokens: Some(max), ..TaskLimits::default() };
    let over = scene.run_within("repair: 5", VERDICT, [again(), again()], tokens(29)).await;
    let (failure, usage) = over.failure("K0415", "used 30 tokens");
    assert_eq!((failure.retryable, usage.input_tokens), (false, 20), "what it took is in the report");
    assert_eq!(over.requests[1].body["max_tokens"], 14, "no more is asked for than is left");
    scene.run_within("repair: 5", VERDICT, [again(), again()], tokens(30)).await.failure("K0415", "all tokens");

    let unmetered = Reply::Unmetered(Box::new(again()));
    scene.run_within("repair: 5", VERDICT, [unmetered.clone()], tokens(30)).await.failure("K0403", "does not say what");
    assert_eq!(scene.run("repair: 0", "{}", [unmetered]).await.output().1, Usage::default());
}

#[tokio::test]
async fn a_server_that_wants_the_newer_limit_gets_it() {
    let mut scene = Scene::start().await;
    let error = json!({ "error": {
        "message": "Unsupported parameter: use 'max_completion_tokens' instead.", "param": "max_tokens",
    } });
    let replies = [Reply::Status(400, "", error.to_string()), text("x")];
    let done = scene.run("max_output_tokens: 9", "{}", replies).await;
    assert_eq!(done.output().0, json!({ "text": "x" }));
    assert_eq!(done.requests[1].body["max_completion_tokens"], 9);
}

/// Some servers know no streams, and answer at once whatever they are asked.
#[tokio::test]
async fn a_server_that_does_not_stream_is_understood() {
    let mut scene = Scene::start().await;
    let whole = json!({ "choices": [{ "message": { "role": "assistant", "content": "x" }, "finish_reason": "stop" }] });
    let done = scene.run("stream: true", "{}", [answers(&whole.to_string())]).await;
    assert_eq!(done.output().0, json!({ "text": "x" }));
}

/// Behind its end a stream has nothing to say, and whoever wrote it may keep the connection.
#[tokio::test]
async fn an_answer_is_over_where_its_stream_says_so() {
    let mut scene = Scene::start().await;
    let chunk = json!({ "choices": [{ "delta": { "content": "x" }, "finish_reason": "stop" }] }).to_string();
    let open = Reply::Open(vec![chunk, "[DONE]".to_owned()]);
    assert_eq!(scene.run("stream: true", "{}", [open]).await.output().0, json!({ "text": "x" }));
}

/// Two agents name the same model with a rate: their requests stand one interval apart, and what would come too late for its
/// attempt takes no start away.
#[tokio::test]
async fn a_rate_is_kept_by_all_who_ask_the_model() {
    let mut scene = Scene::start().await;
    scene.run("rate: 1/h", "{}", [text("x")]).await.output();
    let (failure, _) = scene.run("rate: 1/h", "{}", []).await.failure("K0417", "rate of 1/h");
    let first = failure.retry_after.unwrap();
    assert!(
        failure.retryable && first > Duration::from_secs(3_500) && first <= Duration::from_secs(3_600),
        "{failure:?}"
    );
    let (failure, _) = scene.run("rate: 1/h", "{}", []).await.failure("K0417", "rate of 1/h");
    assert!(failure.retry_after.unwrap() <= first, "nobody's turn was taken: {failure:?}");
}

#[tokio::test]
async fn what_is_not_granted_is_not_served() {
    let mut scene = Scene::start().await;
    for (code, change) in [
        ("K0425", (|it: &mut ModelSpec| it.access.hosts.clear()) as fn(&mut ModelSpec)),
        ("K0126", |it| it.access.tools.clear()),
        ("K0128", |it| it.access.secrets.clear()),
    ] {
        let (_, mut spec) = scene.agent(TOOLS, "{}");
        let RuntimeSpec::Model(model) = &mut spec.runtime else { panic!("no model") };
        change(model);
        match scene.serve(spec).await {
            Err(Error::Refused(why)) => assert_eq!(why.code.as_str(), code, "{why:?}"),
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("{code}: served"),
        }
    }
}

/// The key is in no output, whatever the model writes.
#[tokio::test]
async fn a_key_in_an_answer_is_not_recorded() {
    let mut scene = Scene::start().await;
    let failed = scene.run("stream: false", "{}", [text(&format!("it is {KEY}"))]).await;
    failed.failure("K0413", "`model-key`");
}
