//! Schedules on a real nats-server: nothing is lost or doubled when an owner is killed, many at once are on time, and what people
//! ask for is done once.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kapelle_coordinator::{Accepted, Config, Coordinator};
use kapelle_proto::v1::schedule_service_client::ScheduleServiceClient;
use kapelle_proto::v1::{
    ApplyScheduleRequest, ApplyScheduleResponse, BackfillScheduleRequest, DeleteScheduleRequest, GetScheduleRequest,
    ListRunsRequest, ListSchedulesRequest, PauseScheduleRequest, ResumeScheduleRequest, ScheduleView, SubmitRequest,
    TriggerScheduleRequest,
};
use serde_json::{Value, json};
use tonic::Status;
use tonic::transport::Channel;

use crate::fleet::{Fleet, agent, chain, connect, eventually};

const SECOND: i64 = 1_000_000_000;

fn now() -> i64 {
    #[allow(clippy::disallowed_methods, reason = "a test compares with the clock of the machine")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_nanos()).unwrap()
}

fn schedule(name: &str, spec: &Value) -> Value {
    let mut all = json!({ "workflow": "one@^1", "input": {} });
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({
        "apiVersion": "kapelle.dev/v1", "kind": "Schedule",
        "metadata": { "name": name, "owner": "tests@example.com" }, "spec": all,
    })
}

impl Fleet {
    fn schedules(&self) -> ScheduleServiceClient<Channel> {
        ScheduleServiceClient::new(self.channel())
    }

    async fn schedule(&self, name: &str, spec: &Value) -> Result<ApplyScheduleResponse, Status> {
        let request = ApplyScheduleRequest { json: schedule(name, spec).to_string().into(), dry_run: false };
        self.schedules().apply(request).await.map(tonic::Response::into_inner)
    }

    async fn scheduled(&self, name: &str) -> ScheduleView {
        let request = GetScheduleRequest { name: name.to_owned() };
        self.schedules().get(request).await.unwrap().into_inner()
    }

    /// How many runs there are for each time of a schedule, by its label.
    async fn times(&self, name: &str) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        let labels = [("schedule".to_owned(), name.to_owned())].into();
        let request = ListRunsRequest { labels, limit: 1_000, ..Default::default() };
        for row in self.runs().list(request).await.unwrap().into_inner().runs {
            let run = self.get(&row.run_id).await;
            *times.entry(run.labels["scheduled_for"].clone()).or_default() += 1;
        }
        times
    }
}

async fn fleet() -> Fleet {
    let fleet = Fleet::start().await;
    fleet.apply_all(&[agent(), chain("one", 1)]).await.unwrap();
    fleet
}

