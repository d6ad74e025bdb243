//! A run whose agent is a language model, from `apply` to its output: against the strict server of the worker's own tests.
//! `make test-model` does the same with a real model.
#![allow(clippy::unwrap_used, reason = "a test: it fails by panics")]

#[path = "../../worker/tests/broker/model/protocol.rs"]
mod protocol;
#[allow(dead_code, reason = "the worker's tests use all of it")]
#[path = "../../worker/tests/broker/model/server.rs"]
mod server;

use std::process::Command;
use std::sync::Arc;

use kapelle_tests::harness::{Lab, PATIENCE, eventually, kapelle};
use serde_json::{Value, json};
use server::{KEY, Reply, Server};
use tokio::sync::Notify;

const MANIFESTS: &str = r#"
apiVersion: kapelle.dev/v1
kind: Agent
metadata: { name: judge, version: 1.0.0, owner: tests@example.com }
spec:
  role: { purpose: Judge a text., responsibilities: [judge], limits: { concurrency: 1, tool_calls: 1 } }
  input: { schema: { type: object, required: [text], properties: { text: { type: string } } } }
  output:
    schema:
      type: object
      required: [verdict]
      additionalProperties: false
      properties: { verdict: { type: string, enum: [good, bad] } }
  access: { hosts: ["ADDRESS"], secrets: [model-key], tools: [look_up] }
  runtime:
    model:
      endpoint: http://ADDRESS/v1
      model: strict-1
      api_key: { secret: model-key }
      prompt: "Judge this: {{ input.text }}"
      stream: true
      rate: 100/s
      price: { input: 100, output: 1000 }
      tools:
        - name: look_up
          description: Looks a word up.
          parameters: { type: object, required: [word], properties: { word: { type: string } } }
          http: { method: GET, url: "http://ADDRESS/tools/words" }
  retry: { max_attempts: 2, initial: 50ms, max: 100ms }
---
apiVersion: kapelle.dev/v1
kind: Workflow
metadata: { name: judge-all, version: 1.0.0, owner: tests@example.com }
spec:
  input: { schema: { type: object } }
  steps: [{ id: judge, foreach: "${input.texts}", agent: judge@^1, with: { text: "${item}" }, max_parallel: 1 }]
  output: "${steps.judge.outputs}"
---
apiVersion: kapelle.dev/v1
kind: Agent
metadata: { name: teller, version: 1.0.0, owner: tests@example.com }
spec:
  role: { purpose: Tell a tale., responsibilities: [tell], limits: { concurrency: 1 } }
  input: { schema: { type: object } }
  access: { hosts: ["ADDRESS"], secrets: [model-key] }
  runtime:
    model: { endpoint: "http://ADDRESS/v1", model: strict-1, api_key: { secret: model-key }, prompt: Tell a tale. }
---
apiVersion: kapelle.dev/v1
kind: Workflow
metadata: { name: tell, version: 1.0.0, owner: tests@example.com }
spec:
  input: { schema: { type: object } }
  steps: [{ id: tale, agent: teller@^1, with: {} }]
  output: "${steps.tale.output}"
"#;

