//! `ReleaseService`: which versions the runs to come get.

use std::sync::Arc;

use kapelle_bus::registry::{Kind, Release, Subject};
use kapelle_proto::v1::{self, release_service_server::ReleaseService};
use kapelle_types::{AgentVersion, AuditWhat, Caller, Code, Diagnosis, Version};
use tonic::{Request, Response, Status};

use super::Context;
use super::rollout;
use super::standing::{check_reason, deprecation_view, standing_view};
use super::status::{caller, status};
use crate::access::Act;
use crate::catalog::{Snapshot, kind_name};
use crate::release::{Change, Overview, Releases, Wish};
use crate::rollout::{Rollouts, Standing};

macro_rules! rpc {
    ($method:literal) => {
        concat!("kapelle.v1.ReleaseService/", $method)
    };
}

pub(super) struct ReleasesApi {
    context: Arc<Context>,
    releases: Releases,
    rollouts: Rollouts,
}

/// One of the calls that change something.
struct Asked {
    verb: &'static str,
    rpc: &'static str,
    change: Change,
}

impl ReleasesApi {
    pub(super) fn new(context: Arc<Context>) -> Self {
        let releases = Releases {
            catalog: Arc::clone(&context.catalog),
            followers: context.retirement.followers.clone(),
            served: context.served.clone(),
        };
        let (followers, outcomes) = (context.retirement.followers.clone(), Arc::clone(&context.outcomes));
        Self { context, releases, rollouts: Rollouts { followers, outcomes } }
    }

    /// What is meant: a kind that is not said is that of the one thing with this name.
    async fn subject(&self, asked: Option<v1::ReleaseSubject>) -> Result<Subject, Diagnosis> {
        let v1::ReleaseSubject { kind, name } = asked.unwrap_or_default();
        let unavailable = |e: kapelle_bus::Error| Diagnosis::new(Code::BROKER_UNAVAILABLE, e.to_string());
        self.context.catalog.up_to_date().await.map_err(unavailable)?;
        let snapshot = self.context.catalog.snapshot();
        let there = |kind: &Kind| snapshot.record(*kind, &name, None).is_some();
        let kinds: Vec<Kind> =
            [Kind::Agent, Kind::Workflow].into_iter().filter(|it| kind.is_empty() || kind_name(*it) == kind).collect();
        if kinds.is_empty() {
            let message = format!("`{kind}` is not a kind; there are Agent and Workflow");
            return Err(Diagnosis::new(Code::REQUEST_INVALID, message));
        }
        match kinds.iter().copied().filter(there).collect::<Vec<_>>().as_slice() {
            [kind] => Ok(Subject { kind: *kind, name }),
            [] => {
                let code = if kinds == [Kind::Workflow] { Code::UNKNOWN_WORKFLOW } else { Code::UNKNOWN_AGENT };
                let message = match kinds.as_slice() {
                    [kind] => format!("there is no {} {name}", kind_name(*kind).to_lowercase()),
                    _ => format!("there is neither an agent nor a workflow {name}"),
                };
                Err(Diagnosis::new(code, message)
                    .hint("`kapelle agent list` and `kapelle workflow list` show what is registered"))
            }
            _ => Err(Diagnosis::new(Code::REQUEST_INVALID, format!("there are an agent and a workflow {name}"))
                .hint("say which: --kind agent or --kind workflow")),
        }
    }

    async fn changed(
        &self,
        caller: Arc<Caller>,
        subject: Option<v1::ReleaseSubject>,
        note: Option<v1::ReleaseNote>,
        asked: Asked,
    ) -> Result<Response<v1::ReleaseResponse>, Status> {
        self.change(&caller, subject, note.unwrap_or_default(), asked).await.map(Response::new).map_err(|e| status(&e))
    }

    async fn change(
        &self,
        caller: &Caller,
        subject: Option<v1::ReleaseSubject>,
        note: v1::ReleaseNote,
        asked: Asked,
    ) -> Result<v1::ReleaseResponse, Diagnosis> {
        let v1::ReleaseNote { why, force, ignore_missing_workers, dry_run } = note;
        check_reason(&why)?;
        if force && why.is_empty() {
            let message = "whoever breaks registered workflows says why";
            return Err(Diagnosis::new(Code::REQUEST_INVALID, message).hint("say it with --why"));
        }
        let subject = self.subject(subject).await?;
        let by = caller.principal.clone();
        let wish = Wish { change: asked.change.clone(), by, why: why.clone(), force, ignore_missing_workers };
        let planned = self.releases.plan(&subject, &wish).await?;
        let outcome = if planned.unchanged { "unchanged" } else { "changed" };
        let mut behind = Vec::new();
        if !dry_run && !planned.unchanged {
            self.context.access.act(caller, act(&asked, &subject, why)).await?;
            // Decided to the end, also if the client leaves.
            let releases = self.releases.clone();
            let making = tokio::spawn(async move { releases.make(planned).await });
            let ended =
                |e| Diagnosis::new(Code::BROKER_UNAVAILABLE, format!("it is not known whether it is done: {e}"));
            behind = making.await.map_err(ended)??;
        }
        let release = Some(self.view(&subject).await);
        Ok(v1::ReleaseResponse { outcome: outcome.to_owned(), release, behind })
    }

