//! The puller's promises: credit, patience, nothing lost and nothing stuck.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::FutureExt;
use kapelle_bus::pull::{Delivery, TaskPuller};
use serde_json::json;

use crate::rig::{PATIENCE, Rig, echo, eventually, run_id, task};

async fn next(puller: &mut TaskPuller) -> Delivery {
    tokio::time::timeout(PATIENCE, puller.next()).await.expect("a task in time").expect("the puller goes on")
}

/// Polls the puller until the broker has said all that it had to say: a flush, and nothing comes.
async fn nothing_more(rig: &Rig, puller: &mut TaskPuller) {
    for _ in 0..20 {
        assert!(puller.next().now_or_never().is_none(), "a task above the credit");
        rig.bus.client().flush().await.unwrap();
    }
    let quiet = tokio::time::timeout(Duration::from_millis(200), puller.next()).await;
    assert!(quiet.is_err(), "a task above the credit");
}

async fn submit(rig: &Rig, run: &str, count: u32) {
    for item in 0..count {
        rig.submit(&task(run, item, json!(item))).await;
    }
}

#[tokio::test]
async fn never_more_outstanding_than_slots() {
    let rig = Rig::start().await;
    rig.queue(&echo()).await;
    submit(&rig, "credit", 10).await;
    let mut puller = TaskPuller::open(&rig.bus, echo(), 4).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(next(&mut puller).await);
        assert!(puller.held() + puller.requested() <= 4);
    }
    nothing_more(&rig, &mut puller).await;
    assert_eq!(rig.bus.queue_state(&echo()).await.unwrap().in_flight, 4);
    held.pop().unwrap().ack().await;
    held.push(next(&mut puller).await);
    nothing_more(&rig, &mut puller).await;
    for _ in 0..5 {
        held.remove(0).ack().await;
        held.push(next(&mut puller).await);
    }
    let mut items: Vec<_> = held.drain(..).map(|d| (d.subject.task.step.item, d.delivered, d.stream_seq)).collect();
    items.sort_unstable();
    assert!(items.iter().all(|(_, delivered, seq)| *delivered == 1 && *seq > 0), "{items:?}");
}

#[tokio::test]
async fn a_queue_that_comes_later_is_served() {
    let rig = Rig::start().await;
    let mut puller = TaskPuller::open(&rig.bus, echo(), 2).await.unwrap();
    submit(&rig, "later", 1).await;
    nothing_more(&rig, &mut puller).await;
    rig.queue(&echo()).await;
    next(&mut puller).await.ack().await;
}

#[tokio::test]
async fn a_queue_that_is_deleted_and_made_again_is_served() {
    let rig = Rig::start().await;
    rig.queue(&echo()).await;
    let mut puller = TaskPuller::open(&rig.bus, echo(), 2).await.unwrap();
    submit(&rig, "before", 1).await;
    next(&mut puller).await.ack().await;
    let tasks = rig.bus.jetstream().get_stream("TASKS").await.unwrap();
    tasks.delete_consumer("echo-1_0_0").await.unwrap();
    nothing_more(&rig, &mut puller).await;
    rig.queue(&echo()).await;
    submit(&rig, "after", 2).await;
    let (one, two) = (next(&mut puller).await, next(&mut puller).await);
    assert_eq!(puller.held(), 2);
    one.ack().await;
    two.ack().await;
}

#[tokio::test]
async fn credit_survives_requests_that_expire() {
    let rig = Rig::start().await;
    rig.queue(&echo()).await;
    let mut puller = TaskPuller::open(&rig.bus, echo(), 3).await.unwrap();
    // Longer than a request stands: its end gives the credit back and the next one takes it.
    assert!(tokio::time::timeout(Duration::from_millis(10_500), puller.next()).await.is_err());
    assert_eq!((puller.held(), puller.requested()), (0, 3));
    submit(&rig, "expired", 5).await;
    let held = [next(&mut puller).await, next(&mut puller).await, next(&mut puller).await];
    nothing_more(&rig, &mut puller).await;
    drop(held);
}

/// The queue's tail may be gone after the kill, and its sequences are given out again: the late acknowledgement of a task
/// that came before must not take another out.
#[tokio::test]
async fn a_broker_that_is_killed_and_comes_back_is_pulled_from_again() {
    let mut rig = Rig::start().await;
    rig.queue(&echo()).await;
    let mut puller = TaskPuller::open(&rig.bus().await, echo(), 2).await.unwrap();
    submit(&rig, "one", 1).await;
    let before = next(&mut puller).await;
    rig.server.kill9().await;
    assert!(tokio::time::timeout(Duration::from_millis(500), puller.next()).await.is_err());
    rig.server.restart().await;
    eventually("broker", || async { rig.bus.stream_state("TASKS").await.ok() }).await;
    submit(&rig, "two", 2).await;
    before.ack().await;
    let mut seen = BTreeSet::new();
    while seen.len() < 2 {
        let delivery = next(&mut puller).await;
        if delivery.subject.run_id == run_id("two") {
            seen.insert(delivery.subject.task.step.item);
        }
        delivery.ack().await;
    }
    // The broker may have forgotten, killed, that the first was delivered: then its acknowledgement was for nothing.
    let look = Duration::from_millis(500);
    let empty = async {
        while rig.queued().await > 0 {
            if let Ok(Some(delivery)) = tokio::time::timeout(look, puller.next()).await {
                delivery.ack().await;
            }
        }
    };
    tokio::time::timeout(2 * PATIENCE, empty).await.expect("an empty queue");
}

#[tokio::test]
async fn garbage_on_a_task_subject_is_taken_out_and_blocks_nobody() {
    let rig = Rig::start().await;
    rig.queue(&echo()).await;
    let mut puller = TaskPuller::open(&rig.bus, echo(), 1).await.unwrap();
    for rest in ["garbage", "a.b.c.d", "00000000-0000-0000-0000-000000000000.S.1"] {
        rig.bus
            .jetstream()
            .publish(format!("kapelle.task.echo.1_0_0.{rest}"), "x".into())
            .await
            .unwrap()
            .await
            .unwrap();
    }
    submit(&rig, "good", 1).await;
    next(&mut puller).await.ack().await;
    eventually("empty queue", || async { (rig.queued().await == 0).then_some(()) }).await;
}

#[tokio::test]
async fn after_a_stop_what_was_sent_still_comes_and_then_the_end() {
    let rig = Rig::start().await;
    rig.queue(&echo()).await;
    submit(&rig, "stop", 10).await;
    let mut puller = TaskPuller::open(&rig.bus, echo(), 4).await.unwrap();
    let mut held = vec![next(&mut puller).await];
    eventually("deliveries", || async { (rig.bus.queue_state(&echo()).await.unwrap().in_flight == 4).then_some(()) })
        .await;
    puller.stop().await;
    while let Some(delivery) = tokio::time::timeout(PATIENCE, puller.next()).await.expect("an end") {
        held.push(delivery);
    }
    assert_eq!(held.len(), 4);
    assert_eq!(rig.bus.queue_state(&echo()).await.unwrap().in_flight, 4);
}
