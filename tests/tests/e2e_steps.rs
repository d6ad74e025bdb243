//! Steps that no agent does, through the binary: a switch, waits, signals from the command line, and an event that a
//! subscriber hears.
#![allow(clippy::unwrap_used, reason = "a test: it fails by panics")]

use std::time::Duration;

use futures::StreamExt;
use kapelle_tests::harness::{Cli, Fleet, eventually};
use serde_json::{Value, json};
use tokio::time::Instant;

/// The example that the guide speaks of.
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/patterns/order-handling");

async fn start(cli: &Cli, amount: u32) -> String {
    let input = json!({ "amount": amount }).to_string();
    let started = cli.json(&["run", "start", "order-handling", "--input", &input]).await;
    started["run_id"].as_str().unwrap().to_owned()
}

async fn until(cli: &Cli, run: &str, status: &str) -> Value {
    eventually(&format!("{run} is {status}"), || async {
        let seen = cli.json(&["run", "describe", run]).await;
        (seen["status"] == status).then_some(seen)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_waits_is_told_and_tells() {
    let fleet = Fleet::start(1).await;
    let cli = fleet.cli();
    cli.json(&["apply", "-f", EXAMPLE]).await;
    let listener = async_nats::connect(fleet.broker.url()).await.unwrap();
    let mut events = listener.subscribe("kapelle.event.emitted.>").await.unwrap();
    listener.flush().await.unwrap();

    let small = start(&cli, 7).await;
    let begun = Instant::now();
    let ended = until(&cli, &small, "COMPLETED").await;
    assert!(begun.elapsed() > Duration::from_millis(900), "a wait of a second is never early");
    assert_eq!(ended["output"], json!({ "route": "small", "answer": null, "done": "SUCCEEDED" }));
    let event = events.next().await.unwrap();
    assert_eq!(event.subject.as_str(), "kapelle.event.emitted.com.example.order.done");
    let header = |name: &str| event.headers.as_ref().unwrap().get(name).unwrap().to_string();
    assert_eq!((header("ce-id"), header("ce-subject")), (format!("{small}/done"), small.clone()));
    assert_eq!(header("ce-source"), "kapelle/workflow/order-handling@1.0.0");
    assert_eq!(serde_json::from_slice::<Value>(&event.payload).unwrap(), json!({ "amount": 7 }));

    let big = start(&cli, 70).await;
    let waiting = until(&cli, &big, "WAITING").await;
    let answer = waiting["steps"].as_array().unwrap().iter().find(|s| s["step"] == "answer").unwrap().clone();
    assert_eq!(
        (&answer["status"], &answer["kind"], &answer["signal"]),
        (&json!("AWAITING"), &json!("signal"), &json!("approved"))
    );
    let query = async |name: &str| cli.json(&["run", "query", &big, name]).await["value"].clone();
    assert_eq!((query("total").await, query("signed-by").await), (json!(140), Value::Null));
    signals(&cli, &big).await;
    let ended = until(&cli, &big, "COMPLETED").await;
    assert_eq!(ended["output"], json!({ "route": "big", "answer": { "by": "ada" }, "done": "SUCCEEDED" }));
    let late = cli.run(&["run", "signal", &big, "approved", "--payload", r#"{"by": "eve"}"#, "-o", "json"]).await;
    assert_eq!(late.expect(1).error()["code"], "K0206", "it comes too late, and is told so");
    let again = cli.json(&["run", "signal", &big, "approved", "--payload", r#"{"by": "ada"}"#, "--id", "a1"]).await;
    assert_eq!(again["duplicate"], true, "whoever repeats it hears that it counted");
    fleet.stop().await;
}

/// What is refused with a reason, what is taken, and what is known already.
async fn signals(cli: &Cli, run: &str) {
    let signal = async |name: &str, payload: &str| {
        let outcome = cli.run(&["run", "signal", run, name, "--payload", payload, "--id", "a1", "-o", "json"]).await;
        if outcome.code == 0 { outcome.json() } else { outcome.error()["code"].clone() }
    };
    assert_eq!(signal("aproved", "{}").await, "K0228");
    assert_eq!(signal("approved", "{}").await, "K0229");
    assert_eq!(signal("approved", r#"{"by": "ada"}"#).await["duplicate"], false);
    assert_eq!(signal("approved", r#"{"by": "ada"}"#).await["duplicate"], true);
    let update = cli.json(&["run", "update", run, "approved", "--payload", r#"{"by": "eve"}"#, "--id", "a1"]).await;
    assert_eq!((&update["value"], &update["duplicate"]), (&json!({ "by": "ada", "done": "SUCCEEDED" }), &json!(true)));
    let nobody = cli.run(&["run", "signal", "0192f3c4-5a6b-7c8d-9e0f-112233445566", "approved", "-o", "json"]).await;
    assert_eq!(nobody.expect(4).error()["code"], "K0108".replace("K0108", "K0205"));
}
