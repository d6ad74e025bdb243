//! Retiring an agent of the demo while it is needed and when it is not, and what is left when the coordinator that decides
//! about it is killed.
#![allow(clippy::unwrap_used, reason = "a test: it fails by panics")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use kapelle_tests::harness::manifests::scripted_agent;
use kapelle_tests::harness::{Cli, Fleet, Lab, Outcome, eventually, kapelle};
use serde_json::{Value, json};

/// Arguments that let every listener of `kapelle dev` take a free port.
const FREE: [&str; 6] = ["--nats-port", "0", "--grpc-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"];
/// A tree that is not there: the first step gives up, and the run stays open until somebody ends it.
const NOWHERE: &str = r#"{"source": {"kind": "npm", "root": "/nowhere"}, "output_dir": "/nowhere"}"#;

async fn start(cli: &Cli, workflow_version: &str) -> Outcome {
    let workflow = ["run", "execute", "software-intake", "--version", workflow_version];
    cli.run(&[&workflow[..], &["--input", NOWHERE, "-o", "json"]].concat()).await
}

async fn standing(cli: &Cli, agent: &str) -> Value {
    let (name, version) = agent.split_once('@').unwrap();
    let listed = cli.json(&["agent", "list"]).await;
    let is_it = |it: &&Value| it["name"] == name && it["version"] == version;
    listed.as_array().unwrap().iter().find(is_it).unwrap()["standing"]["status"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_of_the_demo_goes_when_nothing_needs_it_any_more() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/software-intake");
    let mut lab = Lab::new();
    let (_, ready) = lab.start_role("dev", &[&["dev", "--data-dir", "data"], &FREE[..]].concat()).await;
    let cli = lab.cli(ready["address"].as_str().unwrap());
    cli.json(&["apply", "-f", example.to_str().unwrap()]).await;
    let retire = ["agent", "retire", "inventory@1.0.0", "--why", "a test", "-o", "json"];

    let run = start(&cli, "*").await.expect(1).json();
    assert_eq!(run["status"], "STALLED", "{run:#}");
    let id = run["run_id"].as_str().unwrap();
    let impact = eventually("the open run is known", || async {
        let told = cli.run(&["agent", "impact", "inventory@1.0.0", "-o", "json"]).await.json();
        (told["runs"]["open"] == 1).then_some(told)
    })
    .await;
    assert_eq!((&impact["steps"][0]["step"], &impact["runs"]["first"]), (&json!("inventory"), &json!([id])));
    let refused = cli.run(&retire).await.expect(1).error();
    assert_eq!(refused["code"], "K0213");
    let message = refused["message"].as_str().unwrap();
    for named in ["step inventory of software-intake@1.0.0", "1 open run", id] {
        assert!(message.contains(named), "{message}");
    }

    // The step has somewhere to go, the open run has not.
    let manifest = fs::read_to_string(example.join("agents/inventory/agent.yaml")).unwrap();
    let folder = example.join("agents/inventory");
    for file in fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).filter(|it| it.is_file()) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        lab.write(&format!("newer/{name}"), fs::read(&file).unwrap());
    }
    lab.write("newer/agent.yaml", manifest.replace("version: 1.0.0", "version: 1.1.0"));
    cli.json(&["apply", "-f", "newer/agent.yaml"]).await;
    let refused = cli.run(&retire).await.expect(1).error();
    assert_eq!((&refused["code"], refused["message"].as_str().unwrap().contains("step ")), (&json!("K0213"), false));
    let deprecate = ["agent", "deprecate", "inventory@1.0.0", "--sunset", "1h", "--successor", "1.1.0", "-o", "json"];
    let told = cli.run(&deprecate).await.expect(0).json();
    assert_eq!((&told["open_runs"], &told["deprecation"]["over"]), (&json!(1), &json!(false)), "{told:#}");
    let _ = cli.run(&["run", "terminate", id]).await.expect(0);
    let retired = eventually("it may go", || async {
        let outcome = cli.run(&retire).await;
        (outcome.code == 0).then(|| outcome.json())
    })
    .await;
    assert_eq!((&retired["standing"]["status"], &retired["standing"]["why"]), (&json!("RETIRED"), &json!("a test")));
    assert_eq!(cli.json(&["agent", "retire", "inventory@1.0.0"]).await["changed"], false);

    certificate_is_checked_without_a_coordinator(&lab, &cli).await;

    // What comes now gets the other one, and what asks for exactly this one is refused.
    let moved = start(&cli, "*").await.expect(1).json();
    assert_eq!(moved["steps"][0]["agent"], "inventory@1.1.0", "{moved:#}");
    let workflow = fs::read_to_string(example.join("workflow.yaml")).unwrap();
    let exact = workflow.replace("version: 1.0.0", "version: 1.0.1").replace("inventory@^1", "inventory@=1.0.0");
    lab.write("exact.yaml", exact);
    let refused = cli.run(&["apply", "-f", "exact.yaml", "-o", "json"]).await.expect(1).error();
    assert_eq!(refused["code"], "K0212", "{refused:#}");
    let workers = cli.json(&["worker", "list"]).await;
    assert_eq!(workers[0]["retired_agents"], json!(["inventory@1.0.0"]));

    // The runs say who did it before, and that it would be somebody else now.
    let lineage = cli.json(&["lineage", "software-intake", "--since", "1h"]).await;
    assert_eq!((&lineage["complete"], &lineage["runs"]), (&json!(true), &json!(2)));
    let undeclared: Vec<&str> = lineage["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["finding"] == "undeclared")
        .map(|it| it["message"].as_str().unwrap())
        .collect();
    assert_eq!(undeclared.len(), 1, "{lineage:#}");
    assert!(undeclared[0].starts_with("inventory@1.0.0 did it in 1 runs"), "{undeclared:?}");
    assert!(undeclared[0].ends_with("it would be given to inventory@1.1.0 now"), "{undeclared:?}");
    assert_eq!(cli.json(&["agent", "reinstate", "inventory@1.0.0"]).await["changed"], true);
    assert_eq!(standing(&cli, "inventory@1.0.0").await, Value::Null);
}

