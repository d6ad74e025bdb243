//! Agents that are taken in by one command: what comes of a folder with a program and samples, and what is refused before or
//! after the trial, with nothing registered.
#![allow(clippy::unwrap_used, reason = "a test: it fails by panics")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use kapelle_tests::harness::manifests::one_step;
use kapelle_tests::harness::{Cli, Lab};
use serde_json::{Value, json};

/// Counts words, and says what that cost.
const COUNT: &str = r#"
import json, os, sys
for line in sys.stdin:
    task = json.loads(line)
    words = len(task["input"]["text"].split())
    if os.path.isdir("ran"): open(f"ran/{words}", "w").close()
    usage = {"cost": 0.002, "input_tokens": 10, "output_tokens": 2}
    print(json.dumps({"id": task["id"], "output": {"words": words}, "usage": usage}), flush=True)
"#;
/// Reads a file beside its folder, and breaks if it may not.
const NOSY: &str = r#"
import json, sys
for line in sys.stdin:
    task = json.loads(line)
    print(json.dumps({"id": task["id"], "output": open("../outside.txt").read()}), flush=True)
"#;
/// What only an owner can say.
const OWNED: [&str; 4] = ["--owner", "words@example.com", "--purpose", "Count the words of a text."];

/// `kapelle dev` with nothing registered.
async fn dev(lab: &mut Lab) -> Cli {
    let free = ["--nats-port", "0", "--grpc-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"];
    let (_, ready) = lab.start_role("dev", &[&["dev", "--data-dir", "data"], &free[..]].concat()).await;
    lab.cli(ready["address"].as_str().unwrap())
}

/// A folder with a program and the inputs of its samples.
fn agent(lab: &Lab, folder: &str, program: &str, inputs: &[Value]) {
    lab.write(&format!("{folder}/main.py"), program);
    for (number, input) in inputs.iter().enumerate() {
        lab.write(&format!("{folder}/samples/s{number}.input.json"), input.to_string());
    }
}

fn onboard<'a>(folder: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["agent", "onboard", folder], more].concat()
}

async fn registered(cli: &Cli) -> Vec<String> {
    let all = cli.json(&["agent", "list"]).await;
    all.as_array().unwrap().iter().map(|it| format!("{}@{}", it["name"], it["version"]).replace('"', "")).collect()
}

