//! The examples under `examples/patterns` that need agents, through the binary: a trip whose bookings are cancelled,
//! and a draft that is written until it is good enough.
#![allow(clippy::unwrap_used, reason = "a test: it fails by panics")]

use kapelle_tests::harness::{Cli, Fleet, Lab, Metrics, eventually};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_is_handed_on_until_somebody_has_the_last_word() {
    let (fleet, cli) = fleet("handoff").await;
    let ticket = json!({ "ticket": "My invoice is wrong, and the router is offline." });
    let helped = ended(&cli, "support", ticket).await;
    let notes = ["triage: taken in", "billing: about invoice", "technical: about router, offline", "triage: closed"];
    assert_eq!(helped["output"], json!(notes));
    let step = &helped["steps"][0];
    assert_eq!((&step["agent"], &step["attempts"]), (&json!("triage@1.0.0"), &json!(4)));
    assert_eq!(step["chain"], json!(["triage@1.0.0", "billing@1.0.0", "technical@1.0.0"]), "who acted for whom");
    let log = cli.json(&["run", "show", helped["run_id"].as_str().unwrap()]).await.to_string();
    assert!(
        log.contains(r#""may_be_handed_to":{"support":["billing@1.0.0","technical@1.0.0","triage@1.0.0"]}"#),
        "{log}"
    );
    assert!(log.contains(r#""agent":"technical@1.0.0""#), "who did which attempt: {log}");

    let alone = ended(&cli, "support", json!({ "ticket": "Thanks!" })).await;
    assert_eq!(alone["output"], json!(["triage: taken in"]));
    assert!(alone["steps"][0].get("chain").is_none(), "{alone}");

    let seen = cli.json(&["lineage"]).await;
    let done = |agent: &str| {
        let rows = seen["steps"].as_array().unwrap().iter();
        let of_agent = rows.filter(|it| it["agent"] == agent).map(|it| it["attempts_succeeded"].as_u64().unwrap());
        of_agent.sum::<u64>()
    };
    assert_eq!(["triage@1.0.0", "billing@1.0.0", "technical@1.0.0"].map(done), [3, 1, 1]);
    let impact = cli.run(&["agent", "impact", "technical", "-o", "json"]).await.expect(1);
    assert!(impact.stdout.contains("support@1.0.0"), "whoever may be handed a step is needed: {impact:?}");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_debate_until_they_agree_or_are_heard_twice() {
    let (fleet, cli) = fleet("debate").await;
    let unfair =
        ended(&cli, "debate", json!({ "text": "We may change these terms at any time without notice." })).await;
    assert_eq!(unfair["output"]["fair"], false, "{unfair}");
    assert_eq!(unfair["output"]["votes"].as_array().unwrap().len(), 2, "two agree, and the third is not waited for");
    assert!(statuses(&unfair).contains(&"second SKIPPED".to_owned()), "{unfair}");
    let fair = ended(&cli, "debate", json!({ "text": "You may cancel at any time." })).await;
    assert_eq!(fair["output"]["fair"], true, "whoever is heard first: {fair}");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_puts_together_what_others_did() {
    let (fleet, cli) = fleet("supervisor").await;
    let report = ended(&cli, "sales-report", json!({ "numbers": { "north": [4, 8], "south": [1, 2, 3] } })).await;
    let expected = json!({ "totals": { "north": 12, "south": 6 }, "total": 18, "leader": "north" });
    assert_eq!(report["output"], expected);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_are_counted_and_one_that_cannot_be_read_is_left_out() {
    let (fleet, cli) = fleet("map-reduce").await;
    let lines = json!({ "lines": ["to be or", "not to be", "that is", "the question"] });
    let counted = ended(&cli, "word-count", lines).await;
    assert_eq!(counted["output"]["parts"], 2, "three lines, and one");
    assert_eq!(counted["output"]["counts"]["be"], 2);
    let partly = ended(&cli, "word-count", json!({ "lines": ["a", "b", "a", "\u{fffd}"] })).await;
    assert_eq!(partly["output"], json!({ "counts": { "a": 2, "b": 1 }, "parts": 2 }));
    let hardly = json!({ "lines": ["\u{fffd}", "b", "a", "\u{fffd}"] });
    let started = cli.json(&["run", "start", "word-count", "--input", &hardly.to_string()]).await;
    let run = started["run_id"].as_str().unwrap().to_owned();
    eventually("more failed than may", || async {
        let seen = cli.json(&["run", "describe", &run]).await;
        (seen["status"] == "STALLED").then_some(())
    })
    .await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_held_against_its_allow_list_before_it_runs() {
    let (fleet, cli) = fleet("plan-and-execute").await;
    let done = ended(&cli, "tidy-up", json!({ "wish": "double 4, then add 3" })).await;
    assert_eq!((&done["output"]["value"], &done["steps"][1]["attempts"]), (&json!(11.0), &json!(3)), "{done}");
    let refused = ended(&cli, "tidy-up", json!({ "wish": "double 4, then delete 3" })).await;
    assert_eq!(refused["status"], "FAILED");
    assert_eq!(refused["steps"][0]["error"]["code"], "K0308", "{refused}");
    assert_eq!(refused["steps"][1]["attempts"], 0, "nothing was done");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn specialists_write_on_a_board_until_the_question_is_answered() {
    let (fleet, cli) = fleet("blackboard").await;
    let solved = ended(&cli, "blackboard", json!({ "facts": { "radius": 2 }, "wanted": "volume" })).await;
    assert_eq!(solved["output"]["facts"], json!({ "radius": 2, "area": 12, "height": 10, "volume": 120 }), "{solved}");
    assert_eq!(solved["steps"][0]["attempts"], 3, "a round finds out what the one before made known");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invoice_is_paid_when_somebody_agrees_to_it() {
    let mut lab = Lab::new();
    let ports = ["--nats-port", "0", "--grpc-address", ANY, "--metrics-address", ANY];
    let (name, ready) = lab.start_role("dev", &[&["dev", "--data-dir", "data"], &ports[..]].concat()).await;
    let cli = lab.cli(ready["address"].as_str().unwrap());
    cli.json(&["apply", "-f", &format!("{EXAMPLES}/invoice")]).await;
    let small = ended(&cli, "invoice", json!({ "amount": 5 })).await;
    assert_eq!(small["output"], json!({ "paid": 5, "agreed": null }));

    let started = cli.json(&["run", "start", "invoice", "--input", r#"{"amount": 70}"#]).await;
    let run = started["run_id"].as_str().unwrap();
    eventually("somebody is asked", || async {
        let seen = cli.json(&["run", "describe", run]).await;
        (seen["steps"][0]["status"] == "AWAITING").then_some(())
    })
    .await;
    let digest = cli.json(&["approval", "show", run, "agree"]).await["digest"].as_str().unwrap().to_owned();
    let agree = ["approval", "approve", run, "agree", "--digest", &digest, "--comment", "as ordered"];
    cli.json(&agree).await;
    let paid = eventually("it is paid", || async {
        let seen = cli.json(&["run", "describe", run]).await;
        (!seen["finished_at"].is_null()).then_some(seen)
    })
    .await;
    assert_eq!((&paid["status"], &paid["output"]["agreed"]["comment"]), (&json!("COMPLETED"), &json!("as ordered")));
    lab.process(&name).ask_to_end();
    assert!(lab.process(&name).end(std::time::Duration::from_secs(60)).await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_share_an_agent_and_what_is_urgent_comes_first() {
    let (fleet, cli) = fleet("fair-share").await;
    let mut runs = Vec::new();
    for tenant in ["small", "large", "small", "large"] {
        let input = json!({ "tenant": tenant, "archive": tenant, "documents": ["to be", "or", "not to be"] });
        let priority = if tenant == "large" { "1" } else { "3" };
        let input = input.to_string();
        let started = cli.json(&["run", "start", "scan", "--priority", priority, "--input", &input]).await;
        runs.push(started["run_id"].as_str().unwrap().to_owned());
    }
    for run in runs {
        let seen = eventually(&format!("{run} has ended"), || async {
            let seen = cli.json(&["run", "describe", &run]).await;
            (!seen["finished_at"].is_null()).then_some(seen)
        })
        .await;
        assert_eq!(seen["output"], json!({ "words": 6 }), "{seen}");
    }
    let given = Metrics::of(&fleet.coordinators[0].metrics).await.sum("kapelle_turns_given_total", "");
    assert!(given >= Some(16.0), "each task had its turn: {given:?}");
    fleet.stop().await;
}
