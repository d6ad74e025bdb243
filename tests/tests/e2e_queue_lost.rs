//! The task queue lost under load: purged whole; and, separately, the broker killed and the queue's files deleted.
//!
//! Tasks are derived from the run logs, so nothing is lost but time.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test: it fails by panics and prints its figures")]

use std::sync::Arc;

use kapelle_proto::stream;
use kapelle_telemetry::clock;
use kapelle_tests::harness::manifests::{chain, scripted_agent};
use kapelle_tests::harness::{Audit, Fleet, Logbook, Pump, Turn, eventually, is_chaos};
use serde_json::json;

/// Runs in flight.
const OPEN: usize = 600;
/// Tasks of one worker at once: few, so that most tasks wait in the queue when it is lost.
const SLOTS: usize = 50;
/// Tasks that must stand in the queue when it is lost.
const QUEUED_MIN: u64 = 200;
const STEPS: usize = 3;

struct Scene {
    fleet: Fleet,
    book: Arc<Logbook>,
    pump: Pump,
}

impl Scene {
    async fn open() -> Self {
        let mut fleet = Fleet::start(2).await;
        fleet.register(&[scripted_agent(400), chain("three-steps", STEPS)]).await;
        fleet.start_worker(SLOTS).await;
        fleet.start_worker(SLOTS).await;
        let book = Arc::new(Logbook::open(fleet.bus().await));
        let input = |n| json!({ "value": n, "sleep_ms": 100 });
        let pump = Pump::start(fleet.api.clone(), Arc::clone(&book), "three-steps", (OPEN, usize::MAX), input);
        Self { fleet, book, pump }
    }

    /// Waits until work goes on and most of it waits in the queue; how much.
    async fn until_the_queue_is_long(&self) -> u64 {
        self.book.work_goes_on(200).await;
        eventually("a long queue", || async {
            let queue = self.book.bus().stream_state(stream::TASKS).await.ok()?;
            (queue.messages >= QUEUED_MIN + 2 * SLOTS as u64).then_some(queue.messages)
        })
        .await
    }

    /// Everything ends, once.
    async fn close(self) {
        let lost_at = clock::now();
        self.book.work_goes_on(200).await;
        let back_after = clock::now().since(lost_at);
        let acked = self.pump.stop().await;
        self.book.all_ended().await;
        let audit = Audit::of(&self.book).await;
        println!("work went on after {} ms; {}", back_after.as_millis(), audit.summary());
        audit.assert_completed_once(STEPS);
        assert_eq!(acked.len(), audit.runs.len(), "one run for each job");
        assert!(acked.values().all(|run| audit.runs.contains_key(run)), "no acknowledged job is missing");
        self.fleet.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_run_ends_when_the_queue_is_purged() {
    let _turn = Turn::take().await;
    let scene = Scene::open().await;
    for _ in 0..if is_chaos() { 10 } else { 2 } {
        let queued = scene.until_the_queue_is_long().await;
        let tasks = scene.book.bus().jetstream().get_stream(stream::TASKS).await.unwrap();
        let purged = tasks.purge().await.unwrap().purged;
        println!("purged {purged} tasks of {queued}");
        assert!(purged >= QUEUED_MIN, "{purged} tasks were lost");
    }
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_run_ends_when_the_broker_comes_back_without_the_queue() {
    let _turn = Turn::take().await;
    let mut scene = Scene::open().await;
    for _ in 0..if is_chaos() { 5 } else { 1 } {
        let queued = scene.until_the_queue_is_long().await;
        scene.fleet.broker.kill9().await;
        scene.fleet.broker.delete_stream_store(stream::TASKS);
        scene.fleet.broker.restart().await;
        println!("the broker came back without a queue of {queued} tasks");
    }
    scene.close().await;
}
