//! The signing key is made once. One that was lost, or is another one than before, stops the start.

use kapelle_broker::testing::TestServer;
use kapelle_bus::Connection;
use kapelle_bus::keys::Keys;
use kapelle_coordinator::{Accepted, Config, Coordinator};
use kapelle_proto::v1::RunStatus;
use kapelle_proto::v1::log_entry::Body;
use serde_json::json;

use crate::fleet::{Fleet, chain, connect, eventually};

/// Starts a coordinator and stops it again; what it said if it did not start.
async fn start(connection: &Connection) -> Result<(), String> {
    let config =
        Config { grpc_address: "127.0.0.1:0".parse().unwrap(), accepted: Accepted::Development, ..Config::default() };
    match Coordinator::start(config, connection.clone()).await {
        Ok(handle) => {
            handle.stop().await;
            Ok(())
        }
        Err(diagnosis) => Err(diagnosis.to_string()),
    }
}

#[tokio::test]
async fn a_lost_or_changed_signing_key_stops_the_start() {
    let server = TestServer::start().await;
    let connection = connect(&server.url()).await;
    start(&connection).await.unwrap();
    start(&connection).await.unwrap();

    let keys = connection.jetstream().get_key_value("keys").await.unwrap();
    let key = keys.get("1").await.unwrap().unwrap();
    connection.jetstream().delete_key_value("keys").await.unwrap();
    let said = start(&connection).await.unwrap_err();
    assert!(said.contains("signing key 1 is gone or another one than it was"), "{said}");

    let keys = connection.jetstream().get_key_value("keys").await.unwrap();
    assert!(keys.get("1").await.unwrap().is_none(), "it was made anew");
    keys.put("1", vec![7; 32].into()).await.unwrap();
    let said = start(&connection).await.unwrap_err();
    assert!(said.contains("signing key 1 is gone or another one than it was"), "{said}");

    keys.put("1", key).await.unwrap();
    start(&connection).await.unwrap();
}

/// The key that a run's submission names.
async fn key_of(fleet: &Fleet, run: &str) -> u32 {
    let history = fleet.history(run).await;
    let body = history[0].entry.as_ref().and_then(|e| e.body.clone());
    let Some(Body::RunSubmitted(submitted)) = body else { panic!("the first entry is the submission") };
    submitted.signing_key
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_is_for_new_runs_and_open_ones_keep_theirs() {
    let fleet = Fleet::start().await;
    fleet.register(chain("chain", 1)).await;
    let open = fleet.submit_input("chain", json!({ "sleep_ms": 6_000 })).await;
    assert_eq!(Keys::open(&fleet.bus().await).await.unwrap().rotate().await.unwrap(), 2);
    let new = eventually("the coordinator takes the new key", || async {
        let run = fleet.submit_input("chain", json!({})).await;
        (key_of(&fleet, &run).await == 2).then_some(run)
    })
    .await;
    assert_eq!(key_of(&fleet, &open).await, 1);
    for run in [open, new] {
        let ended = fleet.until_ended(&run).await;
        assert_eq!(ended.status(), RunStatus::Completed, "{ended:?}");
    }
    fleet.stop().await;
}
