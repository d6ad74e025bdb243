//! A broker that 0.1.0 provisioned, under this release: its timers move into a stream of their own.

use std::time::Duration;

use async_nats::jetstream::stream::Config;
use kapelle_broker::testing::TestServer;
use kapelle_bus::Bus;
use kapelle_bus::layout::{LAYOUT_VERSION, Layout, TaskStorage};
use kapelle_bus::provision::{differences, provision};
use kapelle_proto::subject::TimerSubject;
use kapelle_telemetry::clock;
use kapelle_types::{Partition, Partitions, RunId};

use crate::fleet::{connect, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_of_layout_1_is_brought_to_layout_2() {
    let server = TestServer::start().await;
    let connection = connect(&server.url()).await;
    let jetstream = connection.jetstream();
    let layout = Layout { partitions: Partitions::new(2).unwrap(), replicas: 1, tasks: TaskStorage::AsyncFile };
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
    jetstream.publish("kapelle.run.1.old.report", "kept".into()).await.unwrap().await.unwrap();
    let registry = layout.buckets().into_iter().find(|bucket| bucket.bucket == "registry").unwrap();
    let registry = jetstream.create_key_value(registry).await.unwrap();
    registry.put("layout", r#"{"partitions":2,"version":1}"#.into()).await.unwrap();

    for _ in 0..2 {
        let record = provision(jetstream, &layout).await.unwrap();
        assert_eq!((record.version, record.partitions.count()), (LAYOUT_VERSION, 2));
        assert_eq!(differences(jetstream, &layout).await.unwrap(), Vec::<String>::new());
    }
    let bus = Bus::open(connection.clone()).await.unwrap();
    assert_eq!(bus.stream_state("RUNS_1").await.unwrap().messages, 1, "no entry is lost");

    // A timer that is set now goes off in the run's log.
    let run_id: RunId = "0192f3c4-5a6b-7c8d-9e0f-112233445566".parse().unwrap();
    let timer = TimerSubject { partition: Partition(1), run_id, timer: "deadline".parse().unwrap() };
    let due = clock::now().plus(Duration::from_secs(1));
    bus.start_timer(&timer, due, "it fired".into()).await.unwrap().await.unwrap();
    let fired = eventually("the timer", || async { bus.last_controls(Partition(1)).await.ok()?.pop() }).await;
    assert_eq!((fired.run, &*fired.payload), (run_id, b"it fired".as_slice()));
    assert!(fired.stamp.at >= due, "not before it is due");

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
