//! What the fleet keeps together: the ledger of a day, the pace of starts, and workers that keep to both.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kapelle_bus::Error;
use kapelle_bus::layout::{Layout, TaskStorage};
use kapelle_bus::pace::{Pacer, Reserved, Start};
use kapelle_bus::provision::{ensure_queue, provision};
use kapelle_bus::spend::{Ledger, Payment};
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
    let payment = Payment::new(DAY, cents(5)).unwrap();
    ledger.add(&payment).await.unwrap();
    ledger.add(&payment).await.unwrap();
    other.add(&Payment::new(DAY, cents(7)).unwrap()).await.unwrap();
    assert_eq!((ledger.spent(DAY).await.unwrap(), other.spent(DAY).await.unwrap()), (cents(12), cents(12)));
    let tomorrow = DAY.plus(Duration::from_secs(86_400));
    assert_eq!(ledger.spent(tomorrow).await.unwrap(), Usd::ZERO);
    let strange = Ledger::new(rig.bus.clone(), "echo@1.0.1".parse().unwrap());
    assert_eq!(strange.spent(DAY).await.unwrap(), Usd::ZERO, "each version has a budget of its own");
    rig.bus.jetstream().delete_stream("SPEND").await.unwrap();
    assert!(matches!(ledger.spent(DAY).await, Err(Error::Unavailable(_))), "no ledger is not an empty one");
}

/// Another agent's worker that uses up the ids of repeats which it can know hides nothing of what this agent costs.
#[tokio::test]
async fn ids_that_another_agent_has_used_hide_no_cost() {
    let rig = Rig::start().await;
    limited(&rig, None, Some(cents(1_000))).await;
    let work = task("ids", 0, json!(1));
    for id in [format!("{}/{}", work.run_id, work.task), work.task.to_string(), work.run_id.to_string()] {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Incr", "+1");
        headers.insert("Nats-Msg-Id", id.as_str());
        let today = kapelle_telemetry::clock::now().day();
        let theirs = format!("kapelle.spend.other.1_0_0.{today}");
        rig.bus.jetstream().publish_with_headers(theirs, headers, "".into()).await.unwrap().await.unwrap();
    }
    let _worker = rig.worker_with(Config { slots: 1, ..Config::new() }.native(echo(), spends())).await;
    rig.submit(&work).await;
    rig.settled(run_id("ids"), 1).await;
    let spent = Ledger::new(rig.bus.clone(), echo()).spent(kapelle_telemetry::clock::now()).await.unwrap();
    assert_eq!(spent, cents(50));
}

/// Reserves as soon as the next start is near enough.
async fn reserve(pacer: &mut Pacer, count: u32) -> Vec<Start> {
    loop {
        match pacer.reserve(count, &BTreeSet::new()).await.unwrap() {
            Reserved::Starts(starts) => return starts,
            Reserved::NotBefore(at) => tokio::time::sleep_until(at).await,
        }
    }
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
                starts.extend(reserve(&mut pacer, count).await.into_iter().map(|start| start.due));
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
    assert!(matches!(pacer.reserve(1, &BTreeSet::new()).await, Err(Error::Unreadable(_))));
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

#[tokio::test]
async fn starts_that_are_not_used_go_back_and_no_others() {
    let rig = Rig::start().await;
    limited(&rig, None, None).await;
    let pacer = |bus| Pacer::new(bus, echo(), "1/h".parse().unwrap());
    let (mut one, mut two) = (pacer(rig.bus.clone()), pacer(rig.bus().await));
    let unused: BTreeSet<_> = reserve(&mut one, 1).await.into_iter().collect();
    let Reserved::NotBefore(at) = two.reserve(1, &BTreeSet::new()).await.unwrap() else { panic!("an hour ahead") };
    assert!(at > Instant::now() + Duration::from_secs(3_500));
    one.give_back(&unused).await.unwrap();
    assert!(matches!(two.reserve(1, &BTreeSet::new()).await.unwrap(), Reserved::Starts(_)));
    one.give_back(&unused).await.unwrap();
    assert!(matches!(two.reserve(1, &BTreeSet::new()).await.unwrap(), Reserved::NotBefore(_)), "it was used since");
}

/// A worker whose one slot was taken when its start was due, and which drains then, leaves the start to the next one.
#[tokio::test]
async fn a_worker_that_drains_before_its_start_costs_the_fleet_none() {
    let rig = Rig::start().await;
    limited(&rig, Some("1/h".parse().unwrap()), Some(cents(100))).await;
    let (ledger, today) = (Ledger::new(rig.bus.clone(), echo()), kapelle_telemetry::clock::now());
    let mut pacer = Pacer::new(rig.bus.clone(), echo(), "1/h".parse().unwrap());
    let first: BTreeSet<_> = reserve(&mut pacer, 1).await.into_iter().collect();
    let config = || Config { slots: 1, ..Config::new() }.native(echo(), spends());
    let worker = rig.worker_with(config()).await;
    rig.submit(&task("late", 0, json!(0))).await;
    eventually("the task is out of its queue", || async {
        (rig.bus.queue_state(&echo()).await.unwrap().in_flight == 1).then_some(())
    })
    .await;
    // The day closes while the task waits for its start; then the start comes.
    ledger.add(&Payment::new(today, cents(100)).unwrap()).await.unwrap();
    held(&rig, "1 USD are allowed a day").await;
    pacer.give_back(&first).await.unwrap();
    let bucket = rig.bus.jetstream().get_key_value("pace").await.unwrap();
    let given_back = bucket.entry("echo.1_0_0").await.unwrap().unwrap().revision;
    eventually("the start is taken", || async {
        (bucket.entry("echo.1_0_0").await.unwrap().unwrap().revision > given_back).then_some(())
    })
    .await;
    worker.drain().await;
    let (_, reports) = rig.reports(run_id("late")).await;
    assert_eq!((reports.len(), ledger.spent(today).await.unwrap()), (1, cents(100)), "returned, and not executed");
    assert!(matches!(pacer.reserve(1, &BTreeSet::new()).await.unwrap(), Reserved::Starts(_)));
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
