//! Versions that are brought in by themselves: what they do decides, and too little of it decides nothing.

use std::time::Duration;

use kapelle_proto::v1::release_service_client::ReleaseServiceClient;
use kapelle_proto::v1::{
    GetReleaseRequest, PauseRolloutRequest, ReleaseNote, ReleaseResponse, ReleaseSubject, ReleaseView,
    ResumeRolloutRequest, RolloutPlan, RolloutStage, RolloutView, SetCurrentRequest, SetRampingRequest,
};
use serde_json::{Value, json};
use tonic::Status;
use tonic::transport::Channel;

use crate::fleet::{Fleet, agent, chain, eventually};

/// A workflow whose runs fail if their input says so.
fn versioned(version: &str) -> Value {
    let mut workflow = chain("told", 1);
    workflow["metadata"]["version"] = json!(version);
    workflow["spec"]["steps"][0]["retry"] = json!({ "max_attempts": 1 });
    workflow
}

fn note() -> Option<ReleaseNote> {
    Some(ReleaseNote { ignore_missing_workers: true, ..ReleaseNote::default() })
}

fn of(name: &str) -> Option<ReleaseSubject> {
    Some(ReleaseSubject { kind: String::new(), name: name.into() })
}

/// Stages of so many percent, each for so many milliseconds; `None` holds.
fn plan(stages: &[(f64, Option<u64>)]) -> RolloutPlan {
    let stage = |(percentage, pause): &(f64, Option<u64>)| RolloutStage {
        percentage: *percentage,
        pause_millis: pause.unwrap_or_default(),
        hold: pause.is_none(),
    };
    RolloutPlan { stages: stages.iter().map(stage).collect(), seen_min: 5, ..RolloutPlan::default() }
}

#[derive(Clone)]
struct Desk(ReleaseServiceClient<Channel>);

impl Desk {
    fn of(fleet: &Fleet) -> Self {
        Self(ReleaseServiceClient::new(fleet.channel()))
    }

    async fn current(&self, name: &str, version: &str) {
        let request = SetCurrentRequest { subject: of(name), version: version.into(), note: note() };
        self.0.clone().set_current(request).await.unwrap();
    }

    async fn begin(&self, name: &str, version: &str, plan: RolloutPlan) -> Result<ReleaseResponse, Status> {
        let (version, rollout) = (version.to_owned(), Some(plan));
        let request = SetRampingRequest { subject: of(name), version, percentage: 0.0, note: note(), rollout };
        self.0.clone().set_ramping(request).await.map(tonic::Response::into_inner)
    }

    async fn pause(&self, name: &str) -> Result<ReleaseResponse, Status> {
        let request = PauseRolloutRequest { subject: of(name), note: note() };
        self.0.clone().pause(request).await.map(tonic::Response::into_inner)
    }

    async fn resume(&self, name: &str) -> Result<ReleaseResponse, Status> {
        let request = ResumeRolloutRequest { subject: of(name), note: note() };
        self.0.clone().resume(request).await.map(tonic::Response::into_inner)
    }

    async fn get(&self, name: &str) -> ReleaseView {
        self.0.clone().get(GetReleaseRequest { subject: of(name) }).await.unwrap().into_inner()
    }

    async fn rollout(&self, name: &str) -> RolloutView {
        self.get(name).await.rollout.unwrap()
    }

    /// Waits until so many were seen of the version that is brought in, submitting runs meanwhile.
    async fn seen(&self, fleet: &Fleet, least: u64, input: &Value) -> RolloutView {
        eventually("runs are seen", || async {
            fleet.execute("told", input.clone()).await;
            let rollout = self.rollout("told").await;
            let seen = rollout.candidate.unwrap_or_default();
            (seen.succeeded + seen.failed >= least).then_some(rollout)
        })
        .await
    }
}

