//! Versions are brought in by themselves, 1 → 10 → 50 → 100 %, while jobs come and a coordinator is killed: a good one becomes
//! current, a bad one and a slow one are rolled back, one that hardly anything is seen of stays where it is.
#![allow(clippy::unwrap_used, reason = "a test: it fails by panics")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kapelle_proto::v1;
use kapelle_tests::harness::manifests::process_agent;
use kapelle_tests::harness::{Api, Cli, Fleet, Metrics, eventually, job};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// 3.0.0 fails each first attempt, 4.0.0 is slow.
const AGENT: &str = r#"
import json, sys, time
for line in sys.stdin:
    task = json.loads(line)
    version = task["version"]
    answer = {"id": task["id"], "output": {"version": version}}
    if version == "3.0.0" and task["attempt"] == 1:
        answer = {"id": task["id"], "error": {"code": "bad", "message": "it is", "retryable": True}}
    if version == "4.0.0":
        time.sleep(0.5)
    print(json.dumps(answer), flush=True)
"#;
const WORKFLOW: &str = r#"
apiVersion: kapelle.dev/v1
kind: Workflow
metadata: { name: told, version: 1.0.0, owner: tests@example.com }
spec:
  input: { schema: { type: object } }
  steps: [{ id: tell, agent: "teller@*", with: "${input}" }]
  output: { version: "${steps.tell.output.version}" }
"#;
const VERSIONS: [&str; 4] = ["1.0.0", "2.0.0", "3.0.0", "4.0.0"];
/// How often a job comes.
const JOB_EVERY: Duration = Duration::from_millis(15);

/// Jobs that come until it is stopped; the runs that were acknowledged.
struct Jobs {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Vec<String>>,
}

impl Jobs {
    fn start(api: Api) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut runs = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let key = format!("job-{}", runs.len());
                runs.push(api.submit_surely(&job("told", Some(&key), &json!({}))).await.run_id);
                sleep(JOB_EVERY).await;
            }
            runs
        });
        Self { stop, task }
    }

    async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

async fn fleet() -> Fleet {
    let mut fleet = Fleet::start(2).await;
    for version in VERSIONS {
        let manifest = process_agent("teller", &["python3", "main.py"], "jsonl", "30s").replace("1.0.0", version);
        fleet.lab.write(&format!("agents/{version}/agent.yaml"), manifest);
        fleet.lab.write(&format!("agents/{version}/main.py"), AGENT);
    }
    fleet.lab.write("agents/told.yaml", WORKFLOW);
    let cli = fleet.cli();
    cli.json(&["apply", "-f", "agents/1.0.0"]).await;
    cli.json(&["apply", "-f", "agents/told.yaml"]).await;
    let url = fleet.broker.url();
    let start = ["worker", "start", "--agents", "agents", "--nats-url", &url, "--slots", "16", "--sandbox", "off"];
    fleet.lab.start_role("worker", &[&start[..], &["--metrics-address", "127.0.0.1:0"]].concat()).await;
    cli.json(&["release", "set-current", "teller@1.0.0"]).await;
    for version in &VERSIONS[1..] {
        cli.json(&["apply", "-f", &format!("agents/{version}")]).await;
    }
    fleet
}

async fn begin(cli: &Cli, version: &str, steps: &str, more: &[&str]) {
    let version = format!("teller@{version}");
    let arguments = ["release", "set-ramping", &version, "--steps", steps, "--pause", "1s"];
    cli.json(&[&arguments[..], more].concat()).await;
}

/// How `kapelle release wait` ends, and what is released then.
async fn ended(cli: &Cli, version: &str) -> (i32, Value) {
    let waited = cli.run(&["release", "wait", &format!("teller@{version}"), "--timeout", "100s", "-o", "json"]).await;
    (waited.code, waited.json())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_versions_become_current_and_bad_ones_are_rolled_back_by_themselves() {
    let mut fleet = fleet().await;
    let jobs = Jobs::start(fleet.api.clone());

    // A good one, over the death of a coordinator.
    begin(&fleet.cli(), "2.0.0", "1:0s,10,50,100", &["--min-seen", "3"]).await;
    eventually("it gets half of the jobs", || async {
        let told = fleet.cli().json(&["release", "describe", "teller"]).await;
        (told["rollout"]["stage"].as_u64()? >= 3).then_some(())
    })
    .await;
    fleet.kill_coordinator();
    fleet.start_coordinator().await;
    let cli = fleet.cli();
    let (code, released) = ended(&cli, "2.0.0").await;
    assert_eq!((code, &released["current"], &released["ramping"]), (0, &json!("2.0.0"), &Value::Null), "{released:#}");

    // One that fails is out at its first step, and says why.
    begin(&cli, "3.0.0", "10,50,100", &["--min-seen", "5"]).await;
    let (code, released) = ended(&cli, "3.0.0").await;
    assert_eq!((code, &released["current"], &released["ramping"]), (1, &json!("2.0.0"), &Value::Null), "{released:#}");
    let why = released["why"].as_str().unwrap();
    assert!(why.starts_with("3.0.0 was rolled back at 10 %: ") && why.contains("attempts failed"), "{why}");

    // One that is slow is out when its step has lasted long enough.
    begin(&cli, "4.0.0", "50,100", &["--min-seen", "5", "--max-latency-ratio", "4"]).await;
    let (code, released) = ended(&cli, "4.0.0").await;
    let why = released["why"].as_str().unwrap();
    assert!(code == 1 && why.contains("p95") && why.contains("times"), "{why}");

    // One that hardly anything is seen of stays, and is no pass.
    begin(&cli, "1.0.0", "1:0s,100", &["--min-seen", "1000000"]).await;
    sleep(Duration::from_secs(3)).await;
    let told = cli.json(&["release", "describe", "teller"]).await;
    let rollout = &told["rollout"];
    assert_eq!((&rollout["stage"], &rollout["verdict"]), (&json!(1), &json!("inconclusive")), "{told:#}");
    cli.json(&["release", "rollback", "teller"]).await;

    // All of it is on record, and counted.
    let trail = cli.run(&["audit", "search", "-o", "json"]).await.stdout;
    for verb in ["rollout-advanced", "rollout-promoted", "rollout-rolled-back"] {
        assert!(trail.contains(verb), "{verb} is not in {trail}");
    }
    let mut decisions = 0.0;
    for coordinator in &fleet.coordinators {
        let metrics = Metrics::of(&coordinator.metrics).await;
        decisions += metrics.sum("kapelle_release_decisions_total", "rolled_back").unwrap_or(0.0);
    }
    assert_eq!(decisions, 2.0, "what was bad and what was slow");

    // Whatever was decided, no run is lost, and none failed.
    let runs = jobs.stop().await;
    assert!(runs.len() > 200, "{} jobs came", runs.len());
    for run in &runs {
        let settled = fleet.api.settled(run).await;
        assert_eq!(settled.status(), v1::RunStatus::Completed, "{settled:?}");
    }
    fleet.lab.assert_no_panic();
}
