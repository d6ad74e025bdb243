//! Three brokers that are one: `kill -9` of one at a time, the leader included, while runs go through.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test: it fails by panics and prints its figures")]

use std::process::Command;
use std::sync::Arc;

use kapelle_bus::Bus;
use kapelle_proto::stream;
use kapelle_tests::harness::manifests::{chain, scripted_agent};
use kapelle_tests::harness::{Api, Audit, Cluster, Lab, Logbook, NODES, Pump, Turn, bus, is_chaos, register};
use kapelle_tests::harness::{scripted_worker, token};
use kapelle_types::Role;
use serde_json::json;
use tokio::time::Instant;

/// Runs in flight: enough that none of the kills meets an empty house.
const OPEN: usize = 100;
/// Steps that are reported before each kill, while a node is down, and after it is back: work goes on.
const STEPS_BETWEEN: usize = 100;
const STEPS: usize = 2;
/// Nodes that are killed, one after the other; all of them, several times, where there is time.
const KILLS: usize = 2;
const KILLS_CHAOS: usize = 12;
/// A free port of one's own choosing.
const ANY: &str = "127.0.0.1:0";
/// One input of so many is stored beside the messages.
const LARGE_EVERY: usize = 20;

/// A fleet on a cluster: everybody knows all nodes, each another one first.
struct OnCluster {
    lab: Lab, // before the brokers: what is connected leaves first
    cluster: Cluster,
    api: Api,
    names: Vec<String>,
}

impl OnCluster {
    async fn start() -> (Self, Bus) {
        let cluster = Cluster::start().await;
        let (lab, api) = (Lab::new(), Api::default());
        let mut it = Self { lab, cluster, api, names: Vec::new() };
        for first in 0..2 {
            let url = it.cluster.url(first);
            let layout = ["--partitions", "4", "--replicas", "3"];
            let ports = ["--grpc-address", ANY, "--metrics-address", ANY];
            let arguments = [&["coordinator", "start", "--nats-url", &url][..], &layout, &ports].concat();
            let (name, ready) = it.lab.start_role("coordinator", &arguments).await;
            it.api.add(ready["grpc_address"].as_str().unwrap());
            it.names.push(name);
        }
        let bus = bus(&it.cluster.url(2)).await;
        it.api.show(&token(&bus, &[Role::Admin], true).await);
        register(&it.api, &[scripted_agent(64), chain("two-steps", STEPS)]).await;
        for first in 1..3 {
            let mut command = Command::new(scripted_worker());
            command.args([&it.cluster.url(first), "32", ANY]);
            let (name, _) = it.lab.start("worker", &mut command).await;
            it.names.push(name);
        }
        (it, bus)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_one_of_three_brokers_is_killed() {
    let _turn = Turn::take().await;
    let (mut it, bus) = OnCluster::start().await;
    let streams: Vec<String> =
        bus.partitions().all().map(stream::runs).chain([stream::TASKS.to_owned(), stream::TIMERS.to_owned()]).collect();
    let book = Arc::new(Logbook::open(bus.clone()));
    let input = |n: usize| {
        let text = if n.is_multiple_of(LARGE_EVERY) { "x".repeat(100_000) } else { String::new() };
        json!({ "value": n, "sleep_ms": 50, "fail_attempts": u8::from(n % 10 == 1), "text": text })
    };
    let pump = Pump::start(it.api.clone(), Arc::clone(&book), "two-steps", (OPEN, usize::MAX), input);

    for kill in 0..if is_chaos() { KILLS_CHAOS } else { KILLS } {
        book.work_goes_on(STEPS_BETWEEN).await;
        // The leader of one partition, then a node that does not lead it.
        let leader = it.cluster.leader(&bus, &streams[0]).await;
        let victim = (leader + kill % 2 * (1 + kill / 2 % (NODES - 1))) % NODES;
        let begun = Instant::now();
        it.cluster.kill9(victim);
        book.work_goes_on(STEPS_BETWEEN).await;
        println!("node {victim} killed, {leader} led: work went on within {} ms", begun.elapsed().as_millis());
        it.cluster.bring_back(victim);
        it.cluster.is_whole(&bus, &streams).await;
        println!("whole again within {} ms", begun.elapsed().as_millis());
    }
    book.work_goes_on(STEPS_BETWEEN).await;
    let acked = pump.stop().await;
    book.all_ended().await;

    let audit = Audit::of(&book).await;
    println!("{}", audit.summary());
    audit.assert_completed_once(STEPS);
    for (key, run) in &acked {
        let account = audit.runs.get(run).unwrap_or_else(|| panic!("{key} was acknowledged as {run} and is not there"));
        let number: usize = key.trim_start_matches("job-").parse().unwrap();
        let value = account.output.as_ref().map(|output| output["value"].clone());
        // A large output is stored beside the log.
        assert!(number.is_multiple_of(LARGE_EVERY) || value == Some(json!(number + STEPS)), "{key} {run}: {value:?}");
    }
    assert_eq!(acked.len(), audit.runs.len(), "one run for each job");
    it.api.close();
    for name in it.names.iter().rev() {
        it.lab.process(name).ask_to_end();
        let status = it.lab.process(name).end(std::time::Duration::from_secs(60)).await;
        assert!(status.success(), "{name} ends with {status}");
    }
    it.lab.assert_no_panic();
}
