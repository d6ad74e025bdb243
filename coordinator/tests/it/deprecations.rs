//! Agent versions whose time is over at a moment that is said before: who is told, what is refused from then on, and what is not.

use std::time::Duration;

use futures::StreamExt;
use kapelle_coordinator::certificate;
use kapelle_proto::v1::{
    ApplyRequest, DeprecateRequest, DeprecateResponse, GetCertificateKeyRequest, GetCertificateRequest,
    GetManifestRequest, ManifestSource, ReleaseNote, ReleaseSubject, RetireRequest, SetCurrentRequest, SteerRequest,
    SubmitRequest, UndeprecateRequest, release_service_client::ReleaseServiceClient,
};
use kapelle_telemetry::clock;
use kapelle_types::AgentVersion;
use serde_json::{Value, json};
use tonic::Status;

use crate::fleet::{Fleet, asking, echo, eventually};

async fn deprecate(
    fleet: &Fleet,
    version: &str,
    after: Duration,
    successor: &str,
) -> Result<DeprecateResponse, Status> {
    let request = DeprecateRequest {
        agent: "echo".into(),
        version: version.into(),
        sunset_unix_nanos: clock::now().plus(after).nanos(),
        successor: successor.into(),
        why: "a test".into(),
    };
    fleet.registry().deprecate(request).await.map(tonic::Response::into_inner)
}

async fn undeprecate(fleet: &Fleet, version: &str) -> bool {
    let request = UndeprecateRequest { agent: "echo".into(), version: version.into() };
    fleet.registry().undeprecate(request).await.unwrap().into_inner().existed
}

async fn warnings(fleet: &Fleet, workflow: &str) -> Vec<String> {
    fleet.try_submit(workflow, json!({})).await.unwrap().warnings
}

/// Waits until runs of a workflow are refused; gives why.
async fn until_refused(fleet: &Fleet, workflow: &str) -> Status {
    eventually("its time is over", || async { fleet.try_submit(workflow, json!({})).await.err() }).await
}

