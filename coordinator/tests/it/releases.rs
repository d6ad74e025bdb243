//! Which version a run gets: what is current, what is being brought in and for how many, and what open runs keep.

use std::collections::BTreeMap;

use kapelle_proto::v1::release_service_client::ReleaseServiceClient;
use kapelle_proto::v1::{
    ClearReleaseRequest, GetReleaseRequest, ListReleasesRequest, PromoteRequest, ReleaseNote, ReleaseResponse,
    ReleaseSubject, ReleaseView, RetireRequest, RollbackRequest, SetCurrentRequest, SetRampingRequest, SteerRequest,
    SubmitRequest,
};
use serde_json::json;
use tonic::Status;
use tonic::transport::Channel;

use crate::fleet::{Fleet, asking, chain, echo, eventually};

/// Nobody serves but echo@1.0.0, so that runs of all others stay open.
fn note() -> Option<ReleaseNote> {
    Some(ReleaseNote { why: "a test".into(), ignore_missing_workers: true, ..ReleaseNote::default() })
}

fn of(name: &str) -> Option<ReleaseSubject> {
    Some(ReleaseSubject { kind: String::new(), name: name.into() })
}

struct Desk(ReleaseServiceClient<Channel>);

impl Desk {
    fn of(fleet: &Fleet) -> Self {
        Self(ReleaseServiceClient::new(fleet.channel()))
    }

    async fn current(&mut self, name: &str, version: &str) -> Result<ReleaseResponse, Status> {
        let request = SetCurrentRequest { subject: of(name), version: version.into(), note: note() };
        self.0.set_current(request).await.map(tonic::Response::into_inner)
    }

    async fn ramping(&mut self, name: &str, version: &str, percentage: f64) -> Result<ReleaseResponse, Status> {
        let request =
            SetRampingRequest { subject: of(name), version: version.into(), percentage, note: note(), rollout: None };
        self.0.set_ramping(request).await.map(tonic::Response::into_inner)
    }

    async fn promote(&mut self, name: &str) -> Result<ReleaseResponse, Status> {
        let request = PromoteRequest { subject: of(name), note: note() };
        self.0.promote(request).await.map(tonic::Response::into_inner)
    }

    async fn rollback(&mut self, name: &str) -> Result<ReleaseResponse, Status> {
        let request = RollbackRequest { subject: of(name), note: note() };
        self.0.rollback(request).await.map(tonic::Response::into_inner)
    }

    async fn clear(&mut self, name: &str) -> Result<ReleaseResponse, Status> {
        let request = ClearReleaseRequest { subject: of(name), note: note() };
        self.0.clear(request).await.map(tonic::Response::into_inner)
    }

    async fn get(&mut self, name: &str) -> ReleaseView {
        self.0.get(GetReleaseRequest { subject: of(name) }).await.unwrap().into_inner()
    }
}

fn statuses(release: &ReleaseView) -> Vec<(&str, &str, u64)> {
    release.versions.iter().map(|it| (it.version.as_str(), it.status.as_str(), it.open_runs)).collect()
}

