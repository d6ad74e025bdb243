//! Agents that reach for what they were not granted, and agents with secrets: what the kernel refuses, what people are told,
//! and that a secret is found nowhere behind its agent.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test: it fails by panics and prints its figures")]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use kapelle_tests::harness::manifests::one_step;
use kapelle_tests::harness::{Cli, Lab, Metrics, eventually, kapelle};
use serde_json::{Value, json};

/// Does what its input says and answers with what came of it; what the kernel refuses is an error of its own.
const PROBE: &str = r##"
import json, os, signal, socket, subprocess, sys
def read(path): return open(path).read()
def write(path):
    with open(path, "w") as file: file.write("x")
    return read(path)
def connect(port):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as it: return "connected"
def udp(port): return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port))
def variable(name): return os.environ.get(name, "unset")
def kill(_): return os.kill(os.getppid(), 0)
def spy(_): return read(f"/proc/{os.getppid()}/environ")
def run(_):
    path = os.environ["TMPDIR"] + "/program"
    with open(path, "w") as file: file.write("#!/bin/sh\necho ran\n")
    os.chmod(path, 0o700)
    return subprocess.check_output([path], text=True)
def allocate(megabytes): return len(bytearray(megabytes << 20))
def spin(_):
    while True: pass
def fill(_):
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it, and so would what it becomes
    os.execvp("head", ["head", "-c", "1000000", "/dev/zero"])
for line in sys.stdin:
    task = json.loads(line)
    do, what = task["input"]["do"], task["input"].get("what")
    if do == "fill": os.dup2(os.open(os.environ["HOME"] + "/big", os.O_CREAT | os.O_WRONLY), 1)
    try: answer = {"output": {"got": globals()[do](what)}}
    except PermissionError as error: answer = {"error": {"code": "denied", "message": str(error)}}
    print(json.dumps({"id": task["id"], **answer}), flush=True)
"##;

/// Writes the manifest of an agent with this script and these lines of `access` and limits, and a workflow of its name.
fn agent(lab: &Lab, name: &str, script: &str, access: &str, limits: &str) {
    lab.write(&format!("agents/{name}/agent.py"), script);
    lab.write(&format!("agents/{name}/run.yaml"), one_step(name, name));
    let manifest = format!(
        "apiVersion: kapelle.dev/v1\nkind: Agent\nmetadata: {{ name: {name}, version: 1.0.0, owner: tests@example.com }}\n\
         spec:\n  role: {{ purpose: Plays one part in a test., limits: {{ timeout: 30s }} }}\n  \
         input: {{ schema: {{ type: object }} }}\n  access: {{ {access} }}\n  \
         runtime: {{ process: {{ command: [python3, agent.py], protocol: once, limits: {{ {limits} }} }} }}\n  \
         retry: {{ max_attempts: 1 }}\n"
    );
    lab.write(&format!("agents/{name}/agent.yaml"), manifest);
}

/// `kapelle dev` with these arguments and variables, and everything in `agents` applied to it.
async fn dev(lab: &mut Lab, arguments: &[&str], variables: &[(&str, &str)]) -> (String, Cli, Value) {
    let mut command = Command::new(kapelle());
    command.args(["dev", "--data-dir", "data", "--nats-port", "0", "--grpc-address", "127.0.0.1:0"]);
    command.args(["--metrics-address", "127.0.0.1:0", "-o", "json"]).args(arguments).current_dir(lab.folder());
    command.envs(variables.iter().copied());
    let (name, ready) = lab.start("dev", &mut command).await;
    let cli = lab.cli(ready["address"].as_str().unwrap());
    cli.json(&["apply", "-f", "agents"]).await;
    (name, cli, ready)
}

async fn execute(cli: &Cli, workflow: &str, input: &Value) -> Value {
    let input = input.to_string();
    cli.run(&["run", "execute", workflow, "--input", &input, "-o", "json"]).await.json()
}

