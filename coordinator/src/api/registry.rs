//! `RegistryService`: manifests come in as JSON, are checked against what is registered and against each other, and are
//! registered all or not at all.

use std::sync::Arc;

use kapelle_bus::registry::{Kind, Outcome, Registered, Subject};
use kapelle_manifest::{
    Agents, Broken, Catalog, Layered, Manifest, Problem, Sourced, Workflow, broken, check, keeps_promise,
    keeps_workflows,
};
use kapelle_proto::bucket;
use kapelle_proto::v1::{self, registry_service_server::RegistryService};
use kapelle_telemetry::clock;
use kapelle_types::{AuditWhat, Code, Diagnosis, Version, limits};
use tonic::{Request, Response, Status};

use super::Context;
use super::standing::{Standings, check_reason, deprecation_view, standing_view};
use super::status::{caller, status};
use crate::access::Act;
use crate::catalog::{Outgoing, Snapshot, agent_of, kind_name};

/// Manifests that one request may bring.
const MANIFESTS_MAX: usize = 1_000;

pub(super) struct RegistryApi {
    context: Arc<Context>,
    standings: Standings,
}

impl RegistryApi {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { standings: Standings::new(context.clone()), context }
    }

    /// Checks everything before anything is registered; gives what is to be, and what of it deserves a look.
    fn checked(&self, request: &v1::ApplyRequest, by: &str) -> Result<(Vec<Registered>, Vec<String>), Diagnosis> {
        if request.manifests.is_empty() || request.manifests.len() > MANIFESTS_MAX {
            let message = format!("a request brings 1 to {MANIFESTS_MAX} manifests");
            return Err(Diagnosis::new(Code::REQUEST_INVALID, message));
        }
        check_reason(&request.force_reason)?;
        let manifests: Result<Vec<Manifest>, Diagnosis> = request.manifests.iter().map(read).collect();
        let manifests = manifests?;
        let snapshot = self.context.catalog.snapshot();
        let together = Layered(brought(&manifests, &snapshot).collect::<Agents>(), &*snapshot);
        let mut records: Vec<Registered> = Vec::with_capacity(manifests.len());
        for (manifest, source) in manifests.iter().zip(&request.manifests) {
            if let Some(problem) = check(&Sourced::from(manifest.clone()), &together).into_iter().next() {
                return Err(diagnosis(manifest, &problem));
            }
            let record = record(manifest, &source.origin, by);
            let there = snapshot.record(record.kind, &record.name, Some(&record.version)).map(|r| r.digest);
            let twice = records.iter().find(|r| key(r) == key(&record)).map(|r| r.digest);
            if there.or(twice).is_some_and(|digest| digest != record.digest) {
                return Err(conflict(&record));
            }
            if there.is_none() {
                keeps_promise(manifest, manifests.iter().chain(&snapshot.versions(record.kind, &record.name)))?;
            }
            records.push(record);
        }
        let broken = breaks(&manifests, &snapshot);
        if request.force_reason.is_empty() {
            keeps_workflows(&broken)?;
        } else if !broken.is_empty() {
            forced(&mut records, &request.force_reason, &broken);
        }
        // Agents first, so that a workflow never stands in the registry before what it needs.
        records.sort_by_key(|r| r.kind != Kind::Agent);
        Ok((records, warnings(&manifests, &together, &snapshot)))
    }

    async fn register(&self, record: &Registered) -> Result<Outcome, Diagnosis> {
        let unavailable = |e| unavailable(&format!("{} is not", record.name), &e);
        let outcome = self.context.catalog.registry().put(record).await.map_err(unavailable)?;
        if outcome != Outcome::Conflict {
            self.context.catalog.learn(record).await.map_err(unavailable)?;
        }
        Ok(outcome)
    }
}

