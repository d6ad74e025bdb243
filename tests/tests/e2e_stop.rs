//! An agent is stopped while its processes are at work, and everything that could let it go on is killed: it stays stopped until
//! somebody lets it go on, and no run is lost.
#![allow(clippy::unwrap_used, reason = "a test: it fails by panics")]

use std::path::{Path, PathBuf};
use std::{fs, io};

use kapelle_tests::harness::manifests::{one_step, process_agent};
use kapelle_tests::harness::{Cli, Fleet, eventually};
use serde_json::Value;

/// Says who it is, and takes its time the first time.
const AGENT: &str = r#"
import json, os, pathlib, sys, time
for line in sys.stdin:
    task = json.loads(line)
    name = task["input"]["name"]
    begun = pathlib.Path(f"begun-{name}")
    if not begun.exists():
        begun.write_text(str(os.getpid()))
        time.sleep(600)
    print(json.dumps({"id": task["id"], "output": {"done": name}}), flush=True)
"#;
const RUNS: [&str; 3] = ["a", "b", "c"];

async fn start_worker(fleet: &mut Fleet) -> String {
    let url = fleet.broker.url();
    let start = ["worker", "start", "--agents", "agents", "--nats-url", &url, "--slots", "4", "--sandbox", "off"];
    fleet.lab.start_role("worker", &[&start[..], &["--metrics-address", "127.0.0.1:0"]].concat()).await.0
}

/// The process that has begun a run's task.
fn process(folder: &Path, run: &str) -> Option<PathBuf> {
    let pid = fs::read_to_string(folder.join(format!("begun-{run}"))).ok().filter(|pid| !pid.is_empty())?;
    Some(Path::new("/proc").join(pid))
}

/// Whether a process works: one that has ended and was not waited for does not.
fn works(process: &Path) -> bool {
    match fs::read_to_string(process.join("stat")) {
        Ok(stat) => !stat.contains(") Z "),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

async fn status(cli: &Cli, run: &str) -> Value {
    cli.json(&["run", "describe", run]).await["status"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_agent_stays_stopped_whatever_is_killed_and_goes_on_where_it_was() {
    let mut fleet = Fleet::start(2).await;
    let manifest = process_agent("harmful", &["python3", "main.py"], "jsonl", "900s");
    fleet.lab.write("agents/agent.yaml", manifest);
    fleet.lab.write("agents/main.py", AGENT);
    fleet.lab.write("flow.yaml", one_step("flow", "harmful"));
    let cli = fleet.cli();
    cli.json(&["apply", "-f", "agents/agent.yaml"]).await;
    cli.json(&["apply", "-f", "flow.yaml"]).await;
    let worker = start_worker(&mut fleet).await;
    let mut runs = Vec::new();
    for name in RUNS {
        let input = format!(r#"{{"name": "{name}"}}"#);
        let run = cli.json(&["run", "start", "flow", "--input", &input]).await;
        runs.push(run["run_id"].as_str().unwrap().to_owned());
    }
    let folder = fleet.lab.folder().join("agents");
    let begun = eventually("all are at work", || async {
        RUNS.iter().map(|run| process(&folder, run)).collect::<Option<Vec<_>>>()
    })
    .await;
    assert!(begun.iter().all(|it| works(it)));

    // One command, and no process of it is left.
    let started = tokio::time::Instant::now();
    let stopped = cli.run(&["agent", "suspend", "harmful", "--why", "it deletes things", "-o", "json"]).await;
    eventually("no process is left", || async { (!begun.iter().any(|it| works(it))).then_some(()) }).await;
    eprintln!("stopped, with 3 processes at work, within {:.0?}", started.elapsed());
    assert_eq!(stopped.json()[0]["standing"]["status"], "SUSPENDED", "{stopped:?}");

    // Whoever decided it, and whoever heard of it, is gone.
    fleet.lab.process(&worker).kill9();
    fleet.kill_coordinator();
    fleet.kill_coordinator();
    fleet.start_coordinator().await;
    start_worker(&mut fleet).await;
    let cli = fleet.cli();
    let late = cli.json(&["run", "start", "flow", "--input", r#"{"name": "a"}"#]).await;
    runs.push(late["run_id"].as_str().unwrap().to_owned());
    eventually("it is told what they wait for", || async {
        let why = cli.run(&["run", "why", runs.last().unwrap()]).await.stdout;
        (why.contains("SUSPENDED") && why.contains("kapelle agent resume")).then_some(())
    })
    .await;
    for run in &runs {
        assert_eq!(status(&cli, run).await, "RUNNING");
    }
    let listed = cli.json(&["agent", "list"]).await;
    assert_eq!(listed[0]["standing"]["why"], "it deletes things", "{listed:#}");

    cli.json(&["agent", "resume", "harmful"]).await;
    for run in &runs {
        eventually("it completes", || async { (status(&cli, run).await == "COMPLETED").then_some(()) }).await;
    }
    let trail = cli.run(&["audit", "search", "-o", "json"]).await.stdout;
    assert!(trail.contains("\"suspend\"") && trail.contains("it deletes things") && trail.contains("\"resume\""));
    fleet.lab.assert_no_panic();
}