async fn certificate_is_checked_without_a_coordinator(lab: &Lab, cli: &Cli) {
    let key = cli.run(&["agent", "certificate", "key"]).await.expect(0).stdout;
    let certificate = cli.run(&["agent", "certificate", "show", "inventory@1.0.0"]).await.expect(0).stdout;
    lab.write("kapelle.jwk", &key);
    lab.write("inventory.jws", &certificate);
    let (head, tail) = certificate.split_at(certificate.len() / 2);
    let changed = if tail.starts_with('A') { "B" } else { "A" };
    lab.write("changed.jws", format!("{head}{changed}{}", &tail[1..]));
    // Nobody listens there.
    let offline = lab.cli("http://127.0.0.1:1");
    let verify = |file: &'static str| ["agent", "certificate", "verify", file, "--key", "kapelle.jwk", "-o", "json"];
    let stated = offline.run(&verify("inventory.jws")).await.expect(0).json();
    assert_eq!((&stated["sub"], &stated["found"]["open_runs"]), (&json!("agent:inventory@1.0.0"), &json!(0)));
    assert_eq!((&stated["retired"]["why"], &stated["deprecated"]["successor"]), (&json!("a test"), &json!("1.1.0")));
    for file in ["changed.jws", "kapelle.jwk"] {
        assert_eq!(offline.run(&verify(file)).await.expect(1).error()["code"], "K0241", "{file}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_is_killed_while_it_retires_leaves_nothing_undecided() {
    let mut fleet = Fleet::start(2).await;
    let mut newer = scripted_agent(4);
    newer["metadata"]["version"] = json!("1.1.0");
    fleet.register(&[scripted_agent(4), newer]).await;
    let [first, second] = [0, 1].map(|n| fleet.coordinators[n].clone());
    eventually("both know each other", || async {
        let there = fleet.cli().json(&["coordinator", "list"]).await;
        (there.as_array().unwrap().len() == 2).then_some(())
    })
    .await;

    // The second hangs, so that the first has somebody to wait for when it is killed.
    fleet.lab.process(&second.name).freeze();
    let mut asking = Command::new(kapelle())
        .args(["agent", "retire", "scripted@1.1.0", "--address", &first.address])
        .env("KAPELLE_TOKEN", &fleet.token)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it is on its way out", || async {
        (standing(&fleet.cli_at(&first.address), "scripted@1.1.0").await == "DRAINING").then_some(())
    })
    .await;
    fleet.kill_coordinator();
    assert!(!asking.wait().unwrap().success(), "nobody answers it");
    fleet.lab.process(&second.name).thaw();

    let cli = fleet.cli_at(&second.address);
    eventually("the other one has heard of it", || async {
        (standing(&cli, "scripted@1.1.0").await == "DRAINING").then_some(())
    })
    .await;
    let retired = eventually("it goes on from there", || async {
        let outcome = cli.run(&["agent", "retire", "scripted@1.1.0", "-o", "json"]).await;
        (outcome.code == 0).then(|| outcome.json())
    })
    .await;
    assert_eq!(retired["standing"]["status"], "RETIRED");
    fleet.stop().await;
}
