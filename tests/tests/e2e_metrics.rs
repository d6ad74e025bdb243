//! What Prometheus reads from each role: the named series move by what happened, and `promtool` finds nothing to say.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test: it fails by panics and prints its figures")]

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use kapelle_telemetry::metrics;
use kapelle_tests::harness::manifests::{one_step, process_agent};
use kapelle_tests::harness::{Fleet, Lab, Metrics, eventually};
use serde_json::json;

/// An agent that fails if its input says so.
const AGENT: &str = "\
import json, sys
for line in sys.stdin:
    task = json.loads(line)
    answer = {'id': task['id'], 'output': {}}
    if task['input'].get('fail'):
        answer = {'id': task['id'], 'error': {'code': 'told_so', 'message': 'as told', 'retryable': True}}
    print(json.dumps(answer), flush=True)
";
const RUNS: usize = 10;
/// A free port.
const ANY: &str = "127.0.0.1:0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_series_of_each_role_move_and_are_well_formed() {
    let mut fleet = Fleet::start(1).await;
    fleet.lab.write("echo/echo.py", AGENT);
    fleet.lab.write("echo/agent.yaml", process_agent("echo", &["python3", "echo.py"], "jsonl", "20s"));
    fleet.lab.write("echo/workflow.yaml", one_step("say", "echo"));
    let url = fleet.broker.url();
    let worker = ["worker", "start", "--agents", "echo", "--nats-url", &url, "--slots", "4", "--metrics-address", ANY];
    let (_, ready) = fleet.lab.start_role("worker", &worker).await;
    let worker = ready["metrics_address"].as_str().unwrap().to_owned();
    let coordinator = fleet.coordinators[0].metrics.clone();

    let idle = Metrics::of(&worker).await;
    assert_eq!(idle.sum("kapelle_worker_slots_available", ""), Some(4.0), "{}", idle.text);
    let cli = fleet.cli();
    cli.json(&["apply", "-f", "echo"]).await;
    for _ in 0..RUNS {
        assert_eq!(cli.json(&["run", "execute", "say"]).await["status"], "COMPLETED");
    }
    let _stalled = cli.run(&["run", "execute", "say", "--input", r#"{"fail": true}"#]).await.expect(1);
    let _refused = cli.run(&["run", "start", "nothing"]).await.expect(4);

    let last = std::cell::RefCell::new(None::<String>);
    // Sums are written when their owner next looks: within seconds.
    let pages = eventually("the series have moved", || async {
        let pages = [Metrics::of(&coordinator).await, Metrics::of(&worker).await];
        let wrong = wrong(&pages);
        if let Some(first) =
            wrong.first().filter(|first| last.borrow_mut().replace((*first).clone()).as_ref() != Some(first))
        {
            println!("not yet: {first}");
        }
        wrong.is_empty().then_some(pages)
    })
    .await;
    let dev = dev_page(&url).await;
    let all: BTreeSet<&str> = metrics::ALL.iter().map(|m| m.name).collect();
    for page in pages.iter().chain([&dev]) {
        let names = page.names();
        let foreign: Vec<_> = names.iter().filter(|n| !all.contains(n.as_str())).collect();
        assert!(foreign.is_empty(), "not in the table of metrics: {foreign:?}");
        println!("{} metrics, {} lines", names.len(), page.text.lines().count());
    }
    promtool(&[&pages[0], &pages[1], &dev].map(|p| p.text.as_str()));
    fleet.stop().await;
}

/// The series that are not yet what they have to be after what was done.
fn wrong([coordinator, worker]: &[Metrics; 2]) -> Vec<String> {
    let runs = RUNS as f64; // small enough for any float
    let expected = [
        (coordinator, "kapelle_runs_started_total", "", runs + 1.0),
        (coordinator, "kapelle_runs_finished_total", "status=\"COMPLETED\"", runs),
        (coordinator, "kapelle_runs_open", "", 1.0),
        (coordinator, "kapelle_stalled_runs", "", 1.0),
        (coordinator, "kapelle_run_duration_seconds_count", "", runs),
        (coordinator, "kapelle_submissions_refused_total", "code=\"K0201\"", 1.0),
        (coordinator, "kapelle_steps_total", "outcome=\"succeeded\"", runs),
        (coordinator, "kapelle_dead_letters", "agent=\"echo\"", 1.0),
        (coordinator, "kapelle_queue_backlog", "agent=\"echo\"", 0.0),
        (coordinator, "kapelle_queue_in_flight", "agent=\"echo\"", 0.0),
        (coordinator, "kapelle_partition_owner", "", 4.0),
        (coordinator, "kapelle_partition_lag", "", 0.0),
        (worker, "kapelle_task_attempts_total", "outcome=\"succeeded\"", runs),
        (worker, "kapelle_task_attempts_total", "outcome=\"failed\"", 2.0),
        (worker, "kapelle_step_duration_seconds_count", "agent=\"echo\"", runs + 2.0),
        (worker, "kapelle_schedule_to_start_seconds_count", "agent=\"echo\"", runs + 2.0),
        (worker, "kapelle_payload_bytes_count", "", runs),
        (worker, "kapelle_worker_slots_used", "", 0.0),
        (worker, "kapelle_worker_slots_available", "", 4.0),
    ];
    let differs = expected.into_iter().filter_map(|(page, name, label, want)| {
        let have = page.sum(name, label);
        (have != Some(want)).then(|| format!("{name}{{{label}}} is {have:?}, not {want}"))
    });
    let moves = ["kapelle_apply_seconds_count", "kapelle_publish_seconds_count"].into_iter();
    let still =
        moves.filter(|name| coordinator.sum(name, "").is_none_or(|n| n <= 0.0)).map(|n| format!("{n} is still"));
    differs.chain(still).collect()
}

/// What `kapelle dev` shows, here beside a broker that runs already: coordinator and worker on one page.
async fn dev_page(nats_url: &str) -> Metrics {
    let mut lab = Lab::new();
    let arguments = ["dev", "--nats-url", nats_url, "--grpc-address", ANY, "--metrics-address", ANY];
    let (name, ready) = lab.start_role("dev", &arguments).await;
    let address = ready["metrics_address"].as_str().unwrap();
    // It shares the partitions with the coordinator that is there already, and takes its own some moments after the start.
    let page = eventually("both roles on the page of dev", || async {
        let page = Metrics::of(address).await;
        let series = ["kapelle_runs_open", "kapelle_partition_owner", "kapelle_worker_slots_available"];
        series.iter().all(|name| page.sum(name, "").is_some()).then_some(page)
    })
    .await;
    lab.process(&name).ask_to_end();
    assert!(lab.process(&name).end(std::time::Duration::from_secs(60)).await.success());
    page
}

/// Prometheus' own judgement.
///
/// `promtool` is no part of the build: where it is missing the check is skipped and says so; in CI that is a failure.
fn promtool(pages: &[&str]) {
    if Command::new("promtool").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        println!("SKIPPED promtool check metrics: promtool is not on the PATH");
        let ci = std::env::var_os("KAPELLE_CI").is_some_and(|v| v == "1");
        assert!(!ci, "in CI nothing may be skipped: install promtool (it comes with prometheus)");
        return;
    }
    for page in pages {
        let mut child = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.trim().is_empty(), "promtool: {said}\n{page}");
    }
    println!("{}", json!({ "promtool": "clean", "pages": pages.len() }));
}