fn unavailable(what: &str, error: &kapelle_bus::Error) -> Diagnosis {
    Diagnosis::new(Code::BROKER_UNAVAILABLE, format!("{what} registered: {error}"))
        .hint("apply again: what is registered already stays as it is")
}

/// How the audit trail names a request: by its first manifests.
fn applying(records: &[Registered], force_reason: &str) -> Act<'static> {
    /// As many as people read; the registry says of each who applied it.
    const NAMED_MAX: usize = 10;
    let named = records.iter().take(NAMED_MAX).map(|r| format!("{} {}@{}", kind_name(r.kind), r.name, r.version));
    let mut name = named.collect::<Vec<_>>().join(", ");
    if let Some(more) = records.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        name += &format!(" and {more} more");
    }
    Act {
        verb: "apply",
        rpc: "kapelle.v1.RegistryService/Apply",
        owner: None,
        what: AuditWhat { kind: "manifests".into(), name, ..AuditWhat::default() },
        reason: force_reason.to_owned(),
    }
}

/// The agents that come into use with what is brought: not those that are retired, which a file does not bring back.
fn brought<'m>(manifests: &'m [Manifest], snapshot: &Snapshot) -> impl Iterator<Item = &'m Manifest> {
    manifests.iter().filter(|m| match m {
        Manifest::Agent(agent) => snapshot.standing_of(&agent.version()).is_none_or(|it| !it.status.is_out()),
        Manifest::Workflow(_) => true,
    })
}

/// Which steps of these workflows would get what is to be used no more, for people.
fn warnings(manifests: &[Manifest], together: &dyn Catalog, snapshot: &Snapshot) -> Vec<String> {
    let workflows = manifests.iter().filter_map(|it| match it {
        Manifest::Workflow(workflow) => Some(workflow),
        Manifest::Agent(_) => None,
    });
    let outgoing = |workflow: &Workflow| -> Vec<String> {
        let performers = workflow.every_step().flat_map(|step| step.performers().map(move |it| (&step.id, it)));
        let pinned = performers.filter_map(|(step, it)| Some((step, it.resolve(together).ok()?.version())));
        let outgoing = pinned.filter_map(|(step, agent)| {
            snapshot.deprecation(&agent).map(|deprecation| Outgoing::new(step, agent.clone(), deprecation))
        });
        outgoing.map(|it| format!("{}: {it}", workflow.version())).collect()
    };
    workflows.flat_map(outgoing).collect()
}

/// What breaks in the current version of each registered workflow that is not brought in another one. Where something is
/// released, a new version gets no runs until that is decided, and then this is asked again.
fn breaks(manifests: &[Manifest], snapshot: &Snapshot) -> Vec<Broken> {
    let gets_runs = |m: &&Manifest| match m {
        Manifest::Agent(agent) => snapshot.release(&Subject::agent(&agent.metadata.name)).is_none(),
        Manifest::Workflow(_) => true,
    };
    let together = Layered(brought(manifests, snapshot).filter(gets_runs).collect::<Agents>(), snapshot);
    let is_replaced = |workflow: &Workflow| {
        manifests.iter().any(|m| match m {
            Manifest::Workflow(new) => {
                new.metadata.name == workflow.metadata.name && new.metadata.version > workflow.metadata.version
            }
            Manifest::Agent(_) => false,
        })
    };
    let current = snapshot.current_workflows();
    broken(current.iter().map(|it| &**it).filter(|it| !is_replaced(it)), &snapshot, &together)
}

/// Somebody takes it upon themselves: that is kept beside what they register.
fn forced(records: &mut [Registered], reason: &str, broken: &[Broken]) {
    for record in records.iter_mut().filter(|it| it.kind == Kind::Agent) {
        record.force_reason = reason.to_owned();
        let (version, by) = (&record.version, &record.applied_by);
        tracing::warn!(name = record.name, %version, %by, reason, breaks = broken.len(), "registered by force");
    }
}

