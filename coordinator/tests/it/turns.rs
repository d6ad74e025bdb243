//! Turns against a real broker: who is served in which order, by priority, share and limit by key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kapelle_proto::v1::{RunStatus, SteerRequest};
use kapelle_sdk::{Agent, AgentError, Output, Task, async_trait};
use kapelle_worker::Worker;
use serde_json::{Value, json};

use crate::fleet::{Fleet, agent, eventually};

/// What was done, in the order of the starts, and how many tasks of each key were done at a time.
#[derive(Default)]
struct Seen {
    started: Vec<Value>,
    now: BTreeMap<String, usize>,
    most: BTreeMap<String, usize>,
}

/// An agent that takes the `ms` of its input, by the `key` of its input.
struct Counting(Arc<Mutex<Seen>>);

#[async_trait]
impl Agent for Counting {
    async fn run(&self, task: Task) -> Result<Output, AgentError> {
        let key = task.input["key"].as_str().unwrap_or_default().to_owned();
        {
            let mut seen = self.0.lock().unwrap();
            seen.started.push(task.input["n"].clone());
            let now = seen.now.entry(key.clone()).or_default();
            *now += 1;
            let now = *now;
            let most = seen.most.entry(key.clone()).or_default();
            *most = now.max(*most);
        }
        tokio::time::sleep(Duration::from_millis(task.input["ms"].as_u64().unwrap_or(0))).await;
        *self.0.lock().unwrap().now.get_mut(&key).unwrap() -= 1;
        Ok(Output::new(json!(null)))
    }
}

fn counted(limits: Value) -> Value {
    let mut counted = agent();
    counted["metadata"]["name"] = json!("counted");
    counted["spec"]["role"]["capabilities"] = json!(["test.counted"]);
    counted["spec"]["role"]["limits"] = limits;
    counted
}

