//! What a user does with the one binary: `dev`, `apply`, `run`, `dlq`, `doctor`; with agents that are programs, and break.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test: it fails by panics and prints its figures")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use kapelle_tests::harness::manifests::{one_step, process_agent};
use kapelle_tests::harness::{Cli, Lab, eventually};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::{Value, json};

/// An agent that answers with what it was asked.
const ECHO: &str = "\
import json, sys
for line in sys.stdin:
    task = json.loads(line)
    print(json.dumps({'id': task['id'], 'output': {'said': task['input']}}), flush=True)
";
/// Arguments that let every listener of `kapelle dev` take a free port.
const FREE: [&str; 6] = ["--nats-port", "0", "--grpc-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"];
/// How long `kapelle dev` may take to leave.
const LEAVE_MAX: Duration = Duration::from_secs(60);

/// `kapelle dev`, running.
struct Dev {
    name: String,
    cli: Cli,
    ready: Value,
}

impl Dev {
    async fn start(lab: &mut Lab) -> Self {
        let (name, ready) = lab.start_role("dev", &[&["dev", "--data-dir", "data"], &FREE[..]].concat()).await;
        let cli = lab.cli(ready["address"].as_str().unwrap());
        Self { name, cli, ready }
    }

    fn nats_url(&self) -> &str {
        self.ready["nats_url"].as_str().unwrap()
    }

    /// SIGTERM, and everything that belongs to it is gone.
    async fn leave(self, lab: &mut Lab) {
        let broker = broker_pid(lab.folder());
        assert!(is_there(broker), "the broker runs");
        lab.process(&self.name).ask_to_end();
        let status = lab.process(&self.name).end(LEAVE_MAX).await;
        assert!(status.success(), "dev leaves with {status}: {}", lab.process(&self.name).stderr());
        assert!(!is_there(broker), "the broker is gone with it");
        lab.assert_no_panic();
    }
}

fn broker_pid(folder: &Path) -> Pid {
    let text = fs::read_to_string(folder.join("data/nats/nats.pid")).unwrap();
    Pid::from_raw(text.trim().parse().unwrap())
}