fn diagnosis(manifest: &Manifest, problem: &Problem) -> Diagnosis {
    let (kind, name, version) = manifest.name_version();
    let message = format!("{kind} {name}@{version}, {}: {}", problem.pointer, problem.message);
    Diagnosis::new(problem.code(), message).hint(problem.hint.clone())
}

fn key(record: &Registered) -> (Kind, &str, &Version) {
    (record.kind, &record.name, &record.version)
}

fn conflict(record: &Registered) -> Diagnosis {
    let (kind, name, version) = (kind_name(record.kind), &record.name, &record.version);
    Diagnosis::new(Code::VERSION_EXISTS, format!("{kind} {name}@{version} is registered with another content"))
        .hint("versions are immutable: give the changed manifest another version")
}

fn read(source: &v1::ManifestSource) -> Result<Manifest, Diagnosis> {
    if source.json.len() > limits::MANIFEST_BYTES_MAX {
        return Err(Diagnosis::new(Code::MANIFEST_BOUND, "the manifest is too large"));
    }
    serde_json::from_slice(&source.json).map_err(|e| Diagnosis::new(Code::MANIFEST_SYNTAX, e.to_string()))
}

fn record(manifest: &Manifest, origin: &str, by: &str) -> Registered {
    let kind = match manifest {
        Manifest::Agent(_) => Kind::Agent,
        Manifest::Workflow(_) => Kind::Workflow,
    };
    let (_, name, version) = manifest.name_version();
    Registered {
        kind,
        name: name.to_owned(),
        version: version.clone(),
        digest: manifest.digest(),
        manifest: manifest.to_value(),
        origin: origin.to_owned(),
        applied_by: by.to_owned(),
        applied_at: clock::now(),
        force_reason: String::new(),
    }
}

fn view(record: &Registered, snapshot: &Snapshot, whole: bool) -> v1::ManifestView {
    let text = |pointer| record.manifest.pointer(pointer).and_then(|it| it.as_str()).unwrap_or_default().to_owned();
    v1::ManifestView {
        kind: kind_name(record.kind).to_owned(),
        name: record.name.clone(),
        version: record.version.to_string(),
        owner: text("/metadata/owner"),
        digest: record.digest.to_string(),
        json: if whole { serde_json::to_vec(&record.manifest).unwrap_or_default().into() } else { Default::default() },
        origin: record.origin.clone(),
        risk: text("/spec/risk"),
        standing: snapshot.standing_of_record(record).map(standing_view),
        deprecation: agent_of(record).and_then(|agent| deprecation_view(snapshot, &agent)),
        force_reason: record.force_reason.clone(),
        current: snapshot
            .release(&Subject { kind: record.kind, name: record.name.clone() })
            .is_some_and(|it| it.current == record.version),
    }
}