    async fn view(&self, subject: &Subject) -> v1::ReleaseView {
        let overview = self.releases.overview(subject).await;
        let snapshot = self.context.catalog.snapshot();
        let release = snapshot.release(subject);
        let mut versions = snapshot.versions_of(subject);
        versions.reverse();
        let in_use = |it: &&Version| {
            standing(&snapshot, subject, it).is_none()
                && !agent_of(subject, it).is_some_and(|agent| snapshot.is_over(&agent))
        };
        let highest = versions.iter().find(in_use).cloned();
        let shown = versions.into_iter().map(|version| v1::ReleaseVersion {
            status: version_status(&snapshot, subject, &version, (highest.as_ref(), &overview)).to_owned(),
            open_runs: overview.open.get(&version).copied().unwrap_or(0),
            workers: overview.workers.get(&version).copied().unwrap_or(0),
            standing: standing(&snapshot, subject, &version).map(|it| standing_view(&it)),
            deprecation: agent_of(subject, &version).and_then(|it| deprecation_view(&snapshot, &it)),
            version: version.to_string(),
        });
        let versions = shown.collect();
        let standing = match release {
            Some(release) => self.rollouts.standing(subject, release).await,
            None => None,
        };
        v1::ReleaseView { versions, complete: overview.complete, ..view(subject, release, standing.as_ref()) }
    }
}

/// How a version stands. `highest` is the one that runs get where nothing is released.
fn version_status(
    snapshot: &Snapshot,
    subject: &Subject,
    version: &Version,
    (highest, overview): (Option<&Version>, &Overview),
) -> &'static str {
    let release = snapshot.release(subject);
    if let Some(standing) = standing(snapshot, subject, version) {
        return standing.status.as_str();
    }
    let open = overview.open.get(version).is_some_and(|runs| *runs > 0);
    match release {
        Some(release) if release.current == *version => "CURRENT",
        Some(release) if release.ramp.as_ref().is_some_and(|it| it.version == *version) => "RAMPING",
        None if highest == Some(version) => "CURRENT",
        _ if agent_of(subject, version).is_some_and(|it| snapshot.deprecation(&it).is_some()) => "DEPRECATED",
        _ if open => "DRAINING",
        // Whoever does not know all open runs does not say that there are none.
        Some(release) if release.before.contains(version) => {
            if overview.complete {
                "DRAINED"
            } else {
                "DRAINING"
            }
        }
        _ => "INACTIVE",
    }
}

fn standing(snapshot: &Snapshot, subject: &Subject, version: &Version) -> Option<kapelle_bus::registry::Standing> {
    snapshot.standing_of(&agent_of(subject, version)?).cloned()
}

/// The agent version that is meant, if it is one.
fn agent_of(subject: &Subject, version: &Version) -> Option<AgentVersion> {
    if subject.kind != Kind::Agent {
        return None;
    }
    Some(AgentVersion { name: subject.name.parse().ok()?, version: version.clone() })
}

fn view(subject: &Subject, release: Option<&Release>, standing: Option<&Standing>) -> v1::ReleaseView {
    let (kind, name) = (kind_name(subject.kind).to_owned(), subject.name.clone());
    let Some(release) = release else { return v1::ReleaseView { kind, name, ..v1::ReleaseView::default() } };
    v1::ReleaseView {
        kind,
        name,
        current: release.current.to_string(),
        ramping: release.ramp.as_ref().map(|it| it.version.to_string()).unwrap_or_default(),
        percentage: release.ramp.as_ref().map(|it| it.share.as_percent()).unwrap_or_default(),
        before: release.before.iter().map(ToString::to_string).collect(),
        by: release.by.to_string(),
        at_unix_nanos: release.at.nanos(),
        why: release.why.clone(),
        versions: Vec::new(),
        complete: false,
        rollout: rollout::view(release, standing),
    }
}

/// How the audit trail names a change.
fn act(asked: &Asked, subject: &Subject, reason: String) -> Act<'static> {
    let name = match &asked.change {
        Change::Current(version) => format!("{}@{version}", subject.name),
        Change::Ramping(version, share) => format!("{}@{version} to {} %", subject.name, share.as_percent()),
        Change::Rollout(version, rollout) => {
            let shares: Vec<String> = rollout.stages.iter().map(|it| it.share.as_percent().to_string()).collect();
            format!("{}@{version} to {} %", subject.name, shares.join(", "))
        }
        Change::Pause | Change::Resume | Change::Promote | Change::Rollback | Change::Clear => subject.name.clone(),
    };
    let what = AuditWhat { kind: kind_name(subject.kind).to_lowercase(), name, ..AuditWhat::default() };
    Act { verb: asked.verb, rpc: asked.rpc, owner: None, what, reason }
}

