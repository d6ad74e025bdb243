//! Random workflows over all kinds of steps on a real broker, while workers, coordinators and the broker are killed: every
//! run ends as the simulation's second opinion allows, and what agents did is counted by a file that Kapelle knows nothing of.
//!
//! `KAPELLE_RANDOM_SEED` is the first of the seeds; it is printed. With `KAPELLE_CHAOS=1` there are many more of them, and
//! something is killed every 20 s.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test: it fails by panics and prints its figures")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kapelle_proto::v1;
use kapelle_tests::harness::random::{
    player, random_agents, random_below, random_job, random_manifest, random_name, random_output,
};
use kapelle_tests::harness::{Acked, Api, Fleet, Logbook, Turn, eventually, is_chaos, job};
use kapelle_tests::simulation::Opinion;
use kapelle_types::{RunId, TaskId};
use serde_json::Value;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{interval, timeout};

/// How often something is killed in a long run.
const KILL_EVERY: Duration = Duration::from_secs(20);
/// How often somebody looks after runs that wait for people.
const CARE_EVERY: Duration = Duration::from_millis(500);
/// How long the last runs may take: less than any condition is waited for.
const END_MAX: Duration = Duration::from_secs(80);
/// Submissions on their way at once.
const SUBMITTING: usize = 16;
/// Manifests that are registered at once.
const REGISTERED_AT_ONCE: usize = 50;
/// Slots of a worker: each is a process of Python's.
const SLOTS: &str = "6";
const ANY: &str = "127.0.0.1:0";

/// What agents did, by their own account.
type Sink = BTreeMap<(RunId, TaskId), Value>;

struct Stage {
    fleet: Fleet,
    book: Arc<Logbook>,
    workers: Vec<String>,
    killed: Vec<&'static str>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_workflows_end_as_they_have_to_whoever_is_killed() {
    let _turn = Turn::take().await;
    let (count, kills) = if is_chaos() { (2_000, usize::MAX) } else { (60, 2) };
    let first = std::env::var("KAPELLE_RANDOM_SEED").map_or(1, |text| text.parse().unwrap());
    println!("seeds {first} to {}", first + count);
    let seeds = first..first + count;
    let mut stage = Stage::start(first).await;
    stage.register(seeds.clone()).await;
    let care = look_after(stage.fleet.api.clone(), Arc::clone(&stage.book));
    let submitting = submit(stage.fleet.api.clone(), seeds);
    stage.kill_until_all_ended(kills, &submitting, usize::try_from(count).unwrap()).await;
    let acked = submitting.await.unwrap();
    stage.all_ended().await;
    care.abort();
    stage.judge(&acked).await;
    stage.fleet.stop().await;
}

impl Stage {
    async fn start(seed: u64) -> Self {
        let fleet = Fleet::start(2).await;
        let sink = fleet.lab.folder().join("sink.jsonl");
        fleet.lab.write("agents/player.py", player());
        let command = ["python3", "player.py", sink.to_str().unwrap()];
        let agents = random_agents(&command);
        for agent in &agents {
            let file = format!("agents/{}.yaml", agent["metadata"]["name"].as_str().unwrap());
            fleet.lab.write(&file, serde_json::to_string(agent).unwrap());
        }
        for manifest in agents.iter().chain(&random_below(seed)) {
            fleet.register(std::slice::from_ref(manifest)).await;
        }
        let book = Arc::new(Logbook::open(fleet.bus().await));
        let mut stage = Self { fleet, book, workers: Vec::new(), killed: Vec::new() };
        for _ in 0..2 {
            stage.start_worker().await;
        }
        stage
    }

    async fn start_worker(&mut self) {
        let (url, agents) = (self.fleet.broker.url(), self.fleet.lab.folder().join("agents"));
        let start = ["worker", "start", "--agents", agents.to_str().unwrap(), "--nats-url", &url];
        let rest = ["--slots", SLOTS, "--sandbox", "off", "--metrics-address", ANY];
        let (name, _) = self.fleet.lab.start_role("worker", &[&start[..], &rest].concat()).await;
        self.workers.push(name);
    }

    async fn register(&self, seeds: std::ops::Range<u64>) {
        let manifests: Vec<Value> = seeds.map(random_manifest).collect();
        for some in manifests.chunks(REGISTERED_AT_ONCE) {
            self.fleet.register(some).await;
        }
    }

    /// Kills one after another while runs are open: at intervals in a long run, else whenever work went on.
    async fn kill_until_all_ended(&mut self, kills: usize, submitting: &JoinHandle<Acked>, wanted: usize) {
        let mut ticks = interval(KILL_EVERY);
        ticks.tick().await;
        for nth in 0..kills {
            if is_chaos() {
                ticks.tick().await;
            } else {
                let enough = self.book.reports() + 30;
                eventually("work goes on", || async { (self.book.reports() >= enough).then_some(()) }).await;
            }
            if submitting.is_finished() && self.book.submitted() >= wanted && self.book.open_runs() == 0 {
                return;
            }
            self.kill(nth).await;
        }
    }

    async fn kill(&mut self, nth: usize) {
        match nth % 3 {
            0 => {
                self.killed.push("a worker");
                let name = self.workers.remove(0);
                self.fleet.lab.process(&name).kill9();
                self.start_worker().await;
            }
            1 => {
                self.killed.push("a coordinator");
                self.fleet.kill_coordinator();
                self.fleet.start_coordinator().await;
            }
            _ => {
                self.killed.push("the broker");
                self.fleet.broker.kill9().await;
                self.fleet.broker.restart().await;
            }
        }
    }

