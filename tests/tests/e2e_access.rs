//! Who may do what, as a person at a terminal meets it: the first token, the next ones, a denial, a revocation.
#![allow(clippy::unwrap_used, reason = "a test: it fails by panics")]

use kapelle_tests::harness::manifests::{chain, scripted_agent};
use kapelle_tests::harness::{Fleet, eventually};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_brokers_credentials_to_a_revoked_token() {
    let fleet = Fleet::start(1).await;
    let (address, broker) = (fleet.coordinators[0].address.clone(), fleet.broker.url());
    let nobody = fleet.lab.cli(&address);
    let refused = nobody.run(&["run", "list", "-o", "json"]).await.expect(3);
    assert_eq!(refused.error()["code"], "K0502");
    assert!(refused.error()["hint"].as_str().unwrap().contains("KAPELLE_TOKEN"), "{refused:?}");

    // Whoever holds the broker's credentials makes the first token, without asking a coordinator.
    let first = ["token", "create", "root", "--role", "admin", "--nats-url", &broker];
    let root = nobody.json(&first).await;
    assert_eq!((&root["created_by"], &root["namespace"]), (&json!("broker"), &json!("default")));
    let root = fleet.lab.cli(&address).with_token(root["token"].as_str().unwrap());
    eventually("the coordinator knows the first token", || async {
        (root.run(&["token", "list"]).await.code == 0).then_some(())
    })
    .await;

    fleet.register(&[scripted_agent(4), chain("three-steps", 3)]).await;
    let made = root.json(&["token", "create", "ci", "--role", "publisher", "--expires-in", "1h"]).await;
    let (secret, id) = (made["token"].as_str().unwrap(), made["id"].as_str().unwrap());
    assert!(secret.starts_with(&format!("kpl_{id}_")), "{made}");
    let ci = fleet.lab.cli(&address).with_token(secret);
    let run = ci.json(&["run", "start", "three-steps", "--input", "{}"]).await;
    let run = run["run_id"].as_str().unwrap();
    assert_eq!(ci.json(&["run", "describe", run]).await["submitted_by"], "token:ci");
    let denied = ci.run(&["run", "pause", run, "-o", "json"]).await.expect(3);
    assert_eq!(denied.error()["code"], "K0503");
    assert!(denied.error()["message"].as_str().unwrap().contains("policy `default_deny`"), "{denied:?}");
    let _ = ci.run(&["run", "cancel", run, "-o", "json"]).await.expect(0); // its own
    let another = root.json(&["run", "start", "three-steps", "--input", "{}"]).await;
    let denied = ci.run(&["run", "cancel", another["run_id"].as_str().unwrap(), "-o", "json"]).await.expect(3);
    assert_eq!(denied.error()["code"], "K0503");
    let greedy = root.run(&["token", "create", "eye", "--role", "viewer", "--sees-payloads", "-o", "json"]).await;
    assert_eq!(greedy.expect(3).error()["code"], "K0503", "nobody hands on what they do not have");

    assert_eq!(root.json(&["token", "revoke", id]).await["state"], "revoked");
    assert_eq!(ci.run(&["run", "list", "-o", "json"]).await.expect(3).error()["code"], "K0502");
    let unknown = root.run(&["token", "revoke", "0000000000000000", "-o", "json"]).await.expect(4);
    assert_eq!(unknown.error()["code"], "K0505");
    let states = root.json(&["token", "list"]).await;
    let ci_now = states.as_array().unwrap().iter().find(|t| t["id"] == id).unwrap();
    assert_eq!((&ci_now["state"], &ci_now["token"]), (&json!("revoked"), &json!(null)));

    let tail = secret.splitn(3, '_').last().unwrap();
    for (name, log) in fleet.lab.logs() {
        assert!(!log.contains(tail) && !log.contains(&fleet.token), "{name} logs a token");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_development_identity_listens_on_this_machine_alone() {
    let lab = kapelle_tests::harness::Lab::new();
    let outside = ["dev", "--data-dir", "data", "--nats-port", "0", "--grpc-address", "0.0.0.0:0", "-o", "json"];
    let refused = lab.cli("127.0.0.1:9").run(&outside).await.expect(2);
    assert!(refused.error()["hint"].as_str().unwrap().contains("coordinator start"), "{refused:?}");
}
