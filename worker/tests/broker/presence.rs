//! Who is there.

use kapelle_bus::presence::{Kind, Record};
use kapelle_types::{Partition, Timestamp};
use kapelle_worker::{Config, Sandbox};

use crate::rig::{Rig, echo, echoes, eventually};

#[tokio::test]
async fn a_worker_is_there_until_it_has_drained() {
    let rig = Rig::start().await;
    assert!(rig.bus.present().await.unwrap().is_empty());
    let config = Config { id: "one".into(), slots: 3, ..Config::new() }.native(echo(), echoes());
    let worker = rig.worker_with(config).await;
    let there = eventually("presence", || async {
        rig.bus.present().await.unwrap().into_iter().find(|r| r.agents == [echo()])
    })
    .await;
    assert_eq!((there.id.as_str(), there.kind, there.slots, there.draining), ("one", Kind::Worker, 3, false));
    assert_eq!(worker.agents(), [echo()]);
    worker.drain().await;
    assert!(rig.bus.present().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_worker_without_the_sandbox_is_seen() {
    let rig = Rig::start().await;
    let config = Config { host: "box".into(), sandbox: Sandbox::Off, ..Config::new() }.native(echo(), echoes());
    let _worker = rig.worker_with(config).await;
    let there = eventually("presence", || async { rig.bus.present().await.unwrap().into_iter().next() }).await;
    assert_eq!(there.host, "box (sandbox off)");
}

#[tokio::test]
async fn records_are_replaced_removed_and_written_anew() {
    let rig = Rig::start().await;
    let record = |id: &str, partition| Record {
        id: id.into(),
        kind: Kind::Coordinator,
        agents: vec![],
        slots: 0,
        slots_used: 0,
        partitions: vec![Partition(partition)],
        started_at: Timestamp::from_millis(1),
        host: "h".into(),
        draining: false,
        held: Vec::new(),
        version: "0.1.0".into(),
    };
    for partition in 0..3 {
        rig.bus.announce(&record("b", partition)).await.unwrap();
    }
    rig.bus.announce(&record("a", 7)).await.unwrap();
    assert_eq!(rig.bus.present().await.unwrap(), [record("a", 7), record("b", 2)]);
    rig.bus.leave(&record("a", 7)).await.unwrap();
    assert_eq!(rig.bus.present().await.unwrap(), [record("b", 2)]);
    rig.bus.announce(&record("a", 8)).await.unwrap();
    assert_eq!(rig.bus.present().await.unwrap(), [record("a", 8), record("b", 2)]);
}

#[tokio::test]
async fn a_record_carries_the_time_after_which_it_expires() {
    let rig = Rig::start().await;
    let worker = rig.worker(1, echoes()).await;
    eventually("presence", || async { (!rig.bus.present().await.unwrap().is_empty()).then_some(()) }).await;
    let subject = format!("$KV.presence.worker.{}", worker.id());
    let stream = rig.bus.jetstream().get_stream("KV_presence").await.unwrap();
    let stored = stream.get_last_raw_message_by_subject(&subject).await.unwrap();
    assert_eq!(stored.headers.get("Nats-TTL").unwrap().as_str(), "15s");
}