#[tonic::async_trait]
impl RegistryService for RegistryApi {
    async fn apply(&self, request: Request<v1::ApplyRequest>) -> Result<Response<v1::ApplyResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        // What it needs may have been applied at another coordinator just now.
        self.context.catalog.up_to_date().await.map_err(|e| status(&unavailable("nothing is", &e)))?;
        // What is checked against the catalog as it is now is registered before anybody counts on another one.
        let mut ticket = self.context.catalog.ticket();
        let (records, warnings) = self.checked(&request, &caller.principal.to_string()).map_err(|e| status(&e))?;
        if !request.dry_run {
            self.context
                .access
                .act(&caller, applying(&records, &request.force_reason))
                .await
                .map_err(|e| status(&e))?;
        }
        ticket.sending(&self.context.bus, format!("KV_{}", bucket::REGISTRY));
        let snapshot = self.context.catalog.snapshot();
        let mut applied = Vec::with_capacity(records.len());
        for record in &records {
            let outcome = if request.dry_run {
                let there = snapshot.record(record.kind, &record.name, Some(&record.version)).is_some();
                if there { Outcome::Unchanged } else { Outcome::Created }
            } else {
                self.register(record).await.map_err(|e| status(&e))?
            };
            let outcome = match outcome {
                Outcome::Created => "created",
                Outcome::Unchanged => "unchanged",
                Outcome::Conflict => return Err(status(&conflict(record))),
            };
            applied.push(v1::Applied {
                kind: kind_name(record.kind).to_owned(),
                name: record.name.clone(),
                version: record.version.to_string(),
                outcome: outcome.to_owned(),
            });
        }
        ticket.answered();
        Ok(Response::new(v1::ApplyResponse { applied, warnings }))
    }

    async fn list_manifests(
        &self,
        request: Request<v1::ListManifestsRequest>,
    ) -> Result<Response<v1::ListManifestsResponse>, Status> {
        let kind = &request.get_ref().kind;
        let snapshot = self.context.catalog.snapshot();
        let matching = snapshot.records().filter(|r| kind.is_empty() || kind_name(r.kind) == kind);
        let manifests = matching.map(|r| view(r, &snapshot, false)).collect();
        Ok(Response::new(v1::ListManifestsResponse { manifests }))
    }

    async fn get_manifest(
        &self,
        request: Request<v1::GetManifestRequest>,
    ) -> Result<Response<v1::ManifestView>, Status> {
        let v1::GetManifestRequest { kind, name, version } = request.into_inner();
        let invalid = |what: String| status(&Diagnosis::new(Code::REQUEST_INVALID, what));
        let wanted = match kind.as_str() {
            "Agent" => Kind::Agent,
            "Workflow" => Kind::Workflow,
            other => return Err(invalid(format!("`{other}` is not a kind; there are Agent and Workflow"))),
        };
        let version: Option<Version> = match version.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|e: kapelle_types::InvalidName| invalid(e.to_string()))?),
        };
        let code = if wanted == Kind::Agent { Code::UNKNOWN_AGENT } else { Code::UNKNOWN_WORKFLOW };
        let snapshot = self.context.catalog.snapshot();
        let found = snapshot.record(wanted, &name, version.as_ref());
        let unknown = || status(&Diagnosis::new(code, format!("there is no {kind} {name}")));
        found.map(|r| Response::new(view(r, &snapshot, true))).ok_or_else(unknown)
    }

    async fn deprecate(
        &self,
        request: Request<v1::DeprecateRequest>,
    ) -> Result<Response<v1::DeprecateResponse>, Status> {
        self.standings.deprecate(request).await
    }

    async fn undeprecate(
        &self,
        request: Request<v1::UndeprecateRequest>,
    ) -> Result<Response<v1::UndeprecateResponse>, Status> {
        self.standings.undeprecate(request).await
    }

    async fn get_certificate(
        &self,
        request: Request<v1::GetCertificateRequest>,
    ) -> Result<Response<v1::Certificate>, Status> {
        self.standings.get_certificate(request).await
    }

    async fn get_certificate_key(
        &self,
        _: Request<v1::GetCertificateKeyRequest>,
    ) -> Result<Response<v1::CertificateKey>, Status> {
        self.standings.get_certificate_key().await
    }

    async fn retire(&self, request: Request<v1::RetireRequest>) -> Result<Response<v1::RetireResponse>, Status> {
        self.standings.retire(request).await
    }

    async fn reinstate(
        &self,
        request: Request<v1::ReinstateRequest>,
    ) -> Result<Response<v1::ReinstateResponse>, Status> {
        self.standings.reinstate(request).await
    }

    async fn suspend(&self, request: Request<v1::SuspendRequest>) -> Result<Response<v1::SuspendResponse>, Status> {
        self.standings.suspend(request).await
    }

    async fn resume_agent(
        &self,
        request: Request<v1::ResumeAgentRequest>,
    ) -> Result<Response<v1::ResumeAgentResponse>, Status> {
        self.standings.resume_agent(request).await
    }
}
