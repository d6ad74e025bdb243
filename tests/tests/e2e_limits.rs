//! Limits that nobody leaves to the agent: two worker processes that keep one rate, a day whose money is spent, an agent that
//! is ended when it says that it used too much, and a run whose agent has spent what it may.
#![allow(clippy::unwrap_used, reason = "a test: it fails by panics")]

use std::fs;
use std::time::Duration;

use kapelle_tests::harness::manifests::one_step;
use kapelle_tests::harness::{Cli, Fleet, eventually};
use serde_json::{Value, json};

/// A free port of one's own choosing.
const ANY: &str = "127.0.0.1:0";
/// Writes down when each task starts, one file a process; costs what its input says; goes on for an hour after it said what
/// it used so far, if it says so on the way.
const SCRIPT: &str = r#"
import json, os, sys, time
evidence = open("started-%d" % os.getpid(), "a", buffering=1)
for line in sys.stdin:
    task = json.loads(line)
    evidence.write("%d\n" % time.time_ns())
    given = task["input"]
    usage = {"cost": given.get("cost", 0), "output_tokens": given.get("tokens", 0)}
    if given.get("on_the_way"):
        print(json.dumps({"id": task["id"], "progress": {"done": 1}, "usage": usage}), flush=True)
        time.sleep(3600)
    print(json.dumps({"id": task["id"], "output": {}, "usage": usage}), flush=True)
"#;

/// A broker, a coordinator, and so many workers with one agent of these limits.
async fn fleet(workers: usize, limits: &str) -> (Fleet, Cli) {
    let mut fleet = Fleet::start(1).await;
    let manifest = format!(
        "apiVersion: kapelle.dev/v1\nkind: Agent\nmetadata: {{ name: limited, version: 1.0.0, owner: tests@example.com }}\n\
         spec:\n  role: {{ purpose: Plays one part in a test., limits: {{ timeout: 3600s, {limits} }} }}\n  \
         runtime: {{ process: {{ command: [python3, agent.py] }} }}\n  retry: {{ max_attempts: 3, initial: 50ms }}\n"
    );
    fleet.lab.write("agents/agent.py", SCRIPT);
    fleet.lab.write("agents/agent.yaml", manifest);
    fleet.lab.write("agents/one.yaml", one_step("one", "limited"));
    let each = json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Workflow",
        "metadata": { "name": "many", "version": "1.0.0", "owner": "tests@example.com" },
        "spec": {
            "input": { "schema": { "type": "array" } },
            "steps": [{ "id": "each", "agent": "limited@^1", "foreach": "${input}", "max_parallel": 4, "with": "${item}" }],
            "output": "${size(steps.each.outputs)}",
        },
    });
    fleet.lab.write("agents/many.yaml", each.to_string());
    let cli = fleet.cli();
    cli.json(&["apply", "-f", "agents"]).await;
    let url = fleet.broker.url();
    for _ in 0..workers {
        let start = ["worker", "start", "--agents", "agents", "--nats-url", &url, "--slots", "4", "--sandbox", "off"];
        fleet.lab.start_role("worker", &[&start[..], &["--metrics-address", ANY]].concat()).await;
    }
    (fleet, cli)
}

