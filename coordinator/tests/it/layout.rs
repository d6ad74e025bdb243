//! Timers at a broker of this release, and at one that 0.1.0 provisioned, whose streams stay as they are.

use std::time::Duration;

use async_nats::jetstream::stream::Config;
use kapelle_broker::testing::TestServer;
use kapelle_bus::layout::{LAYOUT_VERSION, Layout, TaskStorage};
use kapelle_bus::provision::{differences, provision};
use kapelle_bus::{Bus, Connection};
use kapelle_proto::subject::TimerSubject;
use kapelle_telemetry::clock;
use kapelle_types::{Partition, Partitions, RunId};

use crate::fleet::{connect, eventually};

/// A connection to a new broker with nothing on it, and what is to be there.
async fn place() -> (TestServer, Connection, Layout) {
    let server = TestServer::start().await;
    let connection = connect(&server.url()).await;
    (server, connection, Layout { partitions: Partitions::new(2).unwrap(), replicas: 1, tasks: TaskStorage::AsyncFile })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_go_off_in_the_log_of_their_run() {
    let (_server, connection, layout) = place().await;
    let record = provision(connection.jetstream(), &layout).await.unwrap();
    assert_eq!(record.version, LAYOUT_VERSION);
    timers_work(connection).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_go_off_at_a_broker_of_layout_1() {
    let (_server, connection, layout) = place().await;
    let jetstream = connection.jetstream();
    for partition in layout.partitions.all() {
        let old = Config {
            subjects: vec![format!("kapelle.run.{partition}.>"), format!("kapelle.timer.{partition}.>")],
            allow_message_schedules: true,
            allow_message_ttl: true,
            sources: None,
            ..layout.runs(partition)
        };
        jetstream.create_stream(old).await.unwrap();
    }
    let registry = layout.buckets().into_iter().find(|bucket| bucket.bucket == "registry").unwrap();
    let registry = jetstream.create_key_value(registry).await.unwrap();
    registry.put("layout", r#"{"partitions":2,"version":1}"#.into()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(provision(jetstream, &layout).await.unwrap().version, 1);
        assert_eq!(differences(jetstream, &layout).await.unwrap(), Vec::<String>::new());
    }
    assert!(jetstream.get_stream("TIMERS").await.is_err(), "two streams cannot take the same subjects");
    timers_work(connection).await;
}

/// One that is set goes off when it is due and not before; one that is cancelled never does.
async fn timers_work(connection: Connection) {
    let bus = Bus::open(connection).await.unwrap();
    let run_id: RunId = "0192f3c4-5a6b-7c8d-9e0f-112233445566".parse().unwrap();
    let timer = TimerSubject { partition: Partition(1), run_id, timer: "deadline".parse().unwrap() };
    let due = clock::now().plus(Duration::from_secs(1));
    bus.start_timer(&timer, due, "it fired".into()).await.unwrap().await.unwrap();
    let fired = eventually("the timer", || async { bus.last_controls(Partition(1)).await.ok()?.pop() }).await;
    assert_eq!((fired.run, &*fired.payload), (run_id, b"it fired".as_slice()));
    // The broker reads times in milliseconds.
    assert!(fired.stamp.at.plus(Duration::from_millis(1)) >= due, "not before it is due");

    // One that is cancelled does not.
    let soon = clock::now().plus(Duration::from_secs(2));
    bus.start_timer(&timer, soon, "never".into()).await.unwrap().await.unwrap();
    bus.cancel_timer(&timer).await.unwrap();
    let other = TimerSubject { run_id: "0192f3c4-5a6b-7c8d-9e0f-112233445577".parse().unwrap(), ..timer };
    bus.start_timer(&other, soon, "the next".into()).await.unwrap().await.unwrap();
    eventually("the next timer", || async { (bus.last_controls(Partition(1)).await.ok()?.len() == 2).then_some(()) })
        .await;
    let payloads: Vec<_> = bus.last_controls(Partition(1)).await.unwrap().into_iter().map(|raw| raw.payload).collect();
    assert!(payloads.iter().all(|payload| &**payload != b"never"), "{payloads:?}");
}

/// One header of a rollup erases a subject, or all of a stream.
#[tokio::test]
async fn what_workers_write_into_takes_no_rollups() {
    let (_server, connection, layout) = place().await;
    let jetstream = connection.jetstream();
    provision(jetstream, &layout).await.unwrap();
    for name in ["RUNS_0", "KV_presence", "KV_pace", "SPEND", "OBJ_payloads"] {
        let stream = jetstream.get_stream(name).await.unwrap();
        assert!(!stream.cached_info().config.allow_rollup, "{name}");
    }
}