const DAY: Duration = Duration::from_secs(86_400);
const SOON: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_depends_on_it_is_told_before_and_refused_afterwards() {
    let fleet = Fleet::start().await;
    fleet
        .apply_all(&[echo("1.0.0"), echo("2.0.0"), asking("exact", "echo@=1.0.0"), asking("open", "echo@^1")])
        .await
        .unwrap();
    assert_eq!(warnings(&fleet, "exact").await, Vec::<String>::new());
    let mut events = fleet.events("agent.>").await;
    let told = deprecate(&fleet, "1.0.0", DAY, "2.0.0").await.unwrap();
    let steps: Vec<_> =
        told.dependants.iter().map(|it| (it.workflow.as_str(), it.step.as_str(), it.then.as_str())).collect();
    assert_eq!(steps, [("exact@1.0.0", "s0", ""), ("open@1.0.0", "s0", "")]);
    let deprecation = told.deprecation.unwrap();
    assert_eq!((deprecation.successor.as_str(), deprecation.why.as_str(), told.existed), ("2.0.0", "a test", false));
    let event: Value = serde_json::from_slice(&events.next().await.unwrap().payload).unwrap();
    assert_eq!(
        (&event["type"], &event["data"]["agent"]),
        (&json!("dev.kapelle.agent.deprecated"), &json!("echo@1.0.0"))
    );
    assert_eq!(event["data"]["steps"], json!(["exact@1.0.0/s0", "open@1.0.0/s0"]));
    let said = warnings(&fleet, "open").await;
    assert!(said[0].starts_with("step s0 gets echo@1.0.0, which no new run gets from 2"), "{said:?}");
    assert!(said[0].ends_with("; echo@2.0.0 takes its place"), "{said:?}");
    let source = ManifestSource { json: asking("late", "echo@^1").to_string().into(), origin: String::new() };
    let apply = ApplyRequest { manifests: vec![source], dry_run: true, ..ApplyRequest::default() };
    let planned = fleet.registry().apply(apply).await.unwrap().into_inner();
    assert!(planned.warnings[0].starts_with("late@1.0.0: step s0 gets echo@1.0.0, which"), "{:?}", planned.warnings);
    // One that goes on over the end of its time.
    let open = fleet.submit_input("open", json!({ "sleep_ms": 6_000 })).await;
    deprecate(&fleet, "1.0.0", SOON, "2.0.0").await.unwrap();
    for workflow in ["exact", "open"] {
        assert_eq!(fleet.code(&until_refused(&fleet, workflow).await), "K0212", "{workflow}");
    }
    let event = loop {
        let event: Value = serde_json::from_slice(&events.next().await.unwrap().payload).unwrap();
        if event["type"] == "dev.kapelle.agent.sunset" {
            break event;
        }
    };
    assert_eq!((&event["subject"], &event["data"]["successor"]), (&json!("echo@1.0.0"), &json!("2.0.0")));
    let refused = fleet.apply_all(&[asking("later", "echo@=1.0.0")]).await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0212");
    let ended = fleet.until_ended(&open).await;
    assert_eq!(
        (ended.status, ended.steps[0].agent.as_str()),
        (kapelle_proto::v1::RunStatus::Completed as i32, "echo@1.0.0")
    );
    // The same catalog for whoever comes afterwards.
    let second = fleet.second().await;
    let request = GetManifestRequest { kind: "Agent".into(), name: "echo".into(), version: "1.0.0".into() };
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", second.grpc_address())).unwrap();
    let mut registry =
        kapelle_proto::v1::registry_service_client::RegistryServiceClient::connect(channel).await.unwrap();
    assert!(registry.get_manifest(request).await.unwrap().into_inner().deprecation.unwrap().over);
    second.stop().await;
    assert!(!undeprecate(&fleet, "1.0.0").await);
    assert!(undeprecate(&fleet, "1.0.0").await, "saying it again changes nothing");
    assert_eq!(warnings(&fleet, "exact").await, Vec::<String>::new());
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_version_takes_its_place_only_where_nothing_is_released() {
    let fleet = Fleet::start().await;
    fleet.apply_all(&[echo("1.0.0"), echo("1.1.0"), asking("open", "echo@^1")]).await.unwrap();
    let told = deprecate(&fleet, "1.1.0", SOON, "").await.unwrap();
    assert_eq!(told.dependants[0].then, "echo@1.0.0");
    let got = || async {
        let run = fleet.submit_input("open", json!({})).await;
        let agent = fleet.get(&run).await.steps.first().map(|it| it.agent.clone())?;
        (agent == "echo@1.0.0").then_some(())
    };
    eventually("the next lower one is given", got).await;
    undeprecate(&fleet, "1.1.0").await;
    let release = SetCurrentRequest {
        subject: Some(ReleaseSubject { kind: "Agent".into(), name: "echo".into() }),
        version: "1.1.0".into(),
        note: Some(ReleaseNote { ignore_missing_workers: true, ..ReleaseNote::default() }),
    };
    let mut releases = ReleaseServiceClient::new(fleet.channel());
    releases.set_current(release.clone()).await.unwrap();
    let told = deprecate(&fleet, "1.1.0", SOON, "").await.unwrap();
    assert_eq!(told.dependants[0].then, "", "nobody has released the other");
    assert_eq!(fleet.code(&until_refused(&fleet, "open").await), "K0212");
    let other = SetCurrentRequest { version: "1.0.0".into(), ..release.clone() };
    releases.set_current(other).await.unwrap();
    assert_eq!(fleet.execute("open", json!({})).await.steps[0].agent, "echo@1.0.0");
    let refused = releases.set_current(release).await.unwrap_err();
    assert_eq!((fleet.code(&refused).as_str(), refused.message()), ("K0212", "the time of echo@1.1.0 is over"));
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused() {
    let fleet = Fleet::start().await;
    fleet.apply_all(&[echo("1.0.0"), echo("1.1.0")]).await.unwrap();
    let past = DeprecateRequest {
        agent: "echo".into(),
        version: "1.0.0".into(),
        sunset_unix_nanos: clock::now().nanos() - 1,
        ..DeprecateRequest::default()
    };
    let refused = fleet.registry().deprecate(past).await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0209");
    for (version, successor, code) in
        [("9.0.0", "", "K0108"), ("1.0.0", "9.0.0", "K0108"), ("1.0.0", "1.0.0", "K0209"), ("1.0.0", "x", "K0209")]
    {
        let refused = deprecate(&fleet, version, DAY, successor).await.unwrap_err();
        assert_eq!(fleet.code(&refused), code, "{version} {successor}: {}", refused.message());
    }
    let retire = RetireRequest { agent: "echo".into(), version: "1.1.0".into(), why: String::new() };
    fleet.registry().retire(retire).await.unwrap();
    for (version, successor, code) in [("1.1.0", "", "K0206"), ("1.0.0", "1.1.0", "K0209")] {
        let refused = deprecate(&fleet, version, DAY, successor).await.unwrap_err();
        assert_eq!(fleet.code(&refused), code, "{version} {successor}: {}", refused.message());
    }
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_found_when_it_was_retired_can_be_shown_to_others() {
    let fleet = Fleet::start().await;
    fleet.apply_all(&[echo("1.0.0"), echo("2.0.0"), asking("open", "echo@^1")]).await.unwrap();
    let run = fleet.execute("open", json!({})).await;
    let request = || RetireRequest { agent: "echo".into(), version: "1.0.0".into(), why: "replaced".into() };
    let refused = fleet.registry().retire(request()).await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0213");
    let wanted = || GetCertificateRequest { agent: "echo".into(), version: "1.0.0".into() };
    let none = fleet.registry().get_certificate(wanted()).await.unwrap_err();
    assert_eq!(fleet.code(&none), "K0206");
    let mut open = asking("open", "echo@^2");
    open["metadata"]["version"] = json!("2.0.0");
    fleet.apply_all(&[open]).await.unwrap();
    let sunset = deprecate(&fleet, "1.0.0", DAY, "2.0.0").await.unwrap().deprecation.unwrap().sunset_unix_nanos;
    eventually("it may be retired", || async { fleet.registry().retire(request()).await.ok() }).await;
    let jws = fleet.registry().get_certificate(wanted()).await.unwrap().into_inner().jws;
    let jwk = fleet.registry().get_certificate_key(GetCertificateKeyRequest {}).await.unwrap().into_inner().jwk;
    let stated = certificate::verify(&jws, &jwk).unwrap();
    assert_eq!((stated.iss.as_str(), stated.sub.as_str()), ("kapelle:default", "agent:echo@1.0.0"));
    assert_eq!((stated.retired.why.as_str(), stated.found.open_runs, stated.found.tasks), ("replaced", 0, 0));
    assert_eq!(stated.deprecated.unwrap().sunset.nanos(), sunset);
    assert!(stated.found.logs.values().sum::<u64>() > 0, "{:?} was read", stated.found.logs);
    let request = GetManifestRequest { kind: "Agent".into(), name: "echo".into(), version: "1.0.0".into() };
    let shown = fleet.registry().get_manifest(request).await.unwrap().into_inner();
    assert_eq!(shown.digest, stated.manifest.to_string());
    // Another coordinator signs with the same key.
    let second = fleet.second().await;
    let endpoint = format!("http://{}", second.grpc_address());
    let mut registry =
        kapelle_proto::v1::registry_service_client::RegistryServiceClient::connect(endpoint).await.unwrap();
    assert_eq!(registry.get_certificate_key(GetCertificateKeyRequest {}).await.unwrap().into_inner().jwk, jwk);
    second.stop().await;
    // Whoever has credentials for its queue gets nothing out of it.
    let echo: AgentVersion = "echo@1.0.0".parse().unwrap();
    let bus = fleet.bus().await;
    let closed = || async { bus.queue_state(&echo).await.unwrap().stopped.then_some(()) };
    eventually("its queue is closed", closed).await;
    assert_eq!(fleet.get(&run.run_id).await.steps[0].agent, "echo@1.0.0", "logs stay");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_got_it_are_begun_again_only_before() {
    let fleet = Fleet::start().await;
    fleet.apply_all(&[echo("1.0.0"), asking("open", "echo@^1")]).await.unwrap();
    let run = fleet.execute("open", json!({})).await.run_id;
    deprecate(&fleet, "1.0.0", SOON, "").await.unwrap();
    until_refused(&fleet, "open").await;
    let restart = kapelle_proto::v1::RestartRunRequest { run_id: run.clone(), latest: false, idempotency_key: None };
    let refused = fleet.runs().restart(restart).await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0212");
    let keyed =
        SubmitRequest { workflow: "open".into(), idempotency_key: Some("k".into()), ..SubmitRequest::default() };
    assert_eq!(fleet.code(&fleet.submit(keyed).await.unwrap_err()), "K0212");
    // A run that has ended is not touched by any of it.
    fleet.runs().terminate(SteerRequest { run_id: run, reason: String::new() }).await.unwrap_err();
    fleet.stop().await;
}