async fn two_versions() -> (Fleet, Desk) {
    let fleet = Fleet::start().await;
    let desk = Desk::of(&fleet);
    fleet.apply_all(&[agent(), versioned("1.0.0")]).await.unwrap();
    desk.current("told", "1.0.0").await;
    fleet.apply_all(&[versioned("2.0.0")]).await.unwrap();
    (fleet, desk)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_is_brought_in_by_what_its_runs_do() {
    let (fleet, desk) = two_versions().await;
    desk.begin("told", "2.0.0", plan(&[(50.0, Some(0)), (100.0, None)])).await.unwrap();
    let open = desk.rollout("told").await;
    assert_eq!((open.stage, open.verdict.as_str(), open.reason.as_str()), (0, "inconclusive", "0 of 5 runs seen"));
    eventually("enough runs were seen at the first stage", || async {
        fleet.execute("told", json!({})).await;
        (desk.rollout("told").await.stage == 1).then_some(())
    })
    .await;
    let release = desk.get("told").await;
    assert_eq!((release.percentage, release.by.as_str()), (100.0, "coordinator:rollout"));
    assert!(release.why.starts_with("2.0.0 passed 50 %: 0 of "), "{}", release.why);

    // The last stage has no end of its own, however well it goes.
    let held = desk.seen(&fleet, 6, &json!({})).await;
    assert_eq!((held.verdict.as_str(), held.due_unix_nanos), ("pass", 0));
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(desk.get("told").await.ramping, "2.0.0");
    assert_eq!(desk.resume("told").await.unwrap().outcome, "changed");
    let done = eventually("it is current", || async {
        let release = desk.get("told").await;
        (release.current == "2.0.0").then_some(release)
    })
    .await;
    assert_eq!((done.ramping.as_str(), done.before.as_slice()), ("", &["1.0.0".to_owned()][..]));
    assert_eq!(done.rollout, None);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_whose_runs_fail_is_rolled_back_although_somebody_holds_it() {
    let (fleet, desk) = two_versions().await;
    desk.begin("told", "2.0.0", plan(&[(100.0, Some(3_600_000))])).await.unwrap();
    assert_eq!(desk.pause("told").await.unwrap().outcome, "changed");
    assert_eq!(desk.pause("told").await.unwrap().outcome, "unchanged");
    assert!(desk.rollout("told").await.paused);
    let back = eventually("it is rolled back", || async {
        fleet.execute("told", json!({ "fail_attempts": 9 })).await;
        let release = desk.get("told").await;
        release.ramping.is_empty().then_some(release)
    })
    .await;
    assert_eq!((back.current.as_str(), back.rollout), ("1.0.0", None));
    assert!(back.why.starts_with("2.0.0 was rolled back at 100 %: ") && back.why.contains("failed"), "{}", back.why);
    let run = fleet.execute("told", json!({})).await;
    assert_eq!(run.workflow, "told@1.0.0");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_rollout_is_said_before_it_begins() {
    let (fleet, desk) = two_versions().await;
    let good = plan(&[(10.0, Some(1_000)), (50.0, None)]);
    let both = RolloutStage { percentage: 10.0, pause_millis: 5, hold: true };
    for (what, plan) in [
        ("no stages", plan(&[])),
        ("a share of nothing", plan(&[(0.0, None)])),
        ("more than all", plan(&[(101.0, None)])),
        ("shares that fall", plan(&[(50.0, None), (10.0, None)])),
        ("a stage with an end and none", RolloutPlan { stages: vec![both], ..good.clone() }),
        ("no rate", RolloutPlan { error_rate_max: Some(f64::NAN), ..good.clone() }),
        ("no ratio", RolloutPlan { latency_ratio_max: Some(0.0), ..good.clone() }),
        ("no ratio", RolloutPlan { cost_ratio_max: Some(-1.0), ..good.clone() }),
        ("too much to see", RolloutPlan { seen_min: u32::MAX, ..good.clone() }),
    ] {
        let refused = desk.begin("told", "2.0.0", plan).await.unwrap_err();
        assert_eq!(fleet.code(&refused), "K0209", "{what}: {refused:?}");
    }
    let twice = SetRampingRequest {
        subject: of("told"),
        version: "2.0.0".into(),
        percentage: 5.0,
        note: note(),
        rollout: Some(good.clone()),
    };
    assert_eq!(fleet.code(&desk.0.clone().set_ramping(twice).await.unwrap_err()), "K0209");
    assert_eq!(fleet.code(&desk.begin("told", "1.0.0", good.clone()).await.unwrap_err()), "K0206", "it is current");
    for refused in [desk.pause("told").await, desk.resume("told").await] {
        assert_eq!(fleet.code(&refused.unwrap_err()), "K0206", "nothing is brought in by itself");
    }
    desk.begin("told", "2.0.0", good).await.unwrap();
    assert_eq!(desk.resume("told").await.unwrap().outcome, "unchanged", "nobody holds it");
    fleet.stop().await;
}
