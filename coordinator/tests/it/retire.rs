//! Retiring an agent version: refused while it is needed, nothing pinned to it afterwards, whoever is asked.

use crate::fleet::{Fleet, asking, echo, eventually};
use kapelle_bus::registry::{Registry, Standing, Status};
use kapelle_proto::v1::registry_service_client::RegistryServiceClient;
use kapelle_proto::v1::{GetManifestRequest, ReinstateRequest, RetireRequest, RetireResponse, SteerRequest};
use kapelle_telemetry::clock;
use kapelle_types::{AgentVersion, Principal};
use serde_json::json;
use tonic::Status as Refused;

async fn retire(fleet: &Fleet, version: &str) -> Result<RetireResponse, Refused> {
    let (agent, version, why) = ("echo".to_owned(), version.to_owned(), "a test".to_owned());
    let request = RetireRequest { agent, version, why };
    fleet.registry().retire(request).await.map(tonic::Response::into_inner)
}

async fn reinstate(fleet: &Fleet, version: &str) -> bool {
    let request = ReinstateRequest { agent: "echo".into(), version: version.into() };
    fleet.registry().reinstate(request).await.unwrap().into_inner().existed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_retired_that_a_step_or_a_run_needs() {
    let fleet = Fleet::start().await;
    fleet
        .apply_all(&[echo("1.0.0"), echo("1.1.0"), asking("exact", "echo@=1.0.0"), asking("open", "echo@^1")])
        .await
        .unwrap();
    let refused = retire(&fleet, "1.0.0").await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0213");
    assert_eq!(
        refused.message(),
        "echo@1.0.0 is needed by step s0 of exact@1.0.0 (no version of the agent `echo` matches `=1.0.0`)"
    );
    // Nobody serves 1.1.0, so what gets it stays open.
    let run = fleet.submit_input("open", json!({})).await;
    let refused = eventually("the run is read", || async {
        let refused = retire(&fleet, "1.1.0").await.unwrap_err();
        (fleet.code(&refused) == "K0213").then_some(refused)
    })
    .await;
    assert_eq!(refused.message(), format!("echo@1.1.0 is needed by 1 open run ({run})"));
    fleet.runs().terminate(SteerRequest { run_id: run.clone(), reason: String::new() }).await.unwrap();
    fleet.until_ended(&run).await;
    let retired = eventually("it may be retired", || async { retire(&fleet, "1.1.0").await.ok() }).await;
    let standing = retired.standing.unwrap();
    assert_eq!((standing.status.as_str(), standing.why.as_str(), retired.existed), ("RETIRED", "a test", false));
    assert!(retire(&fleet, "1.1.0").await.unwrap().existed, "saying it again changes nothing");
    let unknown = retire(&fleet, "9.0.0").await.unwrap_err();
    assert_eq!(fleet.code(&unknown), "K0108");
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_retired_is_given_to_nobody_until_it_is_reinstated() {
    let fleet = Fleet::start().await;
    let mut capable = asking("capable", "echo@^1");
    capable["spec"]["steps"][0] = json!({ "id": "s0", "capability": "test.echo", "with": "${input}" });
    fleet.apply_all(&[echo("1.0.0"), echo("1.1.0"), asking("by-name", "echo@^1"), capable]).await.unwrap();
    retire(&fleet, "1.1.0").await.unwrap();
    for workflow in ["by-name", "capable"] {
        let run = fleet.execute(workflow, json!({})).await;
        assert_eq!(run.steps[0].agent, "echo@1.0.0", "{workflow}");
    }
    let refused = fleet.apply_all(&[asking("late", "echo@=1.1.0")]).await.unwrap_err();
    assert_eq!(
        (fleet.code(&refused).as_str(), refused.message()),
        (
            "K0212",
            "Workflow late@1.0.0, /spec/steps/0/agent: of the agent `echo` only what is out of use matches `=1.1.0`: 1.1.0"
        )
    );
    // Its own file does not bring it back.
    let refused = fleet.apply_all(&[echo("1.1.0"), asking("late", "echo@=1.1.0")]).await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0212");
    let request =
        |version: &str| GetManifestRequest { kind: "Agent".into(), name: "echo".into(), version: version.into() };
    let shown = fleet.registry().get_manifest(request("1.1.0")).await.unwrap().into_inner();
    assert_eq!(shown.standing.unwrap().status, "RETIRED");
    let highest = fleet.registry().get_manifest(request("")).await.unwrap().into_inner();
    assert_eq!((highest.version.as_str(), highest.standing), ("1.0.0", None));

    assert!(!reinstate(&fleet, "1.1.0").await);
    assert!(reinstate(&fleet, "1.1.0").await, "saying it again changes nothing");
    eventually("it is given again", || async {
        let run = fleet.submit_input("by-name", json!({})).await;
        (fleet.get(&run).await.steps[0].agent == "echo@1.1.0").then_some(())
    })
    .await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retirement_that_its_coordinator_left_behind_is_gone_on_with() {
    let fleet = Fleet::start().await;
    fleet.apply_all(&[echo("1.0.0"), echo("1.1.0"), asking("by-name", "echo@^1")]).await.unwrap();
    let left: AgentVersion = "echo@1.1.0".parse().unwrap();
    let (by, at, why) = (Principal("gone".into()), clock::now(), String::new());
    let standing = |status| Standing { status, by: by.clone(), at, why: why.clone(), certificate: None };
    let registry = Registry::open(&fleet.bus().await).await.unwrap();
    registry.stand(&left, &standing(Status::Draining), 0).await.unwrap();
    // What is started before this is known would need it, and no worker has it.
    eventually("it is heard of", || async { (fleet.standing("echo", "1.1.0").await? == "DRAINING").then_some(()) })
        .await;
    assert_eq!(fleet.execute("by-name", json!({})).await.steps[0].agent, "echo@1.0.0", "nobody gets it any more");
    assert!(!retire(&fleet, "1.1.0").await.unwrap().existed);
    // Whoever comes late with what he saw does not overwrite it.
    let late = registry.stand(&left, &standing(Status::Draining), 1).await.unwrap_err();
    assert_eq!(late.refusal(), Some(kapelle_bus::Refusal::NotFirst));
    let seen = registry.standing(&left).await.unwrap();
    assert_eq!(seen.standing.unwrap().status, Status::Retired);
    registry.restore(&left, seen.revision).await.unwrap();
    let seen = registry.standing(&left).await.unwrap();
    assert!(seen.standing.is_none() && seen.revision > 0);
    registry.stand(&left, &standing(Status::Retired), seen.revision).await.unwrap();
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_does_not_follow_refuses_for_all() {
    let fleet = Fleet::start().await;
    fleet.apply_all(&[echo("1.0.0"), echo("1.1.0")]).await.unwrap();
    // An older release says nothing of the catalog.
    let alive = json!({
        "id": "c-old", "started_at": clock::now(), "partitions": [], "open_runs": 0, "behaviour": 1, "leaving": false,
    })
    .to_string();
    let bus = fleet.bus().await;
    let announcing = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(200));
        loop {
            ticks.tick().await;
            bus.client().publish("kapelle.coordinator.alive", alive.clone().into()).await.unwrap();
        }
    });
    let refused = eventually("it is heard", || async { retire(&fleet, "1.1.0").await.err() }).await;
    assert_eq!(fleet.code(&refused), "K0214");
    announcing.abort();
    eventually("what was not decided is in use again", || async {
        fleet.standing("echo", "1.1.0").await.is_none().then_some(())
    })
    .await;
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_that_break_registered_workflows_are_refused_or_forced() {
    let fleet = Fleet::start().await;
    let mut strict = echo("2.0.0");
    strict["spec"]["input"] = json!({ "schema": { "type": "object", "required": ["n"] } });
    let object = json!({ "schema": { "type": "object" } });
    let mut first = echo("1.0.0");
    first["spec"]["input"] = object.clone();
    let mut any = asking("any", "echo");
    any["spec"]["input"] = object;
    fleet.apply_all(&[first, any, asking("guarded", "echo@^1")]).await.unwrap();
    let refused = fleet.apply_all(std::slice::from_ref(&strict)).await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0115");
    assert!(refused.message().contains("step s0 of any@1.0.0: echo@2.0.0 would refuse"), "{}", refused.message());
    assert!(!refused.message().contains("guarded"), "{}", refused.message());
    // A second agent with the capability would leave the step with nobody.
    let mut capable = asking("capable", "echo");
    capable["spec"]["steps"][0] = json!({ "id": "s0", "capability": "test.echo", "with": "${input}" });
    fleet.apply_all(&[capable]).await.unwrap();
    let mut other = echo("1.0.0");
    other["metadata"]["name"] = json!("second");
    let refused = fleet.apply_all(&[other]).await.unwrap_err();
    assert_eq!(fleet.code(&refused), "K0115");
    assert!(refused.message().contains("several agents declare the capability"), "{}", refused.message());
    fleet.apply_forced(std::slice::from_ref(&strict), "agreed").await.unwrap();
    let request = GetManifestRequest { kind: "Agent".into(), name: "echo".into(), version: "2.0.0".into() };
    let shown = fleet.registry().get_manifest(request).await.unwrap().into_inner();
    assert_eq!(shown.force_reason, "agreed");
    fleet.stop().await;
}

/// The client of the registry alone, for tests here.
impl Fleet {
    pub(crate) fn registry(&self) -> RegistryServiceClient<tonic::transport::Channel> {
        RegistryServiceClient::new(self.channel())
    }

    async fn standing(&self, name: &str, version: &str) -> Option<String> {
        let request = GetManifestRequest { kind: "Agent".into(), name: name.into(), version: version.into() };
        self.registry().get_manifest(request).await.unwrap().into_inner().standing.map(|it| it.status)
    }
}
