//! A version is brought in share by share while jobs come, and the processes are killed meanwhile: what was decided holds, and
//! a run that began with the first version ends with it.
#![allow(clippy::unwrap_used, reason = "a test: it fails by panics")]

use std::collections::BTreeMap;

use kapelle_tests::harness::manifests::process_agent;
use kapelle_tests::harness::{Cli, Lab, eventually};
use serde_json::{Value, json};

/// Says which version it is.
const AGENT: &str = r#"
import json, sys
for line in sys.stdin:
    task = json.loads(line)
    print(json.dumps({"id": task["id"], "output": {"version": task["version"]}}), flush=True)
"#;
/// Two steps with a signal between them.
const WORKFLOW: &str = r#"
apiVersion: kapelle.dev/v1
kind: Workflow
metadata: { name: told, version: 1.0.0, owner: tests@example.com }
spec:
  input: { schema: { type: object } }
  signals: { go: {} }
  steps:
    - { id: before, agent: "teller@*", with: "${input}" }
    - { id: go, needs: [before], when: "${input.waits == true}", signal: go }
    - { id: after, agent: "teller@*", needs: [go], with: "${input}" }
  output: { before: "${steps.before.output.version}", after: "${steps.after.output.version}" }
"#;

/// `kapelle dev` over what is there.
async fn dev(lab: &mut Lab) -> (String, Cli) {
    let free = ["--nats-port", "0", "--grpc-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"];
    let (name, ready) = lab.start_role("dev", &[&["dev", "--data-dir", "data"], &free[..]].concat()).await;
    (name, lab.cli(ready["address"].as_str().unwrap()))
}

async fn apply(lab: &Lab, cli: &Cli, version: &str) {
    let manifest = process_agent("teller", &["python3", "main.py"], "jsonl", "30s").replace("1.0.0", version);
    let file = lab.write(&format!("{version}/agent.yaml"), manifest);
    lab.write(&format!("{version}/main.py"), AGENT);
    cli.json(&["apply", "-f", file.to_str().unwrap()]).await;
}

/// Runs so many and counts which version did them: never two in one run.
async fn shares(cli: &Cli, runs: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..runs {
        let run = cli.json(&["run", "execute", "told", "--input", r#"{"waits": false}"#]).await;
        let (before, after) = (&run["output"]["before"], &run["output"]["after"]);
        assert_eq!((&run["status"], before), (&json!("COMPLETED"), after), "{run:#}");
        *shares.entry(before.as_str().unwrap().to_owned()).or_default() += 1;
    }
    shares
}

fn all(version: &str, runs: usize) -> BTreeMap<String, usize> {
    [(version.to_owned(), runs)].into()
}

async fn statuses(cli: &Cli) -> Vec<String> {
    let told = cli.json(&["release", "describe", "teller"]).await;
    let versions = told["versions"].as_array().unwrap().clone();
    versions.iter().map(|it| format!("{} {}", it["version"], it["status"]).replace('"', "")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_decided_holds_and_a_run_ends_with_the_version_it_began_with() {
    let mut lab = Lab::new();
    let (first, cli) = dev(&mut lab).await;
    let workflow = lab.write("told.yaml", WORKFLOW);
    apply(&lab, &cli, "1.0.0").await;
    cli.json(&["apply", "-f", workflow.to_str().unwrap()]).await;
    cli.json(&["release", "set-current", "teller@1.0.0"]).await;
    let pinned = cli.json(&["run", "start", "told", "--input", r#"{"waits": true}"#]).await;
    let pinned = pinned["run_id"].as_str().unwrap().to_owned();
    apply(&lab, &cli, "2.0.0").await;
    assert_eq!(shares(&cli, 5).await, all("1.0.0", 5));
    cli.json(&["release", "set-ramping", "teller@2.0.0", "--percentage", "1"]).await;

    // Killed and started again, it goes on as decided.
    lab.process(&first).kill9();
    let (second, cli) = dev(&mut lab).await;
    assert_eq!(statuses(&cli).await, ["2.0.0 RAMPING", "1.0.0 CURRENT"]);
    cli.json(&["release", "set-ramping", "teller@2.0.0", "--percentage", "50"]).await;
    let half = shares(&cli, 40).await;
    assert!(half.len() == 2 && half.values().all(|runs| *runs >= 5), "{half:?}");
    cli.json(&["release", "set-ramping", "teller@2.0.0", "--percentage", "100"]).await;
    assert_eq!(shares(&cli, 5).await, all("2.0.0", 5));
    cli.json(&["release", "promote", "teller", "--why", "as good"]).await;
    apply(&lab, &cli, "3.0.0").await;
    cli.json(&["release", "set-current", "teller@3.0.0"]).await;
    lab.process(&second).kill9();
    let (_, cli) = dev(&mut lab).await;
    assert_eq!(shares(&cli, 3).await, all("3.0.0", 3));
    eventually("the run of the first version is counted", || async {
        (statuses(&cli).await == ["3.0.0 CURRENT", "2.0.0 DRAINED", "1.0.0 DRAINING"]).then_some(())
    })
    .await;

    // The first version is needed until its run has ended, with that version.
    let retire = ["agent", "retire", "teller@1.0.0", "-o", "json"];
    assert_eq!(cli.run(&retire).await.expect(1).error()["code"], "K0213");
    cli.json(&["run", "signal", &pinned, "go"]).await;
    let ended = eventually("the run ends", || async {
        let run = cli.json(&["run", "describe", &pinned]).await;
        (run["status"] == "COMPLETED").then_some(run)
    })
    .await;
    assert_eq!(ended["output"], json!({ "before": "1.0.0", "after": "1.0.0" }));
    eventually("it has drained by itself", || async {
        (statuses(&cli).await == ["3.0.0 CURRENT", "2.0.0 DRAINED", "1.0.0 DRAINED"]).then_some(())
    })
    .await;
    eventually("it is retired", || async { (cli.run(&retire).await.code == 0).then_some(()) }).await;
    let refused = cli.run(&["release", "set-current", "teller@1.0.0", "-o", "json"]).await.expect(1).error();
    assert_eq!(refused["code"], "K0212");

    // One command, and no run gets the bad one any more.
    let back: Value = cli.json(&["release", "rollback", "teller", "--why", "worse"]).await;
    assert_eq!((&back["release"]["current"], &back["behind"]), (&json!("2.0.0"), &json!([])));
    assert_eq!(shares(&cli, 3).await, all("2.0.0", 3));
    let trail = cli.run(&["audit", "search", "-o", "json"]).await;
    assert!(trail.stdout.contains("release-rollback") && trail.stdout.contains("worse"), "{}", trail.stdout);
    lab.assert_no_panic();
}