/// When tasks started, in nanoseconds, earliest first.
fn starts(fleet: &Fleet) -> Vec<u64> {
    let files = fs::read_dir(fleet.lab.folder().join("agents")).unwrap().map(|entry| entry.unwrap().path());
    let evidence = files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("started-"));
    let mut starts: Vec<u64> = evidence
        .flat_map(|path| fs::read_to_string(path).unwrap().lines().map(|l| l.parse().unwrap()).collect::<Vec<_>>())
        .collect();
    starts.sort_unstable();
    starts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_keep_one_rate() {
    const TASKS: usize = 50;
    let (fleet, cli) = fleet(2, "rate: 20/s").await;
    let input = json!(vec![json!({}); TASKS]).to_string();
    let run = cli.json(&["run", "execute", "many", "--input", &input]).await;
    assert_eq!((&run["status"], &run["output"]), (&json!("COMPLETED"), &json!(TASKS)), "{run:#}");
    let starts = starts(&fleet);
    assert_eq!(starts.len(), TASKS);
    // What docs/guides/roles.md promises: the rate, and one second's worth of it for what began late.
    let second = u64::try_from(Duration::from_secs(1).as_nanos()).unwrap();
    let window = |from: &u64| starts.iter().filter(|at| (*from..from + second).contains(at)).count();
    let most = starts.iter().map(window).max().unwrap();
    assert!(most <= 40, "{most} starts in one second");
    let took = starts.last().unwrap() - starts[0];
    assert!(took >= second * 29 / 20, "50 starts at 20/s, one second's worth of them at once: {took} ns");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_that_is_spent_stops_the_queue_and_says_why() {
    let (fleet, cli) = fleet(2, "cost_per_day: 1").await;
    let input = json!(vec![json!({ "cost": 0.5 }); 200]).to_string();
    cli.json(&["run", "start", "many", "--input", &input]).await;
    let held = |rows: Value| rows.as_array().unwrap().iter().find_map(|row| row["held"].as_str().map(str::to_owned));
    let why =
        eventually("the queue says why nothing moves", || async { held(cli.json(&["queue", "list"]).await) }).await;
    assert!(why.contains("1 USD are allowed a day"), "{why}");
    let workers = cli.json(&["worker", "list"]).await;
    let holds = workers.as_array().unwrap().iter().any(|w| w["held"][0]["agent"] == "limited@1.0.0");
    assert!(holds, "{workers:#}");
    let table = cli.run(&["queue", "list", "-o", "table"]).await.expect(0);
    assert!(table.stdout.contains("limited@1.0.0 is held: its tasks have cost"), "{}", table.stdout);
    let started = starts(&fleet).len();
    assert!((2..200).contains(&started), "{started} tasks of half a dollar for a dollar");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_says_that_it_used_too_much_is_ended_at_once() {
    let (_fleet, cli) = fleet(1, "tokens: 100").await;
    let input = json!({ "tokens": 101, "cost": 0.25, "on_the_way": true }).to_string();
    let run = cli.run(&["run", "execute", "one", "--input", &input, "-o", "json"]).await.expect(1).json();
    let message = run["error"]["message"].as_str().unwrap();
    assert!(message.contains("after 1 attempt: K0415: the agent used 101 tokens"), "{run:#}");
    let shown = cli.json(&["run", "show", run["run_id"].as_str().unwrap()]).await.to_string();
    assert!(shown.contains(r#""output_tokens":101"#) && shown.contains(r#""cost_usd":0.25"#), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_agent_has_spent_its_limit_waits_for_a_person() {
    let (fleet, cli) = fleet(1, "cost_per_run: 1").await;
    let input = json!(vec![json!({ "cost": 0.25 }); 20]).to_string();
    let run = cli.run(&["run", "execute", "many", "--input", &input, "-o", "json"]).await.expect(1).json();
    assert_eq!((&run["status"], &run["error"]["code"]), (&json!("STALLED"), &json!("K0311")), "{run:#}");
    let id = run["run_id"].as_str().unwrap();
    // What was in flight may end after the run stalled: at most three members, since four may be at a time.
    let done = eventually("what was in flight has ended", || async {
        let state = cli.json(&["queue", "list"]).await;
        (state[0]["in_flight"] == 0 && state[0]["pending"] == 0).then(|| starts(&fleet).len())
    })
    .await;
    assert!((4..=7).contains(&done), "{done} tasks of a quarter for a dollar");
    cli.json(&["run", "retry", id]).await;
    let more = eventually("the retry lets it spend its limit once more", || async {
        let state = cli.json(&["run", "describe", id]).await;
        let more = starts(&fleet).len() - done;
        (state["status"] == "STALLED" && more >= 4).then_some(more)
    })
    .await;
    assert!(more <= 8, "{more} tasks for another dollar");
}