/// What a report says of one thing.
fn fact<'r>(report: &'r Value, about: &str) -> (&'r Value, &'r str) {
    let fact = report["components"].as_array().unwrap().iter().find(|it| it["about"] == about).unwrap();
    (&fact["value"], fact["state"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_with_samples_becomes_an_agent_that_runs() {
    let mut lab = Lab::new();
    let cli = dev(&mut lab).await;
    agent(&lab, "count", COUNT, &[json!({ "text": "a b" }), json!({ "text": "", "language": "it" })]);
    lab.write("count/samples/s0.output.json", r#"{"words": 2}"#);
    lab.write("count.yaml", one_step("counting", "count"));

    let report = cli.json(&onboard("count", &[&OWNED[..], &["--risk", "minimal"]].concat())).await;
    assert_eq!(
        report["applied"],
        json!([{ "kind": "Agent", "name": "count", "version": "1.0.0", "outcome": "created" }])
    );
    let input = json!({
        "type": "object", "required": ["text"],
        "properties": { "text": { "type": "string" }, "language": { "type": "string" } },
    });
    assert_eq!(fact(&report, "input"), (&input, "inferred"));
    assert_eq!(fact(&report, "command"), (&json!(["python3", "main.py"]), "inferred"));
    assert_eq!(fact(&report, "timeout"), (&json!("10s"), "inferred"));
    assert_eq!(fact(&report, "grants"), (&json!({}), "default"));
    assert_eq!(fact(&report, "per task").0, &json!({ "usd": 0.002, "tokens": 12 }));
    let same: Vec<_> = report["trial"]["tasks"].as_array().unwrap().iter().map(|it| &it["as_in_sample"]).collect();
    assert_eq!(same, [&json!(true), &Value::Null], "{:#}", report["trial"]);
    assert_eq!(report["touches"]["cost"]["per_step_usd_max"], 0.006);
    assert_eq!(report["file"]["outcome"], "created");

    // What was written is what was registered, and it runs.
    let plan = cli.json(&["plan", "-f", "count/agent.yaml"]).await;
    assert_eq!(plan[0]["outcome"], "unchanged", "{plan}");
    cli.json(&["apply", "-f", "count.yaml"]).await;
    let run = cli.json(&["run", "execute", "counting", "--input", r#"{"text": "a b c"}"#]).await;
    assert_eq!((&run["status"], &run["output"]), (&json!("COMPLETED"), &json!({ "words": 3 })), "{run:#}");

    // Again it is nothing new, and nothing is executed for it.
    let again = cli.json(&onboard("count", &[])).await;
    assert_eq!((&again["trial"], &again["applied"][0]["outcome"]), (&Value::Null, &json!("unchanged")));

    // Who gets the steps is said before it is so.
    let next = cli.json(&onboard("count", &["--version", "1.1.0", "--plan"])).await;
    let step = json!({ "workflow": "counting@1.0.0", "step": "play", "asks_for": "count@^1", "now": "count@1.0.0" });
    assert_eq!(next["touches"]["steps"], json!([step]));
    assert_eq!(registered(&cli).await, ["count@1.0.0"], "a plan registers nothing");
    let unasked = cli.run(&onboard("count", &["--version", "1.1.0", "-o", "json"])).await.expect(1);
    assert_eq!(unasked.error()["code"], "K0117", "a file is not changed unless that is asked for");

    a_broken_promise_costs_nothing(&cli, &lab).await;
}

/// A new version that takes less is refused before the agent is executed once.
async fn a_broken_promise_costs_nothing(cli: &Cli, lab: &Lab) {
    let written = fs::read_to_string(lab.folder().join("count/agent.yaml")).unwrap();
    let manifest = written.replace("- text\n", "- text\n      - language\n");
    let manifest = manifest.replace("  runtime:", "  access: { files: { write: [ran] } }\n  runtime:");
    agent(lab, "next", COUNT, &[json!({ "text": "a b", "language": "en" })]);
    lab.write("next/agent.yaml", manifest);
    fs::create_dir(lab.folder().join("next/ran")).unwrap();
    let executed = || fs::read_dir(lab.folder().join("next/ran")).unwrap().count();
    let refused = cli.run(&onboard("next", &["--version", "1.1.0", "--write", "-o", "json"])).await.expect(1);
    assert_eq!((refused.error()["code"].as_str(), executed()), (Some("K0114"), 0), "{refused:?}");
    assert!(!lab.folder().join("next/agent.yaml.orig").exists(), "nor is the file changed");
    cli.json(&onboard("next", &["--version", "2.0.0", "--write"])).await;
    assert_eq!(executed(), 1, "another first number may take less");
    assert!(lab.folder().join("next/agent.yaml.orig").exists());
    assert_eq!(registered(cli).await, ["count@1.0.0", "count@2.0.0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_its_trial_is_not_registered_and_says_why() {
    let mut lab = Lab::new();
    let cli = dev(&mut lab).await;
    lab.write("outside.txt", "not for agents");
    agent(&lab, "nosy", NOSY, &[json!({})]);
    let refused = cli.run(&onboard("nosy", &[&OWNED[..], &["-o", "json"]].concat())).await.expect(1).error();
    assert_eq!(refused["code"], "K0118");
    let trial = &refused["problems"][0];
    assert_eq!(trial["tasks"][0]["error"]["code"], "K0402");
    assert!(trial["tasks"][0]["error"]["evidence"].as_str().unwrap().contains("Permission denied"), "{trial:#}");
    assert_eq!(trial["refused"][0]["what"], "the file or folder ../outside.txt");
    let grant = trial["refused"][0]["grant"].as_str().unwrap();
    assert!(grant.starts_with("access: { files: { read: [../outside.txt] } }"), "{grant}");
    assert_eq!(registered(&cli).await, Vec::<String>::new());
    assert!(!lab.folder().join("nosy/agent.yaml").exists());

    // What it is told to write is what grants it.
    lab.write("nosy/agent.yaml", "spec:\n  access: { files: { read: [../outside.txt] } }\n");
    let report = cli.json(&onboard("nosy", &[&OWNED[..], &["--write"]].concat())).await;
    assert_eq!(report["trial"]["tasks"][0]["output"], "not for agents");
    assert_eq!(report["touches"]["needs"]["files"], json!(["../outside.txt (read)"]));

    // An answer that breaks the contract of its manifest is a trial that failed.
    agent(&lab, "liar", COUNT, &[json!({ "text": "a" })]);
    lab.write("liar/agent.yaml", "spec: { output: { schema: { required: [letters] } } }\n");
    let refused = cli.run(&onboard("liar", &[&OWNED[..], &["--write", "-o", "json"]].concat())).await.expect(1).error();
    assert_eq!(refused["problems"][0]["tasks"][0]["error"]["code"], "K0308", "{refused:#}");
    assert_eq!(registered(&cli).await, ["nosy@1.0.0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_needs_nobody_and_what_is_missing_is_said_at_once() {
    let lab = Lab::new();
    let cli = lab.cli("http://127.0.0.1:9");
    agent(&lab, "count", COUNT, &[json!({ "text": "a b" })]);
    let report = cli.json(&onboard("count", &[&OWNED[..], &["--plan"]].concat())).await;
    assert_eq!((&report["asked"], &report["trial"]["passed"]), (&json!(false), &json!(true)));
    assert_eq!(fact(&report, "output").1, "inferred");
    assert!(!lab.folder().join("count/agent.yaml").exists());
    let nobody = cli.run(&onboard("count", &[&OWNED[..], &["-o", "json"]].concat())).await.expect(5);
    assert_eq!(nobody.error()["code"], "K0008", "registering needs somebody, and that is said before the trial");

    lab.write("bare/README.md", "nothing to run");
    let refused = cli.run(&onboard("bare", &["--plan", "-o", "json"])).await.expect(1).error();
    let missing: Vec<_> = refused["problems"].as_array().unwrap().iter().map(|it| &it["missing"]).collect();
    let begins = |at: usize, word: &str| missing[at].as_str().unwrap().starts_with(word);
    assert_eq!((&refused["code"], missing.len()), (&json!("K0117"), 4), "{missing:?}");
    assert!(begins(0, "owner") && begins(1, "purpose") && begins(2, "command") && begins(3, "samples"), "{missing:?}");
}

/// Answers each GET with a file of these, or with a redirect to where its text says.
fn serve(files: BTreeMap<String, Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
            lines.find(String::is_empty);
            let body = files.get(&path).cloned().unwrap_or_default();
            let head = match path.starts_with("/to/") {
                true => format!("302 Found\r\nlocation: {}", String::from_utf8_lossy(&body)),
                false => "200 OK".to_owned(),
            };
            let head = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    address
}

/// An archive as Python makes it, with what is added by these lines.
fn archive(lab: &Lab, name: &str, lines: &str) -> Vec<u8> {
    let path = lab.folder().join(name);
    let script = format!("import io, sys, tarfile\nwith tarfile.open(sys.argv[1], 'w:gz') as it:\n{lines}");
    let status = Command::new("python3").args(["-c", &script]).arg(&path).current_dir(lab.folder()).status().unwrap();
    assert!(status.success());
    fs::read(path).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_is_fetched_within_bounds_or_not_at_all() {
    let mut lab = Lab::new();
    let cli = dev(&mut lab).await;
    agent(&lab, "count", COUNT, &[json!({ "text": "a b" })]);
    agent(&lab, "grabby", COUNT, &[json!({ "text": "a b" })]);
    lab.write("grabby/agent.yaml", "spec: { access: { files: { read: [/] } } }\n");
    let grabby = archive(&lab, "grabby.tgz", "    it.add('grabby')\n");
    let good = archive(&lab, "good.tgz", "    it.add('count')\n");
    let evil = archive(&lab, "evil.tgz", "    it.add('count/main.py', '../../evil.py')\n");
    let link = "    link = tarfile.TarInfo('etc')\n    link.type, link.linkname = tarfile.SYMTYPE, '/etc'\n    it.addfile(link)\n";
    let link = archive(&lab, "link.tgz", link);
    let many = "    for n in range(100_000): it.addfile(tarfile.TarInfo(f'd/{n}'))\n";
    let many = archive(&lab, "many.tgz", many);
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (name, bytes) in [("count", good), ("evil", evil), ("link", link), ("many", many), ("grabby", grabby)] {
        files.insert(format!("/{name}.tar.gz"), bytes);
    }
    files.insert("/to/elsewhere.tar.gz".into(), b"http://example.com/count.tar.gz".to_vec());
    let at = serve(files);
    fs::create_dir(lab.folder().join("in")).unwrap();
    let inside = lab.folder().join("in");

    for (path, why) in [
        ("evil.tar.gz", "leads out of its folder"),
        ("link.tar.gz", "links and devices are not taken"),
        ("many.tar.gz", "more than 20000 files"),
        ("to/elsewhere.tar.gz", "is not encrypted"),
        ("absent.tar.gz", "cannot be read"),
        ("agents/.well-known/agent-card.json", "the card of an A2A agent"),
    ] {
        let url = format!("http://{at}/{path}");
        let arguments = onboard(&url, &[&OWNED[..], &["--into", "in/it", "-o", "json"]].concat());
        let refused = cli.run(&arguments).await.expect(1).error();
        assert_eq!(refused["code"], "K0119");
        assert!(refused["message"].as_str().unwrap().contains(why), "{path}: {refused:#}");
        assert_eq!(fs::read_dir(&inside).unwrap().count(), 0, "{path}: nothing stays");
    }
    assert!(!lab.folder().join("evil.py").exists());

    for (name, more) in [("grabby", &["--write"][..]), ("count", &["--sandbox", "off"])] {
        let (url, into) = (format!("http://{at}/{name}.tar.gz"), format!("in/untrusted-{name}"));
        let arguments = onboard(&url, &[&OWNED[..], &["--into", &into, "-o", "json"], more].concat());
        let refused = cli.run(&arguments).await.expect(1).error();
        assert_eq!(refused["code"], "K0117");
        assert!(refused["message"].as_str().unwrap().ends_with("The agent was not tried."), "{refused:#}");
    }

    let url = format!("http://{at}/count.tar.gz");
    let wrong = "0".repeat(64);
    let other = cli.run(&onboard(&url, &["--into", "in/count", "--sha256", &wrong, "-o", "json"])).await.expect(1);
    assert!(other.error()["message"].as_str().unwrap().contains("it is another archive"), "{other:?}");
    let report = cli.json(&onboard(&url, &[&OWNED[..], &["--into", "in/count"]].concat())).await;
    assert_eq!(report["manifest"]["metadata"]["annotations"]["kapelle.dev/source"], url);
    assert_eq!(registered(&cli).await, ["count@1.0.0"]);
    let twice = cli.run(&onboard(&url, &["--into", "in/count", "-o", "json"])).await.expect(1);
    assert!(twice.error()["message"].as_str().unwrap().contains("is there already"), "{twice:?}");
}
