//! What becomes of a connection when its credentials are revoked, expire, or are renewed.

use std::time::Duration;

use async_nats::connection::State;
use kapelle_bus::Error;
use kapelle_telemetry::clock;
use kapelle_tests::harness::eventually;
use kapelle_types::Role;

use crate::accounts::Accounts;

/// Long enough to connect, short enough to wait for.
const SHORT: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_credentials_are_of_no_use_to_whoever_stole_them() {
    let accounts = Accounts::start(false).await;
    let mut record = accounts.namespace("default").await;
    accounts.issue(&mut record, Role::Worker, "w1");
    accounts.issue(&mut record, Role::Worker, "w2");
    let (stolen, other) = (accounts.broker.connect("w1").await, accounts.broker.connect("w2").await);
    assert_eq!(record.revoke("w1", clock::now()), 1);
    accounts.push(&record).await;
    eventually("the connection is closed", || async {
        (stolen.client().connection_state() != State::Connected).then_some(())
    })
    .await;
    let again = accounts.broker.try_connect("w1").await.unwrap_err();
    assert!(matches!(&again, Error::Unauthorized(why) if why.contains("revoked")), "{again}");
    let given_up = stolen.refused().await;
    assert!(matches!(&given_up, Error::Unauthorized(why) if why.contains("revoked")), "{given_up}");
    assert_eq!(other.client().connection_state(), State::Connected, "nobody else is disturbed");
    // New ones of the same name are taken.
    accounts.issue(&mut record, Role::Worker, "w1");
    accounts.broker.connect("w1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_credentials_end_in_an_error_that_says_so() {
    let accounts = Accounts::start(false).await;
    let mut record = accounts.namespace("default").await;
    accounts.issue_for(&mut record, Role::Coordinator, "c1", SHORT);
    let connection = accounts.broker.connect("c1").await;
    let refused = connection.refused().await;
    assert!(matches!(&refused, Error::Unauthorized(why) if why.contains("expired at")), "{refused}");
    let again = accounts.broker.try_connect("c1").await.unwrap_err();
    assert!(matches!(&again, Error::Unauthorized(why) if why.contains("expired at")), "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewed_credentials_are_taken_without_a_restart() {
    let accounts = Accounts::start(false).await;
    let mut record = accounts.namespace("default").await;
    accounts.issue_for(&mut record, Role::Coordinator, "c1", SHORT);
    let connection = accounts.broker.connect("c1").await;
    let mut epochs = connection.epochs();
    accounts.issue(&mut record, Role::Coordinator, "c1");
    let twice = epochs.wait_for(|epoch| *epoch >= 2);
    tokio::time::timeout(Duration::from_secs(30), twice).await.unwrap().unwrap();
    connection.client().flush().await.unwrap();
    assert_eq!(connection.client().connection_state(), State::Connected);
    // Those of somebody else in the same file are not.
    let other = accounts.issue(&mut record, Role::Coordinator, "c2");
    std::fs::rename(accounts.broker.credentials_file("c2"), accounts.broker.credentials_file("c1")).unwrap();
    assert!(record.revoke("c1", clock::now()) > 0);
    accounts.push(&record).await;
    let refused = connection.refused().await;
    assert!(matches!(refused, Error::Unauthorized(_)), "{refused}");
    drop(other);
}
