//! The signing key is made once. One that was lost, or is another one than before, stops the start.

use kapelle_broker::testing::TestServer;
use kapelle_bus::Connection;
use kapelle_coordinator::{Accepted, Config, Coordinator};

use crate::fleet::connect;

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
