//! How agent versions stand, as clients see and change it: deprecated, stopped, retired, in use again.

use std::slice;
use std::sync::Arc;

use kapelle_bus::registry::{Deprecation, Standing, Status as Stands};
use kapelle_proto::v1;
use kapelle_telemetry::clock;
use kapelle_types::{AgentVersion, AuditWhat, Code, Diagnosis, Timestamp, Version, limits};
use tonic::{Request, Response, Status};

use super::Context;
use super::status::{caller, status};
use crate::access::Act;
use crate::catalog::Snapshot;
use crate::deprecate::then;
use crate::retire::Retirement;

pub(super) struct Standings {
    context: Arc<Context>,
}

impl Standings {
    pub(super) const fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Decides to the end, also if the client leaves.
    async fn decided<T, F>(&self, decide: impl FnOnce(Retirement) -> F) -> Result<T, Diagnosis>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Diagnosis>> + Send + 'static,
    {
        let deciding = tokio::spawn(decide(self.context.retirement.clone()));
        let ended = |e| Diagnosis::new(Code::AGENT_USE_UNKNOWN, format!("nobody decided: {e}")).hint("ask again");
        deciding.await.map_err(ended)?
    }

    /// The agent versions that are meant: one, or all of a name.
    async fn meant(&self, name: &str, version: &str) -> Result<Vec<AgentVersion>, Diagnosis> {
        let invalid = |e: kapelle_types::InvalidName| Diagnosis::new(Code::REQUEST_INVALID, e.to_string());
        let name = name.parse().map_err(invalid)?;
        let version = Some(version).filter(|it| !it.is_empty()).map(str::parse).transpose().map_err(invalid)?;
        self.context.retirement.meant(&name, version).await
    }

    pub(super) async fn retire(
        &self,
        request: Request<v1::RetireRequest>,
    ) -> Result<Response<v1::RetireResponse>, Status> {
        let caller = caller(&request)?;
        let v1::RetireRequest { agent, version, why } = request.into_inner();
        check_reason(&why).map_err(|e| status(&e))?;
        let agent = agent_version(&agent, &version).map_err(|e| status(&e))?;
        let act = act_on("retire", "kapelle.v1.RegistryService/Retire", slice::from_ref(&agent), why.clone());
        self.context.access.act(&caller, act).await.map_err(|e| status(&e))?;
        let by = caller.principal.clone();
        let (standing, existed) =
            self.decided(move |it| async move { it.retire(&agent, by, why).await }).await.map_err(|e| status(&e))?;
        Ok(Response::new(v1::RetireResponse { standing: Some(standing_view(&standing)), existed }))
    }

    pub(super) async fn suspend(
        &self,
        request: Request<v1::SuspendRequest>,
    ) -> Result<Response<v1::SuspendResponse>, Status> {
        let caller = caller(&request)?;
        let v1::SuspendRequest { agent, version, why, quarantine } = request.into_inner();
        check_reason(&why).map_err(|e| status(&e))?;
        let agents = self.meant(&agent, &version).await.map_err(|e| status(&e))?;
        let (verb, to) = if quarantine { ("quarantine", Stands::Quarantined) } else { ("suspend", Stands::Suspended) };
        let act = act_on(verb, "kapelle.v1.RegistryService/Suspend", &agents, why.clone());
        self.context.access.act(&caller, act).await.map_err(|e| status(&e))?;
        let by = caller.principal.clone();
        let stopped = self
            .decided(move |it| async move { it.stop(agents, to, (by, why)).await })
            .await
            .map_err(|e| status(&e))?;
        let agents = stopped.into_iter().map(|it| v1::StoppedAgent {
            version: it.agent.version.to_string(),
            standing: Some(standing_view(&it.standing)),
            existed: it.existed,
            in_flight: it.in_flight,
        });
        Ok(Response::new(v1::SuspendResponse { agents: agents.collect() }))
    }

    pub(super) async fn resume_agent(
        &self,
        request: Request<v1::ResumeAgentRequest>,
    ) -> Result<Response<v1::ResumeAgentResponse>, Status> {
        let caller = caller(&request)?;
        let v1::ResumeAgentRequest { agent, version } = request.into_inner();
        let agents = self.meant(&agent, &version).await.map_err(|e| status(&e))?;
        let act = act_on("resume", "kapelle.v1.RegistryService/ResumeAgent", &agents, String::new());
        self.context.access.act(&caller, act).await.map_err(|e| status(&e))?;
        let resumed = self.decided(move |it| async move { it.resume(agents).await }).await.map_err(|e| status(&e))?;
        let versions = resumed.iter().map(|it| it.version.to_string()).collect();
        Ok(Response::new(v1::ResumeAgentResponse { versions }))
    }

    pub(super) async fn reinstate(
        &self,
        request: Request<v1::ReinstateRequest>,
    ) -> Result<Response<v1::ReinstateResponse>, Status> {
        let caller = caller(&request)?;
        let v1::ReinstateRequest { agent, version } = request.into_inner();
        let agent = agent_version(&agent, &version).map_err(|e| status(&e))?;
        let act = act_on("reinstate", "kapelle.v1.RegistryService/Reinstate", slice::from_ref(&agent), String::new());
        self.context.access.act(&caller, act).await.map_err(|e| status(&e))?;
        let existed =
            self.decided(move |it| async move { it.reinstate(&agent).await }).await.map_err(|e| status(&e))?;
        Ok(Response::new(v1::ReinstateResponse { existed }))
    }