/// A second coordinator that ends as a killed process does: in the middle of whatever it does, without a word.
fn second_coordinator(url: String) -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (ready, is_ready) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        let config = Config {
            id: "second".into(),
            grpc_address: "127.0.0.1:0".parse().unwrap(),
            accepted: Accepted::Development,
            ..Config::default()
        };
        let handle = Coordinator::start(config, connect(&url).await).await.unwrap();
        ready.send(()).unwrap();
        std::future::pending::<()>().await;
        drop(handle);
    });
    is_ready.recv_timeout(Duration::from_secs(30)).unwrap();
    runtime
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_time_is_lost_or_doubled_when_an_owner_is_killed() {
    let fleet = fleet().await;
    let second = tokio::task::spawn_blocking({
        let url = fleet.server.url();
        move || second_coordinator(url)
    })
    .await
    .unwrap();
    // Of so many, some are the second's.
    let names: Vec<String> = (0..8).map(|n| format!("tick-{n}")).collect();
    for name in &names {
        fleet.schedule(name, &json!({ "every": "1s", "overlap": "allow_all" })).await.unwrap();
    }
    let reach = |least: u64| {
        let (fleet, names) = (&fleet, &names);
        eventually("all go on", move || async move {
            for name in names {
                if fleet.scheduled(name).await.started < least {
                    return None;
                }
            }
            Some(())
        })
    };
    reach(4).await;
    second.shutdown_background();
    reach(14).await;
    for name in &names {
        fleet.schedules().pause(PauseScheduleRequest { name: name.clone(), note: "enough".into() }).await.unwrap();
    }
    for name in &names {
        let view = fleet.scheduled(name).await;
        assert_eq!((view.missed, view.skipped, view.failed), (0, 0, 0), "{name}");
        let times: Vec<i64> = view.recent.iter().map(|it| it.time_unix_nanos).collect();
        assert!(times.windows(2).all(|it| it[1] - it[0] == SECOND), "every second once, in order: {times:?}");
        assert!(view.recent.iter().all(|it| it.at_unix_nanos >= it.time_unix_nanos), "never early");
    }
    // The killed one's partitions are read by the other one first: until then, lists are not complete.
    let times = eventually("every time is listed", || async {
        let (times, started) = (fleet.times("tick-0").await, fleet.scheduled("tick-0").await.started);
        (times.len() as u64 >= started).then_some(times)
    })
    .await;
    assert!(times.len() >= 14 && times.values().all(|runs| *runs == 1), "{times:?}");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_that_are_due_at_once_are_on_time() {
    const MANY: usize = 1_000;
    let fleet = fleet().await;
    // Once an hour, at a second that is far enough away for all to be there.
    let at = now() / SECOND + 25;
    let spec = json!({ "every": "1h", "offset": format!("{}s", at % 3_600) });
    let apply = |n: usize| {
        let (fleet, spec) = (&fleet, &spec);
        async move { fleet.schedule(&format!("s{n}"), spec).await.unwrap() }
    };
    for some in (0..MANY).collect::<Vec<_>>().chunks(50) {
        futures::future::join_all(some.iter().map(|n| apply(*n))).await;
    }
    assert!(now() / SECOND < at, "the machine is too slow to put them there in time");
    eventually("all are started", || async {
        let all = fleet.schedules().list(ListSchedulesRequest {}).await.unwrap().into_inner().schedules;
        (all.iter().map(|it| it.started).sum::<u64>() == MANY as u64).then_some(())
    })
    .await;
    let mut late = Vec::with_capacity(MANY);
    for n in 0..MANY {
        let view = fleet.scheduled(&format!("s{n}")).await;
        let firing = &view.recent[0];
        assert_eq!(firing.time_unix_nanos / SECOND, at, "{firing:?}");
        late.push(firing.at_unix_nanos - firing.time_unix_nanos);
    }
    late.sort_unstable();
    let millis = |nanos: i64| nanos / 1_000_000;
    let told = format!("late: median {} ms, last {} ms", millis(late[MANY / 2]), millis(late[MANY - 1]));
    // A second on a quiet machine; beside other tests, it is the machine that is measured.
    assert!(late[0] >= 0 && late[MANY - 1] < 10 * SECOND, "{told}");
    #[allow(clippy::print_stdout, reason = "the figure that documents quote")]
    {
        println!("{told}");
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_is_done_once_and_in_turn() {
    let fleet = fleet().await;
    let started = |name: &'static str, least: u64| {
        let fleet = &fleet;
        eventually("it is started", move || async move {
            let view = fleet.scheduled(name).await;
            // Its last run is looked at when something waits for it, so it may still be said to be open.
            (view.started >= least && view.waiting == 0).then_some(view)
        })
    };
    let yearly = json!({ "cron": "0 0 1 1 *", "time_zone": "Europe/Zurich", "input": { "sleep_ms": 50 } });
    assert_eq!(fleet.schedule("yearly", &yearly).await.unwrap().outcome, "created");
    assert_eq!(fleet.schedule("yearly", &yearly).await.unwrap().outcome, "unchanged");
    let view = fleet.scheduled("yearly").await;
    assert_eq!((view.next.len(), view.next[0].shown.ends_with("01-01 00:00:00 +01:00")), (5, true), "{:?}", view.next);

    let stretch = |back: i64| BackfillScheduleRequest {
        name: "yearly".into(),
        from_unix_nanos: now() - back * 366 * 86_400 * SECOND,
        to_unix_nanos: now(),
    };
    for _ in 0..2 {
        let times = fleet.schedules().backfill(stretch(3)).await.unwrap().into_inner().times;
        assert_eq!(times, 3);
    }
    started("yearly", 3).await;
    fleet.schedules().backfill(stretch(4)).await.unwrap();
    started("yearly", 4).await;
    let times = fleet.times("yearly").await;
    assert!(times.len() == 4 && times.values().all(|runs| *runs == 1), "the same times are the same runs: {times:?}");

    let taken = SubmitRequest {
        workflow: "one".into(),
        idempotency_key: Some("schedule/yearly/1/2".into()),
        ..Default::default()
    };
    let refused = fleet.runs().submit(taken).await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0208", "the keys of scheduled runs are theirs alone");

    let before = fleet.scheduled("yearly").await.started;
    fleet.schedules().trigger(TriggerScheduleRequest { name: "yearly".into() }).await.unwrap();
    started("yearly", before + 1).await;
    let pause = PauseScheduleRequest { name: "yearly".into(), note: "inventory".into() };
    let paused = fleet.schedules().pause(pause).await.unwrap().into_inner();
    assert_eq!((paused.pause.unwrap().note.as_str(), paused.next.len()), ("inventory", 0));
    let resume = ResumeScheduleRequest { name: "yearly".into() };
    assert_eq!(fleet.schedules().resume(resume).await.unwrap().into_inner().pause, None);
    fleet.schedules().delete(DeleteScheduleRequest { name: "yearly".into() }).await.unwrap();
    let gone = fleet.schedules().get(GetScheduleRequest { name: "yearly".into() }).await.unwrap_err();
    assert_eq!(fleet.code(&gone), "K0215");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_run_is_refused_and_overlaps_are_told() {
    let fleet = fleet().await;
    for (spec, code) in [
        (json!({ "cron": "0 0 30 2 *" }), "K0120"),
        (json!({ "cron": "0 0 * * *", "time_zone": "Mars/Olympus" }), "K0120"),
        (json!({ "every": "1h", "cron": "0 0 * * *" }), "K0101"),
        (json!({ "every": "1h", "workflow": "nobody" }), "K0201"),
        (json!({ "every": "1h", "input": [] }), "K0202"),
        (json!({ "every": "1h", "overlap": "sometimes" }), "K0101"),
    ] {
        let refused = fleet.schedule("wrong", &spec).await.unwrap_err();
        assert_eq!(fleet.code(&refused), code, "{spec}: {}", refused.message());
    }
    let slow = json!({ "every": "1s", "input": { "sleep_ms": 20_000 } });
    fleet.schedule("slow", &slow).await.unwrap();
    let view = eventually("times pass", || async {
        let view = fleet.scheduled("slow").await;
        (view.skipped >= 2).then_some(view)
    })
    .await;
    assert_eq!((view.started, view.open_runs.len()), (1, 1), "{:?}", view.recent);
    assert!(view.recent.iter().any(|it| it.outcome == "skipped" && it.why.contains(&view.open_runs[0])));
    let cancel = json!({ "every": "1s", "overlap": "cancel_other", "input": { "sleep_ms": 20_000 } });
    assert_eq!(fleet.schedule("slow", &cancel).await.unwrap().outcome, "changed");
    let first = view.open_runs[0].clone();
    assert_eq!(fleet.until_ended(&first).await.status, kapelle_proto::v1::RunStatus::Canceled as i32);
    eventually("the next runs", || async { (fleet.scheduled("slow").await.started >= 2).then_some(()) }).await;
    fleet.schedules().delete(DeleteScheduleRequest { name: "slow".into() }).await.unwrap();
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_runs_and_its_input_is_held_against_the_contract() {
    let fleet = Fleet::start().await;
    let text = include_str!("../../../examples/patterns/nightly/nightly.yaml");
    let documents = kapelle_manifest::documents("nightly.yaml", text).unwrap();
    let [workflow, nightly] = documents.as_slice() else { panic!("{documents:?}") };
    let apply = |document: &Value| {
        let request = ApplyScheduleRequest { json: document.to_string().into(), dry_run: false };
        let mut schedules = fleet.schedules();
        async move { schedules.apply(request).await.map(tonic::Response::into_inner) }
    };
    assert_eq!(fleet.code(&apply(nightly).await.unwrap_err()), "K0201", "its workflow comes first");
    fleet.apply_all(std::slice::from_ref(workflow)).await.unwrap();
    let mut wrong = nightly.clone();
    wrong["spec"]["input"] = json!({ "days": 0 });
    assert_eq!(fleet.code(&apply(&wrong).await.unwrap_err()), "K0202");
    assert_eq!(apply(nightly).await.unwrap().outcome, "created");
    let trigger = TriggerScheduleRequest { name: "nightly-report".into() };
    fleet.schedules().trigger(trigger).await.unwrap();
    let view = eventually("it has run", || async {
        let view = fleet.scheduled("nightly-report").await;
        (view.started == 1).then_some(view)
    })
    .await;
    let run = fleet.until_ended(&view.recent[0].run_id).await;
    assert_eq!(run.status, kapelle_proto::v1::RunStatus::Completed as i32);
    assert_eq!(serde_json::from_slice::<Value>(&run.output).unwrap(), json!({ "hours": 24 }));
    fleet.stop().await;
}
