//! Agents that are stopped in an emergency: what they had begun ends, runs wait, and nothing is given out whatever happens.

use kapelle_bus::provision::ensure_queue;
use kapelle_bus::tasks::QueueLimits;
use kapelle_proto::v1::registry_service_client::RegistryServiceClient;
use kapelle_proto::v1::release_service_client::ReleaseServiceClient;
use kapelle_proto::v1::{
    ReinstateRequest, ReleaseNote, ReleaseSubject, ResumeAgentRequest, RetireRequest, RunStatus, SetCurrentRequest,
    SteerRequest, SuspendRequest, SuspendResponse,
};
use kapelle_types::AgentVersion;
use serde_json::json;
use tonic::Status;
use tonic::transport::Channel;

use crate::fleet::{self, Fleet, chain, eventually};

fn registry(fleet: &Fleet) -> RegistryServiceClient<Channel> {
    RegistryServiceClient::new(fleet.channel())
}

fn echo() -> AgentVersion {
    "echo@1.0.0".parse().unwrap()
}

async fn stop(fleet: &Fleet, version: &str, quarantine: bool) -> Result<SuspendResponse, Status> {
    let (agent, version, why) = ("echo".to_owned(), version.to_owned(), "it harms".to_owned());
    let request = SuspendRequest { agent, version, why, quarantine };
    registry(fleet).suspend(request).await.map(tonic::Response::into_inner)
}

async fn resume(fleet: &Fleet, version: &str) -> Result<Vec<String>, Status> {
    let request = ResumeAgentRequest { agent: "echo".into(), version: version.into() };
    registry(fleet).resume_agent(request).await.map(|it| it.into_inner().versions)
}

/// Stops it, and waits until nothing of it is at work.
async fn until_stopped(fleet: &Fleet, quarantine: bool) {
    eventually("nothing is at work", || async {
        let answer = stop(fleet, "1.0.0", quarantine).await.unwrap();
        (answer.agents[0].in_flight == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_had_begun_is_stopped_and_its_runs_wait_until_it_goes_on() {
    let fleet = Fleet::start().await;
    fleet.register(chain("slow", 1)).await;
    let bus = fleet.bus().await;
    let long = fleet.submit_input("slow", json!({ "sleep_ms": 100_000 })).await;
    let at_work = || async { (bus.queue_state(&echo()).await.unwrap().in_flight == 1).then_some(()) };
    eventually("it is at work", at_work).await;

    let answer = stop(&fleet, "", false).await.unwrap();
    let standing = answer.agents[0].standing.clone().unwrap();
    assert_eq!((answer.agents.len(), answer.agents[0].existed), (1, false));
    assert_eq!((standing.status.as_str(), standing.why.as_str()), ("SUSPENDED", "it harms"));
    until_stopped(&fleet, false).await;
    let state = bus.queue_state(&echo()).await.unwrap();
    assert_eq!((state.stopped, state.in_flight), (true, 0));

    // Whoever comes now waits, and is told why.
    let quick = fleet.submit_input("slow", json!({ "sleep_ms": 0 })).await;
    let why = eventually("it is told", || async {
        let why = fleet.get(&quick).await.why?;
        why.because.contains("SUSPENDED").then_some(why)
    })
    .await;
    assert!(why.advice.contains("kapelle agent resume echo@1.0.0"), "{why:?}");
    // Also if somebody lets the queue go on behind everybody's back.
    ensure_queue(bus.jetstream(), &echo(), QueueLimits::of(64)).await.unwrap();
    let stopped = || async { bus.queue_state(&echo()).await.unwrap().stopped.then_some(()) };
    fleet.runs().terminate(SteerRequest { run_id: long, reason: String::new() }).await.unwrap();
    eventually("it is stopped again", stopped).await;

    assert_eq!(resume(&fleet, "").await.unwrap(), ["1.0.0"]);
    assert!(resume(&fleet, "").await.unwrap().is_empty(), "nothing is suspended any more");
    let done = fleet.until_ended(&quick).await;
    assert_eq!(done.status(), RunStatus::Completed);
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_quarantined_gets_no_run_and_nobody_takes_its_place_unasked() {
    let fleet = Fleet::start().await;
    let mut any = chain("any", 1);
    any["spec"]["steps"][0]["agent"] = json!("echo@*");
    fleet.apply_all(&[fleet::echo("1.0.0"), any]).await.unwrap();
    let mut desk = ReleaseServiceClient::new(fleet.channel());
    let subject = Some(ReleaseSubject { kind: String::new(), name: "echo".into() });
    let note = Some(ReleaseNote { ignore_missing_workers: true, ..ReleaseNote::default() });
    let request =
        |version: &str| SetCurrentRequest { subject: subject.clone(), version: version.to_owned(), note: note.clone() };
    desk.set_current(request("1.0.0")).await.unwrap();
    fleet.apply_all(&[fleet::echo("1.1.0")]).await.unwrap();
    until_stopped(&fleet, false).await;
    let answer = stop(&fleet, "1.0.0", true).await.unwrap();
    assert!(!answer.agents[0].existed, "it was suspended only");
    assert!(stop(&fleet, "1.0.0", false).await.unwrap().agents[0].existed, "it is more than suspended");

    let refused = fleet.try_submit("any", json!({})).await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0212", "1.1.0 is not released: {refused:?}");
    let refused = resume(&fleet, "1.0.0").await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0206", "{refused:?}");
    let request_retire = RetireRequest { agent: "echo".into(), version: "1.0.0".into(), why: String::new() };
    let refused = registry(&fleet).retire(request_retire).await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0206", "{refused:?}");
    for unknown in ["7.0.0", "x"] {
        let refused = stop(&fleet, unknown, false).await.unwrap_err();
        assert!(["K0108", "K0209"].contains(&fleet.code(&refused).as_str()), "{refused:?}");
    }

    // People decide what comes in its place.
    desk.set_current(request("1.1.0")).await.unwrap();
    let run = fleet.submit_input("any", json!({})).await;
    eventually("it has the other", || async { (fleet.get(&run).await.steps[0].agent == "echo@1.1.0").then_some(()) })
        .await;
    let reinstated = ReinstateRequest { agent: "echo".into(), version: "1.0.0".into() };
    registry(&fleet).reinstate(reinstated).await.unwrap();
    desk.set_current(request("1.0.0")).await.unwrap();
    let done = fleet.execute("any", json!({})).await;
    assert_eq!((done.status(), done.steps[0].agent.as_str()), (RunStatus::Completed, "echo@1.0.0"));
    fleet.stop().await;
}
