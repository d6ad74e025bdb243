//! A person's data put through runs that go well and runs that go wrong in every way: it is found in no log, no metric, no
//! refusal, and in nothing that a reader without payload access is shown.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test: it fails by panics and prints its figures")]

use std::time::Duration;

use kapelle_broker::testing::TestServer;
use kapelle_tests::harness::{Cli, Lab, Metrics, bus, eventually, token};
use kapelle_types::Role;
use serde_json::{Value, json};

/// A value that occurs nowhere else, as a person's address would.
const CANARY: &str = "canary-9c41e07b@people.example";
/// Listens on a port of its own choosing.
const ANY: &str = "127.0.0.1:0";

const AGENT: &str = r#"
import json, sys
for line in sys.stdin:
    task = json.loads(line)
    do, who, me = task["input"]["do"], task["input"]["email"], {"id": task["id"]}
    sys.stderr.write(f"{do} for {who}\n")
    sys.stderr.flush()
    if do == "crash": raise RuntimeError(f"cannot reach {who}")
    if do == "garbage": print(f"To: {who}", flush=True)
    if do == "progress": print(json.dumps({**me, "progress": {"done": 1, "total": 2, "note": who}}), flush=True)
    if do == "fail": answer = {"error": {"code": "unreachable", "message": f"{who} does not answer"}}
    elif do == "violate": answer = {"output": {"score": who}}
    elif do == "key": answer = {"output": {"score": 1, who: True}}
    else: answer = {"output": {"score": 1, "about": who}}
    print(json.dumps({**me, **answer}), flush=True)
"#;

const MANIFESTS: &str = r#"
apiVersion: kapelle.dev/v1
kind: Agent
metadata: { name: mail, version: 1.0.0, owner: tests@example.com }
spec:
  role: { purpose: Plays one part in a test., limits: { timeout: 5s } }
  input: { schema: { type: object, required: [do, email], properties: { do: { type: string }, email: { type: string, x-data-class: pii } } } }
  output: { schema: { type: object, required: [score], additionalProperties: false, properties: { score: { type: integer }, about: { type: string, x-data-class: pii } } } }
  runtime: { process: { command: [python3, agent.py], protocol: jsonl } }
  retry: { max_attempts: 2, initial: 10ms }
---
apiVersion: kapelle.dev/v1
kind: Workflow
metadata: { name: mail, version: 1.0.0, owner: tests@example.com }
spec:
  input: { schema: { type: object, required: [do, email], properties: { do: { type: string }, email: { type: string }, age: { type: integer } } } }
  steps:
    - { id: send, agent: mail@1.0.0, with: "${input}" }
    - { id: count, agent: mail@1.0.0, needs: [send], when: "${input.do == 'expression'}", with: { do: fine, email: "${string(int(input.email))}" } }
  output: "${steps.send.output}"
  result: { schema: { type: object } }
"#;