fn version(text: &str) -> Result<Version, Diagnosis> {
    text.parse().map_err(|e: kapelle_types::InvalidName| Diagnosis::new(Code::REQUEST_INVALID, e.to_string()))
}

/// The ramp that is asked for: one that people move, or one that goes on by itself.
fn ramp(wanted: &str, percentage: f64, plan: Option<v1::RolloutPlan>) -> Result<Change, Diagnosis> {
    let version = version(wanted)?;
    match plan {
        None => Ok(Change::Ramping(version, rollout::share(percentage)?)),
        Some(_) if percentage != 0.0 => {
            let message = "a rollout has its shares in its stages";
            Err(Diagnosis::new(Code::REQUEST_INVALID, message).hint("give either a percentage or stages"))
        }
        Some(plan) => Ok(Change::Rollout(version, rollout::begin(plan)?)),
    }
}

#[tonic::async_trait]
impl ReleaseService for ReleasesApi {
    async fn list(
        &self,
        _request: Request<v1::ListReleasesRequest>,
    ) -> Result<Response<v1::ListReleasesResponse>, Status> {
        let snapshot = self.context.catalog.snapshot();
        let releases =
            snapshot.releases().iter().map(|(subject, release)| view(subject, Some(release), None)).collect();
        Ok(Response::new(v1::ListReleasesResponse { releases }))
    }

    async fn get(&self, request: Request<v1::GetReleaseRequest>) -> Result<Response<v1::ReleaseView>, Status> {
        let subject = self.subject(request.into_inner().subject).await.map_err(|e| status(&e))?;
        Ok(Response::new(self.view(&subject).await))
    }

    async fn set_current(
        &self,
        request: Request<v1::SetCurrentRequest>,
    ) -> Result<Response<v1::ReleaseResponse>, Status> {
        let caller = caller(&request)?;
        let v1::SetCurrentRequest { subject, version: wanted, note } = request.into_inner();
        let change = Change::Current(version(&wanted).map_err(|e| status(&e))?);
        self.changed(caller, subject, note, Asked { verb: "release-current", rpc: rpc!("SetCurrent"), change }).await
    }

    async fn set_ramping(
        &self,
        request: Request<v1::SetRampingRequest>,
    ) -> Result<Response<v1::ReleaseResponse>, Status> {
        let caller = caller(&request)?;
        let v1::SetRampingRequest { subject, version: wanted, percentage, note, rollout } = request.into_inner();
        let change = ramp(&wanted, percentage, rollout).map_err(|e| status(&e))?;
        self.changed(caller, subject, note, Asked { verb: "release-ramping", rpc: rpc!("SetRamping"), change }).await
    }

    async fn pause(&self, request: Request<v1::PauseRolloutRequest>) -> Result<Response<v1::ReleaseResponse>, Status> {
        let caller = caller(&request)?;
        let v1::PauseRolloutRequest { subject, note } = request.into_inner();
        let asked = Asked { verb: "rollout-pause", rpc: rpc!("Pause"), change: Change::Pause };
        self.changed(caller, subject, note, asked).await
    }

    async fn resume(
        &self,
        request: Request<v1::ResumeRolloutRequest>,
    ) -> Result<Response<v1::ReleaseResponse>, Status> {
        let caller = caller(&request)?;
        let v1::ResumeRolloutRequest { subject, note } = request.into_inner();
        let asked = Asked { verb: "rollout-resume", rpc: rpc!("Resume"), change: Change::Resume };
        self.changed(caller, subject, note, asked).await
    }

    async fn promote(&self, request: Request<v1::PromoteRequest>) -> Result<Response<v1::ReleaseResponse>, Status> {
        let caller = caller(&request)?;
        let v1::PromoteRequest { subject, note } = request.into_inner();
        let asked = Asked { verb: "release-promote", rpc: rpc!("Promote"), change: Change::Promote };
        self.changed(caller, subject, note, asked).await
    }

    async fn rollback(&self, request: Request<v1::RollbackRequest>) -> Result<Response<v1::ReleaseResponse>, Status> {
        let caller = caller(&request)?;
        let v1::RollbackRequest { subject, note } = request.into_inner();
        let asked = Asked { verb: "release-rollback", rpc: rpc!("Rollback"), change: Change::Rollback };
        self.changed(caller, subject, note, asked).await
    }

    async fn clear(&self, request: Request<v1::ClearReleaseRequest>) -> Result<Response<v1::ReleaseResponse>, Status> {
        let caller = caller(&request)?;
        let v1::ClearReleaseRequest { subject, note } = request.into_inner();
        let asked = Asked { verb: "release-clear", rpc: rpc!("Clear"), change: Change::Clear };
        self.changed(caller, subject, note, asked).await
    }
}
