//! What the fleet keeps together: the ledger of a day, the pace of starts, and workers that keep to both.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kapelle_bus::Error;
use kapelle_bus::layout::{Layout, TaskStorage};
use kapelle_bus::pace::Pacer;
use kapelle_bus::provision::{ensure_queue, provision};
use kapelle_bus::spend::Ledger;
use kapelle_bus::tasks::QueueLimits;
use kapelle_sdk::{Agent, Output, Usage};
use kapelle_types::{Partitions, Rate, Timestamp, Usd};
use kapelle_worker::Config;
use serde_json::json;
use tokio::time::Instant;

use crate::rig::{Does, Rig, echo, eventually, run_id, task};

const DAY: Timestamp = Timestamp::from_millis(1_795_000_000_000);

fn cents(cents: u64) -> Usd {
    Usd::from_micros(cents * 10_000)
}

async fn limited(rig: &Rig, rate: Option<Rate>, cost_per_day: Option<Usd>) {
    let limits = QueueLimits { rate, cost_per_day, ..QueueLimits::of(10_000) };
    ensure_queue(rig.bus.jetstream(), &echo(), limits).await.unwrap();
}

/// What the worker says that it holds back.
async fn held(rig: &Rig, says: &str) {
    eventually("a reason in the presence record", || async {
        let present = rig.bus.present().await.unwrap();
        let held: Vec<_> = present.into_iter().flat_map(|p| p.held).collect();
        held.iter().any(|h| h.agent == echo() && h.why.contains(says)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_ledger_adds_once_and_keeps_days_apart() {
    let rig = Rig::start().await;
    let (ledger, other) = (Ledger::new(rig.bus.clone(), echo()), Ledger::new(rig.bus().await, echo()));
    assert_eq!(ledger.spent(DAY).await.unwrap(), Usd::ZERO);
    ledger.add(DAY, cents(5), "run/a#1").await.unwrap();
    ledger.add(DAY, cents(5), "run/a#1").await.unwrap();
    other.add(DAY, cents(7), "run/a#2").await.unwrap();
    assert_eq!((ledger.spent(DAY).await.unwrap(), other.spent(DAY).await.unwrap()), (cents(12), cents(12)));
    let tomorrow = DAY.plus(Duration::from_secs(86_400));
    assert_eq!(ledger.spent(tomorrow).await.unwrap(), Usd::ZERO);
    let strange = Ledger::new(rig.bus.clone(), "echo@1.0.1".parse().unwrap());
    assert_eq!(strange.spent(DAY).await.unwrap(), Usd::ZERO, "each version has a budget of its own");
    rig.bus.jetstream().delete_stream("SPEND").await.unwrap();
    assert!(matches!(ledger.spent(DAY).await, Err(Error::Unavailable(_))), "no ledger is not an empty one");
}

/// Four workers ask at once for starts of one agent; nobody is given another's, and none is earlier than the rate allows.
#[tokio::test]
async fn no_start_is_given_twice_or_too_early() {
    let rig = Rig::start().await;
    limited(&rig, None, None).await;
    let rate: Rate = "200/s".parse().unwrap();
    let began = Instant::now();
    let mut workers = Vec::new();
    for _ in 0..4 {
        let mut pacer = Pacer::new(rig.bus().await, echo(), rate);
        workers.push(tokio::spawn(async move {
            let mut starts = Vec::new();
            for count in [1, 7, 2, 15] {
                starts.extend(pacer.reserve(count).await.unwrap());
            }
            starts
        }));
    }
    let mut starts = Vec::new();
    for worker in workers {
        starts.extend(worker.await.unwrap());
    }
    starts.sort_unstable();
    assert_eq!(starts.len(), 100);
    for (nth, start) in (0..).zip(&starts) {
        assert!(*start >= began + rate.interval() * nth, "start {nth} is {:?} after the beginning", *start - began);
    }
}

#[tokio::test]
async fn what_stands_at_the_pace_and_is_no_time_lets_nothing_start() {
    let rig = Rig::start().await;
    limited(&rig, None, None).await;
    let bucket = rig.bus.jetstream().get_key_value("pace").await.unwrap();
    bucket.put("echo.1_0_0", "soon".into()).await.unwrap();
    let mut pacer = Pacer::new(rig.bus.clone(), echo(), "10/s".parse().unwrap());
    assert!(matches!(pacer.reserve(1).await, Err(Error::Unreadable(_))));
}

/// Says when each task starts.
fn stamps(starts: &Arc<Mutex<Vec<Instant>>>) -> impl Agent + 'static {
    let starts = Arc::clone(starts);
    Does(move |task: kapelle_sdk::Task| {
        starts.lock().unwrap().push(Instant::now());
        async move { Ok(Output::new(task.input.as_ref().clone())) }
    })
}

#[tokio::test]
async fn two_workers_keep_one_rate() {
    const TASKS: u32 = 30;
    let rig = Rig::start().await;
    let rate: Rate = "20/s".parse().unwrap();
    limited(&rig, Some(rate), None).await;
    let starts = Arc::default();
    let began = Instant::now();
    for item in 0..TASKS {
        rig.submit(&task("rate", item, json!(item))).await;
    }
    let config = || Config { slots: 8, ..Config::new() };
    let _one = rig.worker_with(config().native(echo(), stamps(&starts))).await;
    let _two = rig.worker_with(config().native(echo(), stamps(&starts))).await;
    rig.settled(run_id("rate"), TASKS as usize).await;
    let mut starts = starts.lock().unwrap().clone();
    starts.sort_unstable();
    assert_eq!(starts.len(), TASKS as usize);
    for (nth, start) in (0..).zip(&starts) {
        assert!(*start >= began + rate.interval() * nth, "start {nth} is {:?} after the beginning", *start - began);
    }
    let window =
        |from: &Instant| starts.iter().filter(|at| (*from..*from + Duration::from_secs(1)).contains(at)).count();
    let most = starts.iter().map(window).max().unwrap();
    assert!(most <= 20 + rate.burst() as usize, "{most} starts in one second");
}

/// Half a dollar a task.
fn spends() -> impl Agent + 'static {
    Does(|_| async { Ok(Output::new(json!(1)).with_usage(Usage { cost_usd: 0.5, ..Usage::default() })) })
}

#[tokio::test]
async fn a_day_that_is_spent_leaves_tasks_in_their_queue() {
    let rig = Rig::start().await;
    limited(&rig, None, Some(cents(100))).await;
    let _worker = rig.worker_with(Config { slots: 1, ..Config::new() }.native(echo(), spends())).await;
    for item in 0..20 {
        rig.submit(&task("day", item, json!(item))).await;
    }
    held(&rig, "1 USD are allowed a day").await;
    let ledger = Ledger::new(rig.bus.clone(), echo());
    let spent = ledger.spent(kapelle_telemetry::clock::now()).await.unwrap();
    let (_, reports) = rig.reports(run_id("day")).await;
    assert!(spent >= cents(100) && spent == cents(50 * reports.len() as u64), "{spent} for {}", reports.len());
}

#[tokio::test]
async fn money_that_nobody_can_count_is_not_spent() {
    let rig = Rig::start().await;
    limited(&rig, None, Some(cents(100))).await;
    rig.bus.jetstream().delete_stream("SPEND").await.unwrap();
    let _worker = rig.worker_with(Config { slots: 1, ..Config::new() }.native(echo(), spends())).await;
    rig.submit(&task("blind", 0, json!(1))).await;
    held(&rig, "cannot be read").await;
    assert!(rig.reports(run_id("blind")).await.1.is_empty());
    let layout = Layout { partitions: Partitions::new(4).unwrap(), replicas: 1, tasks: TaskStorage::AsyncFile };
    provision(rig.bus.jetstream(), &layout).await.unwrap();
    rig.settled(run_id("blind"), 1).await;
    eventually("the agent is not held any more", || async {
        rig.bus.present().await.unwrap().iter().all(|p| p.held.is_empty()).then_some(())
    })
    .await;
}