    /// Waits until every run has ended; tells how those stand that do not.
    async fn all_ended(&self) {
        if timeout(END_MAX, self.book.all_ended()).await.is_ok() {
            return;
        }
        let mut left = Vec::new();
        for id in self.book.open_ids() {
            let seen = self.fleet.api.get(&id.to_string()).await;
            let steps: Vec<_> = seen.steps.iter().map(|it| format!("{} {:?}", it.step, it.status)).collect();
            left.push(format!("{id} {} {:?}: {}", seen.workflow, seen.status(), steps.join(", ")));
        }
        let open = self.book.open_ids();
        for (run, records) in self.book.logs().await {
            if open.contains(&run.id()) {
                left.extend(
                    records.iter().map(|record| format!("{} {:?} {:?}", run.id(), record.stamp, record.entries)),
                );
            }
        }
        panic!("{} runs do not end:\n{}", left.len(), left.join("\n"));
    }

    /// Holds the logs against the second opinion, and against what agents say that they did.
    async fn judge(&self, acked: &Acked) {
        self.book.up_to_date().await;
        let opinion = self.opinion().await;
        let sink = read_sink(&self.fleet.lab.folder().join("sink.jsonl"));
        let (submitted, begun) = opinion.runs();
        println!(
            "{submitted} runs submitted, {begun} begun by others: {:?}; {} effects in the sink, {} successes of agents in the logs; killed: {}",
            opinion.ends(),
            sink.len(),
            opinion.succeeded().count(),
            self.killed.join(", ")
        );
        assert_eq!(acked.values().collect::<BTreeSet<_>>().len(), submitted, "one run for each job");
        acked.iter().for_each(|(key, run)| assert!(opinion.status(*run).is_some(), "{key} was acknowledged as {run}"));
        let wrong = opinion.wrong_ends(&random_output);
        assert!(wrong.is_empty(), "{} of them, among them:\n{}", wrong.len(), wrong[..wrong.len().min(10)].join("\n"));
        for (run, task, output) in opinion.succeeded() {
            let done = sink.get(&(*run, task.clone())).and_then(|done| done.get("output"));
            assert_eq!(done, Some(output), "{run} {task} is said to be done");
        }
        for (run, task) in sink.keys() {
            assert!(opinion.dispatched(*run, task).is_some(), "{run} {task} was done, and nobody wanted it");
        }
    }

    async fn opinion(&self) -> Opinion {
        let logs = self.book.logs().await;
        let mut opinion = Opinion::default();
        for (run, records) in logs {
            if let Err(wrong) = opinion.take(run, &records) {
                let told: Vec<_> = records.iter().map(|record| format!("{record:?}")).collect();
                panic!("{wrong}\n{}", told.join("\n"));
            }
        }
        opinion
    }
}

/// Submits a job of each workflow, until each is acknowledged.
fn submit(api: Api, seeds: std::ops::Range<u64>) -> JoinHandle<Acked> {
    tokio::spawn(async move {
        let (mut acked, mut on_their_way) = (Acked::new(), JoinSet::new());
        for seed in seeds {
            if on_their_way.len() >= SUBMITTING {
                acked.extend(on_their_way.join_next().await.map(Result::unwrap));
            }
            let api = api.clone();
            on_their_way.spawn(async move {
                let key = format!("job-{seed}");
                let answer = api.submit_surely(&job(&random_name(seed), Some(&key), &random_job(seed))).await;
                (key, answer.run_id.parse().unwrap())
            });
        }
        acked.extend(on_their_way.join_all().await);
        acked
    })
}

/// People look after what waits for them: what is STALLED is retried, and cancelled then, and ended at last. What they are
/// asked they leave unanswered: nobody here is a person whom an issuer vouches for.
fn look_after(api: Api, book: Arc<Logbook>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let (mut ticks, mut told) = (interval(CARE_EVERY), BTreeMap::<String, u32>::new());
        loop {
            ticks.tick().await;
            if book.open_runs() == 0 {
                continue;
            }
            let statuses = vec![v1::RunStatus::Stalled.into()];
            let request = v1::ListRunsRequest { statuses, limit: 1_000, ..Default::default() };
            let Ok(stalled) = api.runs().list(request).await else { continue };
            for run in stalled.into_inner().runs {
                let run_id = run.run_id;
                let times = told.entry(run_id.clone()).or_default();
                *times += 1;
                let steer = v1::SteerRequest { run_id: run_id.clone(), reason: "enough".to_owned() };
                // Whoever cannot be told now is told the next time.
                let _ = match *times {
                    1 => api.runs().retry(v1::RetryRunRequest { run_id, steps: Vec::new() }).await,
                    2 | 3 => api.runs().cancel(steer).await,
                    _ => api.runs().terminate(steer).await,
                };
            }
        }
    })
}

fn read_sink(path: &Path) -> Sink {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = |line: &str| {
        let done: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let text = |field: &str| done[field].as_str().unwrap().to_owned();
        let attempt = u32::try_from(done["attempt"].as_u64().unwrap()).unwrap();
        ((text("run").parse().unwrap(), TaskId { step: text("step").parse().unwrap(), attempt }), done)
    };
    text.lines().map(line).collect()
}
