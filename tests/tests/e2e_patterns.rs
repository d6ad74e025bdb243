//! The examples under `examples/patterns` that need agents, through the binary: a trip whose bookings are cancelled,
//! and a draft that is written until it is good enough.
#![allow(clippy::unwrap_used, reason = "a test: it fails by panics")]

use kapelle_tests::harness::{Cli, Fleet, eventually};
use serde_json::{Value, json};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/patterns");
const ANY: &str = "127.0.0.1:0";

/// A fleet that knows the manifests of one example and serves its agents.
async fn fleet(example: &str) -> (Fleet, Cli) {
    let mut fleet = Fleet::start(1).await;
    let cli = fleet.cli();
    let folder = format!("{EXAMPLES}/{example}");
    cli.json(&["apply", "-f", &folder]).await;
    let url = fleet.broker.url();
    let start = ["worker", "start", "--agents", &folder, "--nats-url", &url, "--slots", "4", "--sandbox", "off"];
    fleet.lab.start_role("worker", &[&start[..], &["--metrics-address", ANY]].concat()).await;
    (fleet, cli)
}

async fn ended(cli: &Cli, workflow: &str, input: Value) -> Value {
    let started = cli.json(&["run", "start", workflow, "--input", &input.to_string()]).await;
    let run = started["run_id"].as_str().unwrap().to_owned();
    eventually(&format!("{run} has ended"), || async {
        let seen = cli.json(&["run", "describe", &run]).await;
        (!seen["finished_at"].is_null()).then_some(seen)
    })
    .await
}

/// The statuses of its steps, in the order in which they are shown.
fn statuses(run: &Value) -> Vec<String> {
    let steps = run["steps"].as_array().unwrap().iter();
    steps.map(|it| format!("{} {}", it["step"].as_str().unwrap(), it["status"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_booked_is_cancelled_the_latest_first() {
    let (fleet, cli) = fleet("trip").await;

    let booked = ended(&cli, "trip", json!({ "sold_out": [] })).await;
    assert_eq!(booked["output"], json!({ "hotel": "hotel", "flight": "flight" }));
    let expected = ["hotel SUCCEEDED", "flight SUCCEEDED", "car SUCCEEDED", "close_file SUCCEEDED"];
    assert_eq!(statuses(&booked), expected, "nothing is undone; what is done last always, is");

    let failed = ended(&cli, "trip", json!({ "sold_out": ["car"] })).await;
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("FAILED"), &json!("K0301")));
    let expected = [
        "hotel SUCCEEDED",
        "flight SUCCEEDED",
        "car GAVE_UP",
        "compensate_hotel SUCCEEDED",
        "compensate_flight SUCCEEDED",
        "tell SUCCEEDED",
        "close_file SUCCEEDED",
    ];
    assert_eq!(statuses(&failed), expected);
    let run = failed["run_id"].as_str().unwrap();
    let log = cli.json(&["run", "show", run]).await.to_string();
    let at = |step: &str| log.find(&format!(r#""step":"{step}""#)).unwrap_or_else(|| panic!("{step} is not in {log}"));
    assert!(at("compensate_flight") < at("compensate_hotel"), "{log}");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draft_is_written_until_it_is_good_enough() {
    let (fleet, cli) = fleet("refine").await;
    let refined = ended(&cli, "refine", json!({ "topic": "rain", "good_enough": 3 })).await;
    assert_eq!(refined["output"], json!({ "text": "rain rain rain", "score": 3 }));
    assert_eq!(refined["steps"][0]["attempts"], 3, "each round is an attempt");
    let accepted = ended(&cli, "refine", json!({ "topic": "rain", "good_enough": 9 })).await;
    assert_eq!(accepted["output"]["score"], 5, "five rounds have to do");
    fleet.stop().await;
}