/// `kapelle dev` with the manifests; its address.
async fn set(lab: &mut Lab, server: &Server) -> String {
    // From stdin or a file alone: a model agent has no folder.
    lab.write("judge.yaml", MANIFESTS.replace("ADDRESS", &server.address.to_string()));
    let free = ["--nats-port", "0", "--grpc-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"];
    let mut command = Command::new(kapelle());
    command.args(["dev", "--data-dir", "data", "-o", "json", "--log-filter", "trace"]).args(free);
    command.current_dir(lab.folder()).env("KAPELLE_SECRET_MODEL_KEY", KEY);
    let (_, ready) = lab.start("dev", &mut command).await;
    let address = ready["address"].as_str().unwrap().to_owned();
    lab.cli(&address).json(&["apply", "-f", "judge.yaml"]).await;
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_does_a_step() {
    let (mut lab, server) = (Lab::new(), Server::start().await);
    let address = set(&mut lab, &server).await;
    let cli = lab.cli(&address);

    let verdict = |verdict: &str| Reply::Text(json!({ "verdict": verdict }).to_string(), "stop");
    server.will([
        // The first text: the server is busy, then the model wants a tool, then it answers.
        Reply::Status(503, "retry-after-ms: 10\r\n", "busy".into()),
        Reply::Calls(vec![("c1", "look_up", json!({ "word": "fine" }).to_string())]),
        Reply::Status(200, "", "an adjective".into()),
        verdict("good"),
        // The second: its answer has to be mended.
        Reply::Text("It is bad.".into(), "stop"),
        verdict("bad"),
    ]);
    let input = json!({ "texts": ["fine", "awful"] }).to_string();
    let run = cli.json(&["run", "execute", "judge-all", "--input", &input]).await;
    assert_eq!(run["status"], "COMPLETED", "{run:#}");
    assert_eq!(run["output"], json!([{ "verdict": "good" }, { "verdict": "bad" }]));
    assert_eq!(server.requests().len(), 6);

    // What every turn took is in the log: four of them, ten tokens in and five out each.
    let shown = cli.json(&["run", "show", run["run_id"].as_str().unwrap()]).await.to_string();
    for told in ["K0417", r#""input_tokens":20"#, r#""output_tokens":10"#, r#""tool_calls":1"#, r#""cost_usd":0.012"#] {
        assert!(shown.contains(told), "{told} is not in the log: {shown}");
    }
    for (name, log) in lab.logs() {
        assert!(!log.contains(KEY), "{name} has the key in its log");
    }
    lab.assert_no_panic();
}

/// Its words are at the terminal while the model still writes, and reading along ends when the run does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_read_along_with_while_it_goes_on() {
    let (mut lab, server) = (Lab::new(), Server::start().await);
    let address = set(&mut lab, &server).await;
    let cli = lab.cli(&address);
    let go_on = Arc::new(Notify::new());
    server.will([Reply::Murmur("once ", Arc::clone(&go_on), "upon a time.")]);
    let run = cli.json(&["run", "start", "tell", "--input", "{}"]).await["run_id"].as_str().unwrap().to_owned();

    let watch = |format: &'static str| {
        let mut command = Command::new(kapelle());
        command.args(["--address", &address, "run", "watch", &run, "--text", "-o", format]).current_dir(lab.folder());
        command
    };
    let (mut for_people, mut for_programs) = (watch("table"), watch("json"));
    let people = lab.launch("watch", &mut for_people);
    let (programs, first) = lab.start("watch", &mut for_programs).await;
    eventually("the words are on the terminal", || {
        let shown = lab.process(&people).stdout();
        async move { shown.contains("once once ").then_some(()) }
    })
    .await;
    assert_eq!(cli.json(&["run", "describe", &run]).await["status"], "RUNNING");
    go_on.notify_one();

    for name in [&people, &programs] {
        assert!(lab.process(name).end(PATIENCE).await.success(), "{}", lab.process(name).stderr());
    }
    let tale = cli.json(&["run", "result", &run]).await["text"].as_str().unwrap().to_owned();
    let shown = lab.process(&people).stdout();
    assert!(shown.starts_with("── tale, attempt 1, answer 1, teller@1.0.0\n"), "{shown}");
    assert!(shown.ends_with("upon a time.\nCOMPLETED  tale: SUCCEEDED\n"), "{shown}");
    let pieces: Vec<Value> =
        lab.process(&programs).stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(pieces[0], first);
    let heard: String = pieces.iter().map(|it| it["text"].as_str().unwrap()).collect();
    let from = usize::try_from(first["offset"].as_u64().unwrap()).unwrap();
    assert_eq!(heard, tale[from..]);
    assert_eq!(pieces.last().unwrap()["last"], true);
    assert_eq!((&first["step"], &first["attempt"], &first["answer"]), (&json!("tale"), &json!(1), &json!(1)));
    server.requests();
    lab.assert_no_panic();
}
