//! What depends on an agent of the demo, which agents it has and how A2A sees them: through the binary, with real runs.
#![allow(clippy::unwrap_used, reason = "a test: it fails by panics")]

use std::fs;
use std::path::Path;

use kapelle_tests::harness::{Cli, Lab, eventually};
use serde_json::{Value, json};

/// Arguments that let every listener of `kapelle dev` take a free port.
const FREE: [&str; 6] = ["--nats-port", "0", "--grpc-address", "127.0.0.1:0", "--metrics-address", "127.0.0.1:0"];
/// A tree that is not there: the first step gives up, and the run waits for somebody.
const NOWHERE: &str = r#"{"source": {"kind": "npm", "root": "/nowhere"}, "output_dir": "/nowhere"}"#;

/// `kapelle agent impact`, once it ends as it should and every partition has answered.
async fn impact(cli: &Cli, agent: &str, exit: i32, open: u64) -> Value {
    eventually("the impact is known", || async {
        let outcome = cli.run(&["agent", "impact", agent, "-o", "json"]).await;
        let told = outcome.json();
        let known = told["runs"]["complete"] == true && told["runs"]["unknown"] == 0 && told["runs"]["open"] == open;
        (outcome.code == exit && known).then_some(told)
    })
    .await
}

fn steps(impact: &Value) -> Vec<String> {
    let steps = impact["steps"].as_array().unwrap().iter();
    steps.map(|it| format!("{} {} {} -> {}", it["workflow"], it["step"], it["now"], it["then"])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_dependant_of_the_demos_agents_is_named() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/software-intake");
    let mut lab = Lab::new();
    let (_, ready) = lab.start_role("dev", &[&["dev", "--data-dir", "data"], &FREE[..]].concat()).await;
    let cli = lab.cli(ready["address"].as_str().unwrap());
    cli.json(&["apply", "-f", example.to_str().unwrap()]).await;

    let checked = cli.json(&["agent", "check"]).await;
    assert_eq!(
        checked,
        json!({
            "ok": true, "agents": 4, "risks": { "high": 0, "limited": 0, "minimal": 0, "unstated": 4 }, "findings": [],
        })
    );
    let card = cli.json(&["agent", "card", "licence-review", "--url", "https://example.com/a2a"]).await;
    assert_eq!((&card["version"], &card["skills"][1]["id"]), (&json!("1.0.0"), &json!("licence.recognise")));
    assert_eq!(cli.run(&["agent", "impact", "nobody", "-o", "json"]).await.expect(4).error()["code"], "K0108");
    assert_eq!(cli.run(&["agent", "card", "nobody", "-o", "json"]).await.expect(4).error()["code"], "K0108");

    let execute = ["run", "execute", "software-intake", "--input", NOWHERE, "-o", "json"];
    let run = cli.run(&execute).await.expect(1).json();
    assert_eq!(run["status"], "STALLED", "{run:#}");
    let told = impact(&cli, "licence-review@1.0.0", 1, 1).await;
    assert_eq!(steps(&told), [r#""software-intake@1.0.0" "review" "licence-review@1.0.0" -> null"#]);
    assert_eq!(told["runs"]["workflows"], json!([{ "workflow": "software-intake@1.0.0", "runs": 1 }]));
    assert_eq!(told["runs"]["first"], json!([run["run_id"]]));
    for agent in ["inventory", "risk-score", "sbom"] {
        assert_eq!(steps(&impact(&cli, agent, 1, 1).await).len(), 1, "{agent}");
    }

    // With a newer version the step has somewhere to go; the open run has not.
    let manifest = fs::read_to_string(example.join("agents/licence-review/agent.yaml")).unwrap();
    lab.write("newer.yaml", manifest.replace("version: 1.0.0", "version: 1.1.0"));
    cli.json(&["apply", "-f", "newer.yaml"]).await;
    assert_eq!(steps(&impact(&cli, "licence-review@1.0.0", 1, 1).await), Vec::<String>::new());
    let newer = impact(&cli, "licence-review@1.1.0", 0, 0).await;
    assert_eq!(steps(&newer), [r#""software-intake@1.0.0" "review" "licence-review@1.1.0" -> "licence-review@1.0.0""#]);
    let id = run["run_id"].as_str().unwrap();
    let _ = cli.run(&["run", "terminate", id]).await.expect(0);
    let free = impact(&cli, "licence-review@1.0.0", 0, 0).await;
    assert_eq!(free["breaks"], false);
    assert_eq!(steps(&impact(&cli, "licence-review", 1, 0).await).len(), 1, "all versions at once");
}