    pub(super) async fn deprecate(
        &self,
        request: Request<v1::DeprecateRequest>,
    ) -> Result<Response<v1::DeprecateResponse>, Status> {
        let caller = caller(&request)?;
        let v1::DeprecateRequest { agent, version, sunset_unix_nanos, successor, why } = request.into_inner();
        check_reason(&why).map_err(|e| status(&e))?;
        let agent = agent_version(&agent, &version).map_err(|e| status(&e))?;
        let successor = Some(successor).filter(|it| !it.is_empty()).map(|it| it.parse::<Version>()).transpose();
        let successor = successor.map_err(|e| status(&Diagnosis::new(Code::REQUEST_INVALID, e.to_string())))?;
        let sunset = Timestamp::from_nanos(sunset_unix_nanos);
        let reason = format!("sunset {}{}", sunset.rfc3339(), if why.is_empty() { "" } else { ": " }) + &why;
        let act = act_on("deprecate", "kapelle.v1.RegistryService/Deprecate", slice::from_ref(&agent), reason);
        self.context.access.act(&caller, act).await.map_err(|e| status(&e))?;
        let wanted = Deprecation { sunset, successor, by: caller.principal.clone(), at: clock::now(), why };
        let meant = agent.clone();
        let deprecated =
            self.decided(move |it| async move { it.deprecate(&meant, wanted).await }).await.map_err(|e| status(&e))?;
        let snapshot = self.context.catalog.snapshot();
        let dependants = deprecated.steps.iter().map(|loss| v1::Dependant {
            workflow: loss.used.workflow.to_string(),
            step: loss.used.step.to_string(),
            then: then(&snapshot, &agent, loss).map(|it| it.to_string()).unwrap_or_default(),
        });
        Ok(Response::new(v1::DeprecateResponse {
            dependants: dependants.collect(),
            deprecation: Some(deprecated_view(&deprecated.deprecation, false)),
            existed: deprecated.existed,
            open_runs: deprecated.open_runs,
        }))
    }

    pub(super) async fn undeprecate(
        &self,
        request: Request<v1::UndeprecateRequest>,
    ) -> Result<Response<v1::UndeprecateResponse>, Status> {
        let caller = caller(&request)?;
        let v1::UndeprecateRequest { agent, version } = request.into_inner();
        let agent = agent_version(&agent, &version).map_err(|e| status(&e))?;
        let act =
            act_on("undeprecate", "kapelle.v1.RegistryService/Undeprecate", slice::from_ref(&agent), String::new());
        self.context.access.act(&caller, act).await.map_err(|e| status(&e))?;
        let existed =
            self.decided(move |it| async move { it.undeprecate(&agent).await }).await.map_err(|e| status(&e))?;
        Ok(Response::new(v1::UndeprecateResponse { existed }))
    }

    pub(super) async fn get_certificate(
        &self,
        request: Request<v1::GetCertificateRequest>,
    ) -> Result<Response<v1::Certificate>, Status> {
        let v1::GetCertificateRequest { agent, version } = request.into_inner();
        let agent = agent_version(&agent, &version).map_err(|e| status(&e))?;
        let standing = self.context.retirement.seen(&agent).await.map_err(|e| status(&e))?.standing;
        let jws = standing.and_then(|it| it.certificate).ok_or_else(|| {
            let message =
                format!("{agent} has no certificate: it is not retired, or was before there were certificates");
            status(
                &Diagnosis::new(Code::WRONG_STATE, message).hint(format!("`kapelle agent retire {agent}` makes one")),
            )
        })?;
        Ok(Response::new(v1::Certificate { jws }))
    }

    pub(super) async fn get_certificate_key(&self) -> Result<Response<v1::CertificateKey>, Status> {
        let signer = self.context.retirement.signer().await.map_err(|e| status(&e))?;
        Ok(Response::new(v1::CertificateKey { jwk: signer.public() }))
    }
}

/// How the audit trail names what becomes of versions.
fn act_on(verb: &'static str, rpc: &'static str, agents: &[AgentVersion], reason: String) -> Act<'static> {
    let name = agents.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let what = AuditWhat { kind: "agent".into(), name, ..AuditWhat::default() };
    Act { verb, rpc, owner: None, what, reason }
}

pub(super) fn check_reason(text: &str) -> Result<(), Diagnosis> {
    if text.chars().count() > limits::REASON_CHARS_MAX {
        let message = format!("a reason has {} characters at most", limits::REASON_CHARS_MAX);
        return Err(Diagnosis::new(Code::REQUEST_INVALID, message));
    }
    Ok(())
}

fn agent_version(name: &str, version: &str) -> Result<AgentVersion, Diagnosis> {
    let invalid = |e: kapelle_types::InvalidName| Diagnosis::new(Code::REQUEST_INVALID, e.to_string());
    Ok(AgentVersion { name: name.parse().map_err(invalid)?, version: version.parse().map_err(invalid)? })
}

pub(super) fn standing_view(standing: &Standing) -> v1::StandingView {
    let Standing { status, by, at, why, certificate: _ } = standing.clone();
    v1::StandingView { status: status.as_str().to_owned(), by: by.0, at_unix_nanos: at.nanos(), why }
}

/// Until when an agent version is used, if that is said.
pub(super) fn deprecation_view(snapshot: &Snapshot, agent: &AgentVersion) -> Option<v1::DeprecationView> {
    snapshot.deprecation(agent).map(|it| deprecated_view(it, snapshot.is_over(agent)))
}

fn deprecated_view(deprecation: &Deprecation, over: bool) -> v1::DeprecationView {
    let Deprecation { sunset, successor, by, at, why } = deprecation.clone();
    v1::DeprecationView {
        sunset_unix_nanos: sunset.nanos(),
        successor: successor.map(|it| it.to_string()).unwrap_or_default(),
        by: by.0,
        at_unix_nanos: at.nanos(),
        why,
        over,
    }
}