/// The dead letter of a run that stalled.
async fn letter(cli: &Cli, run: &Value) -> Value {
    assert_eq!((&run["status"], &run["error"]["code"]), (&json!("STALLED"), &json!("K0301")), "{run:#}");
    let id = run["run_id"].as_str().unwrap();
    eventually("the dead letter is there", || async {
        let shown = cli.run(&["dlq", "show", id, "play", "-o", "json"]).await;
        (shown.code == 0).then(|| shown.json())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_granted_is_refused_and_named() {
    let mut lab = Lab::new();
    let outside = lab.write("outside/secret.txt", "not for agents");
    let granted = lab.write("agents/granted/data/in.txt", "for this one");
    lab.write("project/in.txt", "a named folder");
    fs::create_dir_all(lab.folder().join("results")).unwrap();
    let (open, shut) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let [open_port, shut_port] = [&open, &shut].map(|it| it.local_addr().unwrap().port());
    let at = lab.folder().to_owned();
    agent(&lab, "probe", PROBE, "", "memory: 256MiB, cpu: 1s, file_size: 64KiB");
    let access = format!(
        "files: {{ read: [data] }}, folders: {{ read: [project], write: [results] }}, \
         network: {{ connect: [{open_port}] }}, env: [GIVEN]"
    );
    agent(&lab, "granted", PROBE, &access, "");
    agent(&lab, "absent-path", PROBE, "files: { read: [no-such-file] }", "");
    agent(&lab, "absent-folder", PROBE, "folders: { read: [nowhere] }", "");
    agent(&lab, "absent-secret", PROBE, "secrets: [nobody-has-it]", "");
    let folders = ["--folder", "project=project", "--folder", "results=results"];
    let variables = [("GIVEN", "given"), ("WITHHELD", "withheld")];
    let (name, cli, _) = dev(&mut lab, &folders, &variables).await;
    let path = |path: &str| json!(at.join(path));

    for (what, input) in [
        ("read outside", json!({ "do": "read", "what": outside })),
        ("read another agent's folder", json!({ "do": "read", "what": granted })),
        ("read the machine's", json!({ "do": "read", "what": "/etc/shadow" })),
        ("write outside", json!({ "do": "write", "what": path("outside/new.txt") })),
        ("write over", json!({ "do": "write", "what": outside })),
        ("write its own program", json!({ "do": "write", "what": "agent.py" })),
        ("connect", json!({ "do": "connect", "what": open_port })),
        ("udp", json!({ "do": "udp", "what": open_port })),
        ("signal the worker", json!({ "do": "kill" })),
        ("read the worker's environment", json!({ "do": "spy" })),
        ("run what it wrote", json!({ "do": "run" })),
    ] {
        let letter = letter(&cli, &execute(&cli, "probe", &input).await).await;
        assert_eq!(letter["error"]["code"], "denied", "{what}: {letter:#}");
        let message = letter["error"]["message"].as_str().unwrap();
        assert!(message.contains("not permitted") || message.contains("denied"), "{what}: {letter:#}");
    }
    assert_eq!(fs::read_to_string(&outside).unwrap(), "not for agents");
    assert!(!at.join("outside/new.txt").exists());
    let run = execute(&cli, "probe", &json!({ "do": "variable", "what": "WITHHELD" })).await;
    assert_eq!(run["output"]["got"], "unset", "{run:#}");
    limits_are_named(&cli).await;
    what_was_granted_works(&cli, &at, [open_port, shut_port]).await;
    for (agent, code, says) in [
        ("absent-path", "K0410", "no-such-file"),
        ("absent-folder", "K0410", "--folder nowhere=DIR"),
        ("absent-secret", "K0412", "KAPELLE_SECRET_NOBODY_HAS_IT"),
    ] {
        let letter = letter(&cli, &execute(&cli, agent, &json!({ "do": "variable", "what": "PATH" })).await).await;
        assert_eq!(letter["error"]["code"], code, "{agent}: {letter:#}");
        assert!(letter["error"]["message"].as_str().unwrap().contains(says), "{agent}: {letter:#}");
    }
    lab.process(&name).ask_to_end();
    lab.assert_no_panic();
}

/// And nothing beside it.
async fn what_was_granted_works(cli: &Cli, at: &Path, [open_port, shut_port]: [u16; 2]) {
    let path = |path: &str| json!(at.join(path));
    for (input, got) in [
        (json!({ "do": "read", "what": "data/in.txt" }), json!("for this one")),
        (json!({ "do": "read", "what": path("project/in.txt") }), json!("a named folder")),
        (json!({ "do": "write", "what": path("results/out.txt") }), json!("x")),
        (json!({ "do": "connect", "what": open_port }), json!("connected")),
        (json!({ "do": "variable", "what": "GIVEN" }), json!("given")),
    ] {
        let run = execute(cli, "granted", &input).await;
        assert_eq!((&run["status"], &run["output"]["got"]), (&json!("COMPLETED"), &got), "{input}: {run:#}");
    }
    for input in [
        json!({ "do": "connect", "what": shut_port }),
        json!({ "do": "write", "what": path("project/in.txt") }),
        json!({ "do": "read", "what": path("outside/secret.txt") }),
    ] {
        let letter = letter(cli, &execute(cli, "granted", &input).await).await;
        assert_eq!(letter["error"]["code"], "denied", "{input}: {letter:#}");
    }
}

/// What takes too much of the machine ends, and is told which limit that was.
async fn limits_are_named(cli: &Cli) {
    for (input, says) in [
        (json!({ "do": "allocate", "what": 1_000 }), "limits.memory"),
        (json!({ "do": "spin" }), "limits.cpu"),
        (json!({ "do": "fill" }), "limits.file_size"),
    ] {
        let letter = letter(cli, &execute(cli, "probe", &input).await).await;
        assert_eq!(letter["error"]["code"], "K0411", "{input}: {letter:#}");
        assert!(letter["error"]["message"].as_str().unwrap().contains(says), "{input}: {letter:#}");
    }
    let run = execute(cli, "probe", &json!({ "do": "allocate", "what": 50 })).await;
    assert_eq!(run["status"], "COMPLETED", "{run:#}");
}

/// A value that occurs nowhere else.
const CANARY: &str = "canary-5b0d7f3e-1c44-4f0e-9b6d";

/// Ways to let a secret slip, and how each run ends.
const SLIPS: [(&str, &str); 7] = [
    ("used", "COMPLETED"),
    ("failing", "STALLED"),
    ("crashing", "STALLED"),
    ("garbage", "STALLED"),
    ("verbose", "COMPLETED"),
    ("output", "STALLED"),
    ("hanging", "STALLED"),
];

const SLIPPING: &str = r#"
import json, os, sys, time
secret = os.environ["CRM_TOKEN"]
for line in sys.stdin:
    task = json.loads(line)
    do, me = task["input"]["do"], {"id": task["id"]}
    sys.stderr.write(f"using {secret} for {do}\n" * 300)
    sys.stderr.flush()
    if do == "crashing": raise RuntimeError(f"no answer to {secret}")
    if do == "garbage": print(f"Authorization: Bearer {secret}", flush=True)
    if do == "hanging": time.sleep(600)
    if do == "verbose": print(json.dumps({**me, "progress": {"done": 1, "total": 2, "note": secret}}))
    if do == "failing": answer = {"error": {"code": "unauthorized", "message": f"token {secret} was refused"}}
    elif do == "output": answer = {"output": {"headers": {"authorization": f"Bearer {secret}"}}}
    else: answer = {"output": {"length": len(secret)}}
    print(json.dumps({**me, **answer}), flush=True)
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_secret_is_found_nowhere_behind_its_agent() {
    let mut lab = Lab::new();
    agent(&lab, "slipping", SLIPPING, "secrets: [crm-token]", "");
    let manifest = lab.folder().join("agents/slipping/agent.yaml");
    fs::write(&manifest, fs::read_to_string(&manifest).unwrap().replace("timeout: 30s", "timeout: 5s")).unwrap();
    let (name, cli, ready) = dev(&mut lab, &["--log-filter", "trace"], &[("KAPELLE_SECRET_CRM_TOKEN", CANARY)]).await;

    let mut told = Vec::new();
    for (slip, status) in SLIPS {
        let run = execute(&cli, "slipping", &json!({ "do": slip })).await;
        assert_eq!(run["status"], status, "{slip}: {run:#}");
        let id = run["run_id"].as_str().unwrap();
        if status == "STALLED" {
            let letter = letter(&cli, &run).await;
            let marked = letter.to_string().contains("[secret:crm-token]");
            assert!(marked || slip == "output", "{slip}: that something was masked is seen: {letter:#}");
            told.push((format!("dlq show of {slip}"), letter.to_string()));
        } else {
            assert_eq!(run["output"]["length"], CANARY.len(), "{slip}: the agent itself has it: {run:#}");
        }
        for verb in ["show", "describe"] {
            told.push((format!("run {verb} of {slip}"), cli.run(&["run", verb, id, "-o", "json"]).await.stdout));
            told.push((format!("run {verb} of {slip}, as a table"), cli.run(&["run", verb, id]).await.stdout));
        }
        told.push((format!("run execute of {slip}"), run.to_string()));
    }
    for list in [["dlq", "list"], ["run", "list"], ["agent", "list"], ["worker", "list"]] {
        told.push((list.join(" "), cli.json(&list).await.to_string()));
    }
    told.push(("metrics".into(), Metrics::of(ready["metrics_address"].as_str().unwrap()).await.text));
    lab.process(&name).ask_to_end();
    lab.process(&name).end(std::time::Duration::from_secs(60)).await;
    let log = lab.process(&name).stderr();
    assert!(log.contains("TRACE"), "the log has everything");
    told.push(("the log".into(), log));
    told.push(("stdout".into(), lab.process(&name).stdout()));
    stored(&lab.folder().join("data"), &mut told);
    for (what, text) in &told {
        assert!(!text.contains(CANARY), "{what} has the secret");
    }
    println!("looked into {} texts, {} bytes", told.len(), told.iter().map(|(_, text)| text.len()).sum::<usize>());
    lab.assert_no_panic();
}

/// Everything that the broker has on its disk.
fn stored(folder: &Path, told: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()) {
        if entry.is_dir() {
            stored(&entry, told);
        } else {
            let bytes = fs::read(&entry).unwrap();
            told.push((entry.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
}