fn workflow(name: &str, more: &Value) -> Value {
    let mut spec = json!({
        "input": { "schema": { "type": "object" } },
        "steps": [{ "id": "s0", "agent": "counted@^1", "with": "${input}" }],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let metadata = json!({ "name": name, "version": "1.0.0", "owner": "tests@example.com" });
    json!({ "apiVersion": "kapelle.dev/v1", "kind": "Workflow", "metadata": metadata, "spec": spec })
}

async fn works(fleet: &Fleet, seen: &Arc<Mutex<Seen>>) -> kapelle_worker::Handle {
    let config = kapelle_worker::Config::new().native("counted@1.0.0".parse().unwrap(), Counting(Arc::clone(seen)));
    Worker::start(config, fleet.bus().await).await.unwrap()
}

async fn all_completed(fleet: &Fleet, runs: &[String]) {
    for run in runs {
        assert_eq!(fleet.until_ended(run).await.status, RunStatus::Completed as i32);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn priorities_come_first_and_keys_share_by_weight() {
    let fleet = Fleet::start().await;
    let sharing = json!({
        "priority": "${input.priority}", "fairness": { "key": "${input.key}", "weights": { "large": 3 } },
    });
    fleet.apply_all(&[counted(json!({ "concurrency": 1 })), workflow("shared", &sharing)]).await.unwrap();
    // Nobody works yet, so all of them wait: but for the one that is let in because somebody might come.
    let mut runs = Vec::new();
    let mut submit = async |key: &str, priority: u64, n: Value| {
        let input = json!({ "key": key, "priority": priority, "n": n, "ms": 1 });
        runs.push(fleet.submit_input("shared", input).await);
    };
    let (of, bus) = ("counted@1.0.0".parse().unwrap(), fleet.bus().await);
    submit("small", 3, json!("first")).await;
    eventually("it is let in", || async { (bus.queue_state(&of).await.ok()?.pending == 1).then_some(()) }).await;
    for n in 0..8 {
        submit("small", 3, json!(format!("small {n}"))).await;
    }
    submit("last", 5, json!("last")).await;
    for n in 0..6 {
        submit("large", 3, json!(format!("large {n}"))).await;
    }
    submit("urgent", 1, json!("urgent")).await;
    eventually("they wait", || async { (bus.waiting_count(&of).await.ok()? == 16).then_some(()) }).await;
    let why = fleet.get(runs.last().unwrap()).await.why.unwrap();
    assert!(why.because.contains("it waits for a worker of counted@1.0.0"), "{why:?}");
    let seen = Arc::default();
    let worker = works(&fleet, &seen).await;
    all_completed(&fleet, &runs).await;
    let order: Vec<String> = seen.lock().unwrap().started.iter().map(|it| it.as_str().unwrap().to_owned()).collect();
    assert_eq!(order[..2], ["first", "urgent"], "whoever came first is in the queue: {order:?}");
    assert_eq!(order[order.len() - 1], "last", "{order:?}");
    let large = order[2..10].iter().filter(|name| name.starts_with("large")).count();
    assert_eq!(large, 6, "three of the large one for one of the small one: {order:?}");
    worker.drain().await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_has_its_places_whoever_gives_them_out() {
    let fleet = Fleet::start().await;
    let second = fleet.second().await;
    let by_key = json!({ "key": "${input.key}", "concurrency": 2 });
    let agent = counted(json!({ "concurrency": 16, "by_key": by_key }));
    fleet.apply_all(&[agent, workflow("limited", &json!({}))]).await.unwrap();
    let seen = Arc::default();
    let worker = works(&fleet, &seen).await;
    let mut runs = Vec::new();
    for n in 0..60 {
        let input = json!({ "key": (["a", "b", "c"][n % 3]), "n": n, "ms": 5 });
        runs.push(fleet.submit_input("limited", input).await);
    }
    all_completed(&fleet, &runs).await;
    {
        let seen = seen.lock().unwrap();
        let numbers: BTreeSet<u64> = seen.started.iter().filter_map(Value::as_u64).collect();
        assert_eq!((seen.started.len(), numbers.len()), (60, 60), "each once: {:?}", seen.started);
        assert!(seen.most.values().all(|most| *most <= 2), "{:?}", seen.most);
    }
    second.stop().await;
    worker.drain().await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_says_so_and_can_be_taken_back() {
    let fleet = Fleet::start().await;
    let by_key = json!({ "key": "${input.key}", "concurrency": 1 });
    let agent = counted(json!({ "concurrency": 16, "by_key": by_key }));
    fleet.apply_all(&[agent, workflow("limited", &json!({ "priority": 2 }))]).await.unwrap();
    let seen = Arc::default();
    let worker = works(&fleet, &seen).await;
    let submit = async |n: u64, ms: u64| {
        let input = json!({ "key": "a", "n": n, "ms": ms });
        fleet.submit_input("limited", input).await
    };
    let long = submit(0, 1_500).await;
    eventually("it is at work", || async { (!seen.lock().unwrap().started.is_empty()).then_some(()) }).await;
    let (waits, unwanted) = (submit(1, 0).await, submit(2, 0).await);
    let why = eventually("it waits its turn", || async {
        let why = fleet.get(&waits).await.why?.because;
        why.contains("priority 2").then_some(why)
    })
    .await;
    assert!(why.contains("limited to 1 at a time for the key \"a\""), "{why}");
    fleet.runs().cancel(SteerRequest { run_id: unwanted.clone(), reason: String::new() }).await.unwrap();
    all_completed(&fleet, &[long, waits]).await;
    assert_eq!(fleet.until_ended(&unwanted).await.status, RunStatus::Canceled as i32);
    assert_eq!(seen.lock().unwrap().started, [json!(0), json!(1)]);
    let bus = fleet.bus().await;
    let of = "counted@1.0.0".parse().unwrap();
    eventually("nothing waits", || async { (bus.waiting_count(&of).await.ok()? == 0).then_some(()) }).await;
    worker.drain().await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submission_may_say_its_priority_and_no_other_number() {
    let fleet = Fleet::start().await;
    fleet.register(crate::fleet::chain("plain", 1)).await;
    let request = |priority| kapelle_proto::v1::SubmitRequest {
        workflow: "plain".into(),
        input: "{}".into(),
        priority,
        ..Default::default()
    };
    let refused = fleet.submit(request(6)).await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0230");
    let run = fleet.submit(request(1)).await.unwrap().run_id;
    all_completed(&fleet, &[run]).await;
    let bus = fleet.bus().await;
    let echo = "echo@1.0.0".parse().unwrap();
    assert_eq!(bus.waiting_count(&echo).await.unwrap(), 0);
    // From now on all its tasks take turns, those that say nothing too.
    let run = fleet.submit(request(0)).await.unwrap().run_id;
    all_completed(&fleet, &[run]).await;
    fleet.stop().await;
}