/// Submits so many runs and counts which version of the agent they got.
async fn shares(fleet: &Fleet, workflow: &str, runs: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..runs {
        let run = fleet.submit_input(workflow, json!({})).await;
        let view = eventually("the run is read", || async {
            let view = fleet.get(&run).await;
            view.steps.first().is_some_and(|step| !step.agent.is_empty()).then_some(view)
        })
        .await;
        *shares.entry(view.steps[0].agent.clone()).or_default() += 1;
        fleet.runs().terminate(SteerRequest { run_id: run, reason: String::new() }).await.ok();
    }
    shares
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_is_brought_in_share_by_share_and_taken_back() {
    let fleet = Fleet::start().await;
    let mut desk = Desk::of(&fleet);
    fleet.apply_all(&[echo("1.0.0"), asking("any", "echo@^1")]).await.unwrap();
    assert_eq!(statuses(&desk.get("echo").await), [("1.0.0", "CURRENT", 0)], "the highest, where nothing is released");
    let set = desk.current("echo", "1.0.0").await.unwrap();
    assert_eq!((set.outcome.as_str(), set.behind), ("changed", vec![]));
    assert_eq!(desk.current("echo", "1.0.0").await.unwrap().outcome, "unchanged");
    fleet.apply_all(&[echo("1.1.0"), echo("1.2.0")]).await.unwrap();
    let highest = desk.get("echo").await;
    assert_eq!(statuses(&highest), [("1.2.0", "INACTIVE", 0), ("1.1.0", "INACTIVE", 0), ("1.0.0", "CURRENT", 0)]);
    assert_eq!(shares(&fleet, "any", 5).await, [("echo@1.0.0".to_owned(), 5)].into(), "what is new gets nothing");

    desk.ramping("echo", "1.1.0", 0.0).await.unwrap();
    assert_eq!(shares(&fleet, "any", 5).await, [("echo@1.0.0".to_owned(), 5)].into());
    let half = desk.ramping("echo", "1.1.0", 50.0).await.unwrap().release.unwrap();
    assert_eq!((half.ramping.as_str(), half.percentage, half.why.as_str()), ("1.1.0", 50.0, "a test"));
    let shared = shares(&fleet, "any", 100).await;
    let ramped = shared.get("echo@1.1.0").copied().unwrap_or_default();
    assert!((25..=75).contains(&ramped) && shared.len() == 2, "half of a hundred: {shared:?}");

    // An open run keeps its version, whatever is decided.
    desk.ramping("echo", "1.1.0", 100.0).await.unwrap();
    let open = fleet.submit_input("any", json!({})).await;
    eventually("it is pinned", || async { (fleet.get(&open).await.steps[0].agent == "echo@1.1.0").then_some(()) })
        .await;
    let promoted = desk.promote("echo").await.unwrap().release.unwrap();
    assert_eq!(
        (promoted.current.as_str(), promoted.ramping.as_str(), promoted.before),
        ("1.1.0", "", vec!["1.0.0".to_owned()])
    );
    desk.current("echo", "1.2.0").await.unwrap();
    assert_eq!(fleet.get(&open).await.steps[0].agent, "echo@1.1.0");
    let draining = eventually("its run is counted", || async {
        let mut desk = Desk::of(&fleet);
        let release = desk.get("echo").await;
        (release.complete && statuses(&release)[1].2 == 1).then_some(release)
    })
    .await;
    assert_eq!(statuses(&draining), [("1.2.0", "CURRENT", 0), ("1.1.0", "DRAINING", 1), ("1.0.0", "DRAINED", 0)]);
    assert_eq!(draining.versions[2].workers, 1);

    // Back, step by step, at once.
    assert_eq!(desk.rollback("echo").await.unwrap().release.unwrap().current, "1.1.0");
    assert_eq!(desk.rollback("echo").await.unwrap().release.unwrap().current, "1.0.0");
    assert_eq!(fleet.execute("any", json!({})).await.steps[0].agent, "echo@1.0.0");
    let refused = desk.rollback("echo").await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0206");
    fleet.runs().terminate(SteerRequest { run_id: open, reason: String::new() }).await.unwrap();
    eventually("nothing is stuck", || async {
        let mut desk = Desk::of(&fleet);
        let release = desk.get("echo").await;
        release.versions.iter().all(|it| it.open_runs == 0).then_some(())
    })
    .await;

    assert_eq!(desk.clear("echo").await.unwrap().release.unwrap().current, "");
    assert_eq!(shares(&fleet, "any", 1).await, [("echo@1.2.0".to_owned(), 1)].into(), "the highest again");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_decides_wrongly_is_told_why() {
    let fleet = Fleet::start().await;
    let mut desk = Desk::of(&fleet);
    let mut other = echo("2.0.0");
    other["spec"]["input"]["schema"] = json!({ "type": "object", "required": ["never"] });
    fleet.apply_all(&[echo("1.0.0"), echo("1.1.0"), asking("any", "echo@*")]).await.unwrap();
    let code = |refused: Result<ReleaseResponse, Status>| fleet.code(&refused.unwrap_err());
    assert_eq!(code(desk.current("nobody", "1.0.0").await), "K0108");
    assert_eq!(code(desk.current("echo", "9.0.0").await), "K0108");
    assert_eq!(code(desk.current("echo", "one").await), "K0209");
    assert_eq!(code(desk.ramping("echo", "1.1.0", 10.0).await), "K0206", "nothing is current yet");
    assert_eq!(code(desk.rollback("echo").await), "K0206");
    assert_eq!(code(desk.promote("echo").await), "K0206");
    let request = SetCurrentRequest { subject: of("echo"), version: "1.1.0".into(), note: None };
    let unserved = desk.0.set_current(request).await.unwrap_err();
    assert_eq!(fleet.code(&unserved), "K0240", "no worker has it: {unserved:?}");
    desk.current("echo", "1.0.0").await.unwrap();
    assert_eq!(code(desk.promote("echo").await), "K0206", "nothing is ramping");
    assert_eq!(code(desk.ramping("echo", "1.0.0", 10.0).await), "K0206", "it is current");
    for percentage in [-1.0, 100.5, f64::NAN] {
        assert_eq!(code(desk.ramping("echo", "1.1.0", percentage).await), "K0209", "{percentage}");
    }
    // What gets no runs may be registered though it fits no workflow, and is refused when it is to get some.
    fleet.apply_all(&[other]).await.unwrap();
    assert_eq!(code(desk.current("echo", "2.0.0").await), "K0115");
    assert_eq!(code(desk.ramping("echo", "2.0.0", 1.0).await), "K0115");
    let forced = |why: &str, dry_run| SetRampingRequest {
        subject: of("echo"),
        version: "2.0.0".into(),
        percentage: 1.0,
        rollout: None,
        note: Some(ReleaseNote { why: why.into(), force: true, ignore_missing_workers: true, dry_run }),
    };
    assert_eq!(code(desk.0.set_ramping(forced("", false)).await.map(tonic::Response::into_inner)), "K0209");
    let checked = desk.0.set_ramping(forced("we know", true)).await.unwrap().into_inner();
    assert_eq!((checked.outcome.as_str(), checked.release.unwrap().ramping.as_str()), ("changed", ""), "only checked");
    desk.0.set_ramping(forced("we know", false)).await.unwrap();

    // What is current, or ramping, is not retired.
    for version in ["1.0.0", "2.0.0"] {
        let request = RetireRequest { agent: "echo".into(), version: version.into(), why: String::new() };
        let refused = fleet.registry().retire(request).await.unwrap_err();
        assert_eq!(fleet.code(&refused), "K0213");
        assert!(refused.message().contains("its release"), "{refused:?}");
    }
    let request = RetireRequest { agent: "echo".into(), version: "1.1.0".into(), why: String::new() };
    fleet.registry().retire(request).await.unwrap();
    assert_eq!(code(desk.current("echo", "1.1.0").await), "K0212");
    let shown = desk.get("echo").await;
    assert_eq!(statuses(&shown), [("2.0.0", "RAMPING", 0), ("1.1.0", "RETIRED", 0), ("1.0.0", "CURRENT", 0)]);
    let listed = desk.0.list(ListReleasesRequest {}).await.unwrap().into_inner().releases;
    assert_eq!(listed.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["echo"]);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workflows_are_released_too_and_every_coordinator_follows_at_once() {
    let fleet = Fleet::start().await;
    let second = fleet.second().await;
    let mut there =
        kapelle_proto::v1::run_service_client::RunServiceClient::connect(format!("http://{}", second.grpc_address()))
            .await
            .unwrap();
    let version = |version: &str| {
        let mut it = chain("same", 1);
        it["metadata"]["version"] = json!(version);
        it
    };
    let mut desk = Desk::of(&fleet);
    fleet.apply_all(&[echo("1.0.0"), version("1.0.0")]).await.unwrap();
    desk.current("same", "1.0.0").await.unwrap();
    fleet.apply_all(&[version("1.1.0"), version("2.0.0-rc.1")]).await.unwrap();
    let submit = |requirement: &str| SubmitRequest {
        workflow: "same".into(),
        version: requirement.into(),
        input: b"{}".to_vec().into(),
        ..SubmitRequest::default()
    };
    for (released, expected) in
        [("1.0.0", "1.0.0"), ("2.0.0-rc.1", "2.0.0-rc.1"), ("1.1.0", "1.1.0"), ("1.0.0", "1.0.0")]
    {
        let set = desk.current("same", released).await.unwrap();
        assert_eq!(set.behind, Vec::<String>::new());
        // At once, and at the other coordinator.
        let run = there.submit(submit("")).await.unwrap().into_inner().run_id;
        assert_eq!(fleet.get(&run).await.workflow, format!("same@{expected}"));
    }
    let run = fleet.submit(submit("=1.1.0")).await.unwrap().run_id;
    assert_eq!(fleet.get(&run).await.workflow, "same@1.1.0", "what the release does not match is still there");

    // One job under one key is one run, before and after.
    desk.ramping("same", "1.1.0", 50.0).await.unwrap();
    let keyed = |n: usize| SubmitRequest { idempotency_key: Some(format!("job-{n}")), ..submit("") };
    for n in 0..10 {
        let first = fleet.submit(keyed(n)).await.unwrap();
        let again = there.submit(keyed(n)).await.unwrap().into_inner();
        assert!(again.existed && first.run_id == again.run_id);
    }
    second.stop().await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_that_ask_for_a_capability_get_what_is_released() {
    let fleet = Fleet::start().await;
    let mut desk = Desk::of(&fleet);
    let mut capable = asking("capable", "echo@^1");
    capable["spec"]["steps"][0] = json!({ "id": "s0", "capability": "test.echo", "with": "${input}" });
    fleet.apply_all(&[echo("1.0.0"), capable]).await.unwrap();
    desk.current("echo", "1.0.0").await.unwrap();
    fleet.apply_all(&[echo("1.1.0")]).await.unwrap();
    assert_eq!(shares(&fleet, "capable", 3).await, [("echo@1.0.0".to_owned(), 3)].into());
    desk.ramping("echo", "1.1.0", 100.0).await.unwrap();
    assert_eq!(shares(&fleet, "capable", 3).await, [("echo@1.1.0".to_owned(), 3)].into());
    // A pre-release gets what is not asked for by name only where it is released.
    fleet.apply_all(&[echo("2.0.0-rc.1")]).await.unwrap();
    desk.current("echo", "2.0.0-rc.1").await.unwrap();
    desk.ramping("echo", "1.1.0", 0.0).await.unwrap();
    assert_eq!(shares(&fleet, "capable", 3).await, [("echo@2.0.0-rc.1".to_owned(), 3)].into());
    fleet.stop().await;
}
