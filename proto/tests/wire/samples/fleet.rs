//! Samples of `registry.proto`: manifests, workers, queues, coordinators.

use kapelle_proto::v1::{
    Applied, ApplyRequest, ApplyResponse, CoordinatorView, GetManifestRequest, HeldAgent, ListCoordinatorsRequest,
    ListCoordinatorsResponse, ListManifestsRequest, ListManifestsResponse, ListQueuesRequest, ListQueuesResponse,
    ListWorkersRequest, ListWorkersResponse, ManifestSource, ManifestView, QueueView, ReinstateRequest,
    ReinstateResponse, ResumeAgentRequest, ResumeAgentResponse, RetireRequest, RetireResponse, StandingView,
    StoppedAgent, SuspendRequest, SuspendResponse, WorkerView,
};

use super::at;
use crate::golden::Sample;

pub(super) fn samples() -> Vec<Sample> {
    vec![
        Sample::new(ApplyRequest { manifests: vec![source()], dry_run: true, ..ApplyRequest::default() }),
        Sample::named(
            "force",
            ApplyRequest { manifests: vec![source()], force_reason: "agreed".into(), dry_run: false },
        ),
        Sample::new(source()),
        Sample::new(ApplyResponse { applied: vec![applied()], warnings: vec![] }),
        Sample::named("warnings", ApplyResponse { applied: vec![applied()], warnings: vec!["it goes".into()] }),
        Sample::new(applied()),
        Sample::new(ListManifestsRequest { kind: "Agent".into() }),
        Sample::new(ListManifestsResponse { manifests: vec![manifest()] }),
        Sample::new(GetManifestRequest {
            kind: "Agent".into(),
            name: "licence-review".into(),
            version: "1.2.0".into(),
        }),
        Sample::new(manifest()),
        Sample::named("risk", ManifestView { risk: "limited".into(), ..manifest() }),
        Sample::named("standing", ManifestView { standing: Some(standing()), ..manifest() }),
        Sample::named("current", ManifestView { current: true, ..manifest() }),
        Sample::named("force", ManifestView { force_reason: "agreed with all owners".into(), ..manifest() }),
        Sample::named("deprecated", ManifestView { deprecation: Some(super::standing::deprecation()), ..manifest() }),
        Sample::new(standing()),
        Sample::new(RetireRequest {
            agent: "licence-review".into(),
            version: "1.2.0".into(),
            why: "replaced by 2.0.0".into(),
        }),
        Sample::new(RetireResponse { standing: Some(standing()), existed: true }),
        Sample::new(ReinstateRequest { agent: "licence-review".into(), version: "1.2.0".into() }),
        Sample::new(SuspendRequest {
            agent: "licence-review".into(),
            version: "1.2.0".into(),
            why: "it deletes things".into(),
            quarantine: true,
        }),
        Sample::new(SuspendResponse { agents: vec![stopped()] }),
        Sample::new(stopped()),
        Sample::new(ResumeAgentRequest { agent: "licence-review".into(), version: "1.2.0".into() }),
        Sample::new(ResumeAgentResponse { versions: vec!["1.2.0".into()] }),
        Sample::new(ReinstateResponse { existed: true }),
        Sample::new(ListWorkersRequest {}),
        Sample::new(ListWorkersResponse { workers: vec![worker()] }),
        Sample::new(worker()),
        Sample::named("retired", WorkerView { retired_agents: vec!["sbom@1.0.0".into()], ..worker() }),
        Sample::named("held", WorkerView { held: vec![held()], ..worker() }),
        Sample::new(held()),
        Sample::new(ListQueuesRequest {}),
        Sample::new(ListQueuesResponse { queues: vec![queue()] }),
        Sample::new(queue()),
        Sample::named("held", QueueView { held: held().why, ..queue() }),
        Sample::new(ListCoordinatorsRequest {}),
        Sample::new(ListCoordinatorsResponse { coordinators: vec![coordinator()] }),
        Sample::new(coordinator()),
    ]
}

fn source() -> ManifestSource {
    ManifestSource { json: r#"{"kind":"Agent"}"#.into(), origin: "examples/software-intake".into() }
}

fn applied() -> Applied {
    Applied { kind: "Agent".into(), name: "licence-review".into(), version: "1.2.0".into(), outcome: "created".into() }
}

fn manifest() -> ManifestView {
    ManifestView {
        kind: "Agent".into(),
        name: "licence-review".into(),
        version: "1.2.0".into(),
        owner: "legal-platform@example.com".into(),
        digest: "02".repeat(32),
        json: r#"{"kind":"Agent"}"#.into(),
        origin: "examples/software-intake".into(),
        ..ManifestView::default()
    }
}

fn standing() -> StandingView {
    StandingView {
        status: "RETIRED".into(),
        by: "ada@example.com".into(),
        at_unix_nanos: at(5),
        why: "replaced by 2.0.0".into(),
    }
}

fn worker() -> WorkerView {
    WorkerView {
        id: "w-1".into(),
        agents: vec!["licence-review@1.2.0".into(), "sbom@1.0.0".into()],
        slots: 16,
        slots_used: 3,
        started_at_unix_nanos: at(0),
        draining: true,
        host: "host-1".into(),
        ..WorkerView::default()
    }
}

fn stopped() -> StoppedAgent {
    let standing = StandingView {
        status: "QUARANTINED".into(),
        by: "user:ada".into(),
        at_unix_nanos: at(60),
        why: "it deletes things".into(),
    };
    StoppedAgent { version: "1.2.0".into(), standing: Some(standing), existed: true, in_flight: 2 }
}

fn held() -> HeldAgent {
    HeldAgent { agent: "sbom@1.0.0".into(), why: "its money is spent".into() }
}

fn queue() -> QueueView {
    QueueView {
        agent: "licence-review".into(),
        version: "1.2.0".into(),
        pending: 120,
        in_flight: 32,
        redelivered: 1,
        max_in_flight: 64,
        held: String::new(),
    }
}

fn coordinator() -> CoordinatorView {
    CoordinatorView { id: "c-1".into(), partitions: vec![0, 3], started_at_unix_nanos: at(0) }
}