/// What happens to the data, and how its run ends.
const CASES: [(&str, &str); 8] = [
    ("fine", "COMPLETED"),
    ("progress", "COMPLETED"),
    ("fail", "STALLED"),
    ("crash", "STALLED"),
    ("garbage", "STALLED"),
    ("violate", "STALLED"),
    ("key", "STALLED"),
    ("expression", "STALLED"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn personal_data_is_found_nowhere_beside_the_payloads() {
    let mut broker = TestServer::start().await;
    let mut lab = Lab::new();
    lab.write("agents/agent.py", AGENT);
    lab.write("agents/agent.yaml", MANIFESTS);
    let logged = ["--log-filter", "trace", "--metrics-address", ANY];
    let url = broker.url();
    let coordinator = ["coordinator", "start", "--nats-url", &url, "--partitions", "4", "--grpc-address", ANY];
    let (coordinator, ready) = lab.start_role("coordinator", &[&coordinator[..], &logged].concat()).await;
    let connection = bus(&url).await;
    let address = ready["grpc_address"].as_str().unwrap();
    let admin = lab.cli(address).with_token(&token(&connection, &[Role::Admin], true).await);
    let reader = lab.cli(address).with_token(&token(&connection, &[Role::Auditor, Role::Viewer], false).await);
    eventually("the manifests are registered", || async {
        (admin.run(&["apply", "-f", "agents"]).await.code == 0).then_some(())
    })
    .await;
    let worker = ["worker", "start", "--nats-url", &url, "--agents", "agents"];
    let (worker, serving) = lab.start_role("worker", &[&worker[..], &logged].concat()).await;

    let mut told = Vec::new();
    for (case, status) in CASES {
        let input = json!({ "do": case, "email": CANARY }).to_string();
        let run = admin.run(&["run", "execute", "mail", "--input", &input, "-o", "json"]).await.json();
        assert_eq!(run["status"], status, "{case}: {run:#}");
        let id = run["run_id"].as_str().unwrap();
        let log = admin.json(&["run", "show", id]).await;
        assert!(log.to_string().contains(CANARY), "{case}: whoever may sees it: {log:#}");
        shown(&reader, case, id, &mut told).await;
    }
    refused(&admin, &connection, &mut told).await;
    let lists: [&[&str]; 6] = [
        &["dlq", "list"],
        &["dlq", "groups"],
        &["dlq", "stats"],
        &["run", "list"],
        &["worker", "list"],
        &["queue", "list"],
    ];
    for list in lists {
        told.push((list.join(" "), reader.run(list).await.stdout));
        told.push((list.join(" "), reader.json(list).await.to_string()));
    }
    for metrics in [&ready, &serving] {
        told.push(("metrics".into(), Metrics::of(metrics["metrics_address"].as_str().unwrap()).await.text));
    }
    for name in [&worker, &coordinator] {
        lab.process(name).ask_to_end();
        lab.process(name).end(Duration::from_secs(60)).await;
        let log = lab.process(name).stderr();
        assert!(log.contains("DEBUG"), "the log has everything");
        told.push((format!("the log of {name}"), log));
    }
    for (what, text) in &told {
        let at = text.find(CANARY).map(|at| text[..at].lines().last().unwrap_or_default().to_owned());
        assert_eq!(at, None, "{what} has the data");
    }
    println!("looked into {} texts, {} bytes", told.len(), told.iter().map(|(_, text)| text.len()).sum::<usize>());
    lab.assert_no_panic();
    broker.stop().await;
}

/// What somebody without payload access sees of a run and its dead letter.
async fn shown(reader: &Cli, case: &str, run: &str, told: &mut Vec<(String, String)>) {
    for verb in ["show", "describe", "result"] {
        for format in ["json", "table"] {
            let out = reader.run(&["run", verb, run, "-o", format]).await;
            told.push((format!("run {verb} -o {format} of {case}"), out.stdout + &out.stderr));
        }
    }
    for step in ["send", "count"] {
        let out = reader.run(&["dlq", "show", run, step, "-o", "json"]).await;
        told.push((format!("dlq show of {case}"), out.stdout + &out.stderr));
    }
}

/// Jobs whose input is against the contract: what their submitters are told, and what everybody hears of it.
async fn refused(admin: &Cli, bus: &kapelle_bus::Bus, told: &mut Vec<(String, String)>) {
    let wrong = json!({ "do": "fine", "email": CANARY, "age": CANARY });
    let out = admin.run(&["run", "start", "mail", "--input", &wrong.to_string(), "-o", "json"]).await.expect(1);
    assert_eq!(out.error()["code"], "K0202");
    told.push(("the refusal".into(), out.stdout + &out.stderr));
    let mut events = bus.client().subscribe("kapelle.event.>").await.unwrap();
    bus.client().publish("kapelle.submit.mail", wrong.to_string().into()).await.unwrap();
    let event = tokio::time::timeout(Duration::from_secs(30), futures::StreamExt::next(&mut events)).await.unwrap();
    let event: Value = serde_json::from_slice(&event.unwrap().payload).unwrap();
    assert!(event.to_string().contains("K0202"), "{event:#}");
    told.push(("the event".into(), event.to_string()));
}