/// Whether a process runs. One that has ended and that nobody waits for is gone: not every container's first process does.
fn is_there(pid: Pid) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    kill(pid, None).is_ok() && !state.contains(") Z ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_nothing_to_a_result_and_back() {
    let mut lab = Lab::new();
    lab.write("echo/echo.py", ECHO);
    lab.write("echo/agent.yaml", process_agent("echo", &["python3", "echo.py"], "jsonl", "20s"));
    lab.write("echo/workflow.yaml", one_step("say", "echo"));
    let dev = Dev::start(&mut lab).await;

    let outcomes = |applied: &Value| -> Vec<String> {
        applied.as_array().unwrap().iter().map(|a| format!("{} {}", a["name"], a["outcome"])).collect()
    };
    let dry = dev.cli.json(&["plan", "-f", "echo"]).await;
    assert_eq!(outcomes(&dry), [r#""echo" "created""#, r#""say" "created""#]);
    assert_eq!(dev.cli.json(&["workflow", "list"]).await, json!([]), "a plan registers nothing");
    assert_eq!(outcomes(&dev.cli.json(&["apply", "-f", "echo"]).await), outcomes(&dry));
    let again = dev.cli.json(&["apply", "-f", "echo"]).await;
    assert_eq!(outcomes(&again), [r#""echo" "unchanged""#, r#""say" "unchanged""#]);

    a_broken_promise_is_refused(&dev.cli, &lab).await;
    let run = dev.cli.json(&["run", "execute", "say", "--input", r#"{"word": "hello"}"#]).await;
    assert_eq!((&run["status"], &run["error"]), (&json!("COMPLETED"), &Value::Null), "{run:#}");
    assert_eq!(run["output"], json!({ "said": { "word": "hello" } }));
    let id = run["run_id"].as_str().unwrap();
    every_view_agrees(&dev.cli, id).await;
    doctor_is_content(&dev, &lab).await;
    a_second_one_is_refused(&dev, &lab).await;

    dev.leave(&mut lab).await;
    let gone = lab.cli("127.0.0.1:9").run(&["run", "list", "-o", "json"]).await.expect(5);
    assert_eq!(gone.error()["code"], "K0008");

    let dev = Dev::start(&mut lab).await;
    let still = dev.cli.json(&["run", "describe", id]).await;
    assert_eq!((&still["status"], &still["output"]), (&run["status"], &run["output"]), "a run outlives dev");
    let next = dev.cli.json(&["run", "execute", "say", "--input", "{}"]).await;
    assert_eq!(next["status"], "COMPLETED", "what was applied is served again");

    // A killed dev leaves its broker behind; the next one on the same folder puts that in order.
    let left_behind = broker_pid(lab.folder());
    lab.process(&dev.name).kill9();
    let dev = Dev::start(&mut lab).await;
    assert!(!is_there(left_behind), "no second broker works on the same store");
    assert_eq!(dev.cli.json(&["run", "count", "--status", "COMPLETED"]).await["count"], 2, "both runs are there");
    dev.leave(&mut lab).await;
}

/// A new version that takes less, under a number that says it takes as much: `diff` shows it, `plan` and `apply` refuse it.
async fn a_broken_promise_is_refused(cli: &Cli, lab: &Lab) {
    let manifest = process_agent("echo", &["python3", "echo.py"], "jsonl", "20s").replace("1.0.0", "1.1.0");
    lab.write("next/agent.yaml", manifest.replacen("{ type: object }", "{ type: object, required: [word] }", 1));
    let diff = cli.run(&["diff", "-f", "next", "-o", "json"]).await.expect(1);
    let diff: Value = serde_json::from_str(&diff.stdout).unwrap();
    assert_eq!(diff["manifests"][0]["verdict"], "breaking", "{diff:#}");
    assert_eq!(diff["manifests"][0]["differences"][0]["example"], json!({}), "{diff:#}");
    assert_eq!(diff["consumers"][0]["workflow"], "say@1.0.0", "{diff:#}");
    for command in ["plan", "apply"] {
        let refused = cli.run(&[command, "-f", "next", "-o", "json"]).await.expect(1);
        assert_eq!(refused.error()["code"], "K0114", "{command}");
        assert!(refused.error()["hint"].as_str().unwrap().contains("2.0.0"), "{command}");
    }
}

/// `describe`, `list`, `count`, `show`, `result`, `watch` and the fleet tell of the same run.
async fn every_view_agrees(cli: &Cli, id: &str) {
    let described = cli.json(&["run", "describe", id]).await;
    assert_eq!(
        (&described["steps"][0]["status"], &described["steps"][0]["attempts"]),
        (&json!("SUCCEEDED"), &json!(1))
    );
    let listed = eventually("the run is listed", || async {
        let listed = cli.json(&["run", "list", "--status", "COMPLETED"]).await;
        (!listed.as_array().unwrap().is_empty()).then_some(listed)
    })
    .await;
    assert_eq!(listed[0]["run_id"], id);
    assert_eq!(cli.json(&["run", "count", "--workflow", "say"]).await["count"], 1);
    let log = cli.json(&["run", "show", id]).await;
    let kinds: Vec<&str> = log.as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["RunSubmitted", "StepSucceeded", "RunFinished"]);
    assert_eq!(cli.json(&["run", "result", id]).await, json!({ "said": { "word": "hello" } }));
    let watched = cli.run(&["run", "watch", id]).await.expect(0);
    assert!(watched.stdout.contains("COMPLETED"), "{watched:?}");
    for noun in ["agent", "workflow", "worker", "coordinator", "queue"] {
        assert_eq!(cli.json(&[noun, "list"]).await.as_array().unwrap().len(), 1, "one {noun}");
        let table = cli.run(&[noun, "list"]).await.expect(0);
        assert_eq!(table.stdout.trim().lines().count(), 2, "a head and a line: {table:?}");
    }
}

async fn doctor_is_content(dev: &Dev, lab: &Lab) {
    let doctor = ["doctor", "--nats-url", dev.nats_url(), "--data-dir", "data", "-o", "json"];
    // A worker shows a new agent a moment after it serves it.
    let report = eventually("doctor is content", || async {
        let outcome = dev.cli.run(&doctor).await;
        (outcome.code == 0).then(|| outcome.json())
    })
    .await;
    assert_eq!(report["ok"], true, "{report:#}");
    let nobody = ["doctor", "--nats-url", "nats://127.0.0.1:9", "-o", "json"];
    let report = lab.cli("127.0.0.1:9").run(&nobody).await.expect(5).json();
    assert_eq!(report["ok"], false);
}

/// The data folder is in use, and so is each port: said with its code and the flag that mends it.
async fn a_second_one_is_refused(dev: &Dev, lab: &Lab) {
    let start = async |data: &str, ports: [&str; 6]| {
        dev.cli.run(&[&["dev", "--data-dir", data, "-o", "json"], &ports[..]].concat()).await.expect(1).error()
    };
    let error = start("data", FREE).await;
    assert_eq!(error["code"], "K0007", "{error:#}");
    let grpc = dev.ready["grpc_address"].as_str().unwrap();
    let metrics = dev.ready["metrics_address"].as_str().unwrap();
    let nats = dev.nats_url().rsplit(':').next().unwrap();
    let taken = [
        ("--grpc-address", ["--nats-port", "0", "--grpc-address", grpc, "--metrics-address", "127.0.0.1:0"]),
        ("--metrics-address", ["--nats-port", "0", "--grpc-address", "127.0.0.1:0", "--metrics-address", metrics]),
        ("--nats-port", ["--nats-port", nats, "--grpc-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"]),
    ];
    for (flag, ports) in taken {
        let error = start("other", ports).await;
        assert_eq!(error["code"], "K0006", "{error:#}");
        assert!(error["hint"].as_str().unwrap().contains(flag), "{error:#}");
    }
    assert!(!is_there_any_other_broker(lab.folder()), "what was refused left nothing behind");
}

/// Whether the refused attempts left a broker of theirs running.
fn is_there_any_other_broker(folder: &Path) -> bool {
    let pid = fs::read_to_string(folder.join("other/nats/nats.pid")).ok().and_then(|t| t.trim().parse().ok());
    pid.is_some_and(|pid| is_there(Pid::from_raw(pid)))
}

/// An agent that breaks: its script, the code that names how, and what is kept as evidence or said.
const BROKEN: [(&str, &str, &str, &str); 5] = [
    ("crash", "read task; echo 'my last words' >&2; exit 3", "K0402", "my last words"),
    ("hang", "read task; echo 'still thinking' >&2; sleep 600", "K0401", "still thinking"),
    ("garbage", "read task; echo 'hello there'; cat > /dev/null", "K0403", "hello there"),
    ("oversize", "read task; head -c 20000000 /dev/zero | tr '\\0' x; echo; cat > /dev/null", "K0404", "payload limit"),
    ("absent", "", "K0405", "cannot be started"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_that_break_are_named_and_dead_letters_are_dealt_with() {
    let mut lab = Lab::new();
    for (name, script, ..) in BROKEN {
        lab.write(&format!("agents/{name}.sh"), script);
        let script = format!("{name}.sh");
        let command: &[&str] = if name == "absent" { &["./no-such-program"] } else { &["sh", &script] };
        lab.write(&format!("agents/{name}.yaml"), process_agent(name, command, "jsonl", "2s"));
        lab.write(&format!("agents/run-{name}.yaml"), one_step(&format!("run-{name}"), name));
    }
    // One task a process, and broken until somebody mends it.
    let mendable = "read task; test -f mended || exit 1; id=${task#*'\"id\":\"'}; \
                    printf '{\"id\":\"%s\",\"output\":{\"mended\":true}}\\n' \"${id%%'\"'*}\"";
    lab.write("agents/mendable.sh", mendable);
    lab.write("agents/mendable.yaml", process_agent("mendable", &["sh", "mendable.sh"], "once", "5s"));
    lab.write("agents/run-mendable.yaml", one_step("run-mendable", "mendable"));
    let dev = Dev::start(&mut lab).await;
    dev.cli.json(&["apply", "-f", "agents"]).await;

    let runs = futures::future::join_all(BROKEN.iter().map(|(name, ..)| stalled(&dev.cli, name))).await;
    for ((name, _, code, words), run) in BROKEN.iter().zip(&runs) {
        let letter = letter(&dev.cli, run).await;
        assert_eq!(letter["error"]["code"], *code, "{name}: {letter:#}");
        let told = format!("{} {}", letter["error"]["message"], letter["error"]["evidence"]);
        assert!(told.contains(words), "{name}: {told}");
        let attempts = letter["history"].as_array().unwrap().len();
        assert_eq!(attempts, if *name == "oversize" { 1 } else { 2 }, "{name}: {letter:#}");
        assert_eq!(letter["input"], json!({ "from": name }), "{name}");
    }
    let mendable = stalled(&dev.cli, "mendable").await;
    replayed_once_it_is_mended(&dev.cli, &lab, &mendable).await;
    discarded_for_good(&dev.cli, &runs).await;
    dev.leave(&mut lab).await;
}

/// Runs a workflow whose only step gives up; the run.
async fn stalled(cli: &Cli, name: &str) -> String {
    let (workflow, input) = (format!("run-{name}"), json!({ "from": name }).to_string());
    let run = cli.run(&["run", "execute", &workflow, "--input", &input, "-o", "json"]).await.expect(1).json();
    assert_eq!((&run["status"], &run["error"]["code"]), (&json!("STALLED"), &json!("K0301")), "{name}: {run:#}");
    run["run_id"].as_str().unwrap().to_owned()
}

async fn letter(cli: &Cli, run: &str) -> Value {
    eventually("the dead letter is there", || async {
        let shown = cli.run(&["dlq", "show", run, "play", "-o", "json"]).await;
        (shown.code == 0).then(|| shown.json())
    })
    .await
}

async fn letters(cli: &Cli) -> usize {
    cli.json(&["dlq", "list"]).await.as_array().unwrap().len()
}

async fn replayed_once_it_is_mended(cli: &Cli, lab: &Lab, run: &str) {
    letter(cli, run).await;
    let before = letters(cli).await;
    assert_eq!(before, BROKEN.len() + 1);
    let dry = cli.json(&["dlq", "replay", "--run", run, "--dry-run"]).await;
    assert_eq!((&dry["dry_run"], &dry["count"]), (&json!(true), &json!(1)), "{dry:#}");
    assert_eq!(letters(cli).await, before, "a dry run changes nothing");
    let nobody_to_ask = cli.run(&["dlq", "replay", "--run", run]).await.expect(2);
    assert!(nobody_to_ask.stderr.contains("--yes"), "{nobody_to_ask:?}");
    lab.write("agents/mended", "");
    let done = cli.json(&["dlq", "replay", "--run", run, "--yes"]).await;
    assert_eq!((&done["count"], &done["errors"]), (&json!(1), &json!([])), "{done:#}");
    let ended = cli.run(&["run", "watch", run]).await.expect(0);
    assert!(ended.stdout.contains("COMPLETED"), "{ended:?}");
    eventually("its dead letter is gone", || async { (letters(cli).await == before - 1).then_some(()) }).await;
}

async fn discarded_for_good(cli: &Cli, runs: &[String]) {
    let counts = cli.json(&["dlq", "stats"]).await;
    assert_eq!(counts.as_array().unwrap().len(), BROKEN.len(), "{counts:#}");
    let everything_by_accident = cli.run(&["dlq", "discard", "--yes"]).await.expect(2);
    assert!(everything_by_accident.stderr.contains("purge"), "{everything_by_accident:?}");
    let groups = cli.json(&["dlq", "groups", "--agent", "crash"]).await;
    let alike = ["dlq", "list", "--fingerprint", groups[0]["fingerprint"].as_str().unwrap()];
    assert_eq!((&groups[0]["count"], cli.json(&alike).await[0]["run_id"].as_str()), (&json!(1), Some(&*runs[0])));
    let by_code = cli.json(&["dlq", "list", "--code", "K0402"]).await;
    assert_eq!((by_code.as_array().unwrap().len(), &by_code[0]["run_id"]), (1, &json!(runs[0])));
    let dry = cli.json(&["dlq", "discard", "--agent", "crash", "--dry-run"]).await;
    assert_eq!((&dry["count"], letters(cli).await), (&json!(1), runs.len()));
    let done = cli.json(&["dlq", "discard", "--agent", "crash", "--yes", "--reason", "a test"]).await;
    assert_eq!((&done["count"], &done["errors"]), (&json!(1), &json!([])), "{done:#}");
    is_failed(cli, &runs[0]).await;
    let done = cli.json(&["dlq", "purge", "--yes"]).await;
    assert_eq!(done["count"], json!(runs.len() - 1), "{done:#}");
    for run in &runs[1..] {
        is_failed(cli, run).await;
    }
    eventually("no dead letter is left", || async { (letters(cli).await == 0).then_some(()) }).await;
}

async fn is_failed(cli: &Cli, run: &str) {
    eventually("the run is FAILED", || async {
        let run = cli.json(&["run", "describe", run]).await;
        (run["status"] == "FAILED").then_some(())
    })
    .await;
}
