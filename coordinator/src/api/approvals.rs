//! `ApprovalService`: what waits for people, and what they say to it.
//!
//! A decision is refused here with a reason that people understand, and once more by the run itself, which has the last
//! word: what the log has first counts. Every refusal and every decision is on record.

mod alike;
mod delegations;
mod words;

use std::sync::Arc;

use kapelle_engine::{ApprovalDecided, Body, Decider, Ignored, Run, Verdict};
use kapelle_proto::v1::{self, approval_service_server::ApprovalService};
use kapelle_telemetry::clock;
use kapelle_types::{Caller, Code, Diagnosis, Payload, RunId, Sha256, StepRef, Timestamp, limits};
use serde_json::Value;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::signal::{made_of, recorded};
use super::status::{caller, run_id, status};
use super::steer::record;
use super::{Context, visible};
use crate::access::{Act, run_named};
use crate::approvals::{in_place_of, quality, question};
use crate::listing::{Query, list_all};
use crate::runs::{rebuild, rebuild_to};
use words::{not_held, told, unseen, view};

/// Runs that one listing looks at, unless it says otherwise.
const LISTED_DEFAULT: usize = 100;
/// Runs that one listing looks at: each may have to be rebuilt.
const LISTED_MAX: usize = 1_000;
const GET: &str = "kapelle.v1.ApprovalService/Get";
const DECIDE: &str = "kapelle.v1.ApprovalService/Decide";
const OVERRIDE: &str = "kapelle.v1.ApprovalService/Override";

pub(super) struct Approvals {
    context: Arc<Context>,
}

impl Approvals {
    pub(super) const fn new(context: Arc<Context>) -> Self {
        Self { context }
    }
}

/// What somebody says about a step.
struct Said {
    run: RunId,
    step: StepRef,
    digest: Sha256,
    verdict: Verdict,
    comment: String,
    id: String,
}

#[tonic::async_trait]
impl ApprovalService for Approvals {
    async fn list(
        &self,
        request: Request<v1::ListApprovalsRequest>,
    ) -> Result<Response<v1::ListApprovalsResponse>, Status> {
        let limit = match request.into_inner().limit {
            0 => LISTED_DEFAULT,
            limit => (limit as usize).min(LISTED_MAX),
        };
        let Context { bus, id, served, plans, .. } = &*self.context;
        let peers = self.context.peers.borrow().clone();
        let query = Query { held: true, limit, ..Query::default() };
        let answer = list_all(bus, id, served, &peers, &query).await;
        let more = answer.total > answer.rows.len() as u64;
        let mut approvals = Vec::new();
        for row in answer.rows {
            let rebuilt = rebuild(bus, plans, row.run).await.map_err(|e| status(&e))?;
            approvals.extend(rebuilt.run.held().filter(|held| !held.decided).map(|held| {
                let shown = view(&rebuilt.run, &held);
                v1::ApprovalView { arguments: bytes::Bytes::new(), ..shown }
            }));
        }
        Ok(Response::new(v1::ListApprovalsResponse { approvals, more }))
    }

    async fn get(&self, request: Request<v1::GetApprovalRequest>) -> Result<Response<v1::ApprovalView>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let asked = async {
            let Context { bus, plans, access, catalog, approvals, .. } = &*self.context;
            let (run, step) = (run_id(&request.run_id)?, step(&request.step)?);
            let rebuilt = rebuild(bus, plans, run).await?;
            let held = rebuilt.run.held().find(|held| held.step == step);
            let held = held.ok_or_else(|| not_held(&rebuilt.run, &step))?;
            let mut view = view(&rebuilt.run, &held);
            access.opened(&caller, GET, run_named(run, &step), &view.digest).await?;
            let snapshot = catalog.snapshot();
            crate::approvals::fill(&mut view, (&rebuilt, &held), &snapshot, (approvals, plans, bus)).await;
            Ok(view)
        };
        let view = asked.await.map_err(|e| status(&e))?;
        Ok(Response::new(visible::approval(view, &self.context.access, &caller)))
    }

    async fn decide(
        &self,
        request: Request<v1::DecideApprovalRequest>,
    ) -> Result<Response<v1::DecideApprovalResponse>, Status> {
        let caller = caller(&request)?;
        let answer = match said(request.into_inner()) {
            Ok(said) => decide(&self.context, &caller, DECIDE, said).await,
            Err(refused) => Err(refused),
        };
        answer.map(Response::new).map_err(|e| status(&e))
    }

    async fn r#override(
        &self,
        request: Request<v1::OverrideApprovalRequest>,
    ) -> Result<Response<v1::DecideApprovalResponse>, Status> {
        let caller = caller(&request)?;
        let v1::OverrideApprovalRequest { run_id, step, digest, comment } = request.into_inner();
        let request = v1::DecideApprovalRequest { run_id, step, digest, comment, ..Default::default() };
        let said = addressed(request, Verdict::Override).and_then(|said| {
            let silent = said.comment.trim().is_empty();
            if silent { Err(invalid("an override says why, in `comment`")) } else { Ok(said) }
        });
        let answer = match said {
            Ok(said) => decide(&self.context, &caller, OVERRIDE, said).await,
            Err(refused) => Err(refused),
        };
        answer.map(Response::new).map_err(|e| status(&e))
    }

    async fn delegate(&self, request: Request<v1::DelegateRequest>) -> Result<Response<v1::DelegationView>, Status> {
        let caller = caller(&request)?;
        let answer = delegations::give(&self.context, &caller, request.into_inner()).await;
        answer.map(Response::new).map_err(|e| status(&e))
    }

    async fn list_delegations(
        &self,
        _: Request<v1::ListDelegationsRequest>,
    ) -> Result<Response<v1::ListDelegationsResponse>, Status> {
        let delegations = delegations::list(&self.context).await.map_err(|e| status(&e))?;
        Ok(Response::new(v1::ListDelegationsResponse { delegations }))
    }

    async fn alike(&self, request: Request<v1::AlikeRequest>) -> Result<Response<v1::AlikeResponse>, Status> {
        let caller = caller(&request)?;
        let answer = alike::find(&self.context, &caller, request.into_inner()).await;
        answer.map(Response::new).map_err(|e| status(&e))
    }

    async fn stats(&self, request: Request<v1::ApprovalStatsRequest>) -> Result<Response<v1::ApprovalStats>, Status> {
        let v1::ApprovalStatsRequest { since_unix_nanos, workflow } = request.into_inner();
        let Context { bus, id, served, plans, .. } = &*self.context;
        let peers = self.context.peers.borrow().clone();
        let query = Query { held: true, limit: LISTED_MAX, ..Query::default() };
        let held = list_all(bus, id, served, &peers, &query).await.rows.into_iter().map(|row| row.run).collect();
        let of = (workflow.as_str(), Timestamp::from_nanos(since_unix_nanos));
        let stats = quality(bus, plans, of, held).await.map_err(|e| status(&unavailable(&e)))?;
        Ok(Response::new(stats))
    }

    async fn end_delegation(
        &self,
        request: Request<v1::EndDelegationRequest>,
    ) -> Result<Response<v1::EndDelegationResponse>, Status> {
        let caller = caller(&request)?;
        delegations::end(&self.context, &caller, &request.into_inner().to).await.map_err(|e| status(&e))?;
        Ok(Response::new(v1::EndDelegationResponse {}))
    }
}

/// Records what a person says and tells what the run made of it.
async fn decide(
    context: &Context,
    caller: &Caller,
    rpc: &'static str,
    said: Said,
) -> Result<v1::DecideApprovalResponse, Diagnosis> {
    let (run, step) = (said.run, said.step.clone());
    let what = run_named(run, &step);
    let refused = |diagnosis: Diagnosis| {
        context.access.refused_on(caller, rpc, &what, &diagnosis);
        diagnosis
    };
    let rebuilt = rebuild(&context.bus, &context.plans, run).await?;
    if recorded(&rebuilt, &said.id).is_some() {
        return Err(refused(told(Ignored::Duplicate, &rebuilt.run, &step)));
    }
    let by = decider(context, caller).map_err(refused)?;
    let decided = ApprovalDecided {
        step: step.clone(),
        digest: said.digest,
        verdict: said.verdict,
        comment: said.comment.clone(),
        by,
    };
    let decided = as_whom(context, &rebuilt.run, decided, rpc).await?;
    if !matches!(decided.verdict, Verdict::Reject | Verdict::Undo) && !context.access.sees(caller, None) {
        return Err(refused(unseen(&decided.by.person, &step.to_string())));
    }
    if let Some(why) = rebuilt.run.would_ignore(&decided, clock::now()) {
        return Err(refused(told(why, &rebuilt.run, &step)));
    }
    let verb = match decided.verdict {
        Verdict::Approve => "approve",
        Verdict::Reject => "reject",
        Verdict::Edit(_) => "edit-approve",
        Verdict::Override => "override-approval",
        Verdict::Undo => "undo-approval",
    };
    let reason = format!("digest {}: {}", said.digest, said.comment);
    context.access.act(caller, Act { verb, rpc, owner: None, what: what.clone(), reason }).await?;
    written_down(context, &rebuilt.run, &step).await?;
    let body = Body::ApprovalDecided(Box::new(decided));
    let seq = record(context, run, caller.principal.clone(), (said.id, body)).await?;
    let rebuilt = rebuild_to(&context.bus, &context.plans, run, seq).await?;
    let (then, ignored) = made_of(&rebuilt, seq);
    if let Some(why) = ignored {
        return Err(refused(told(why, &then, &step)));
    }
    let outcome = match then.held().find(|held| held.step == step) {
        Some(held) if held.decided => "decided",
        Some(_) => "waiting",
        None => "rejected",
    };
    Ok(v1::DecideApprovalResponse { seq, outcome: outcome.to_owned() })
}

/// What somebody says as themselves or, if it takes a group that they are not in, in the place of who let them.
async fn as_whom(
    context: &Context,
    run: &Run,
    decided: ApprovalDecided,
    rpc: &str,
) -> Result<ApprovalDecided, Diagnosis> {
    let now = clock::now();
    if decided.verdict == Verdict::Override || run.would_ignore(&decided, now) != Some(Ignored::NotInGroup) {
        return Ok(decided);
    }
    let others = in_place_of(&context.approvals, &context.access, rpc, &decided.by).await;
    let mut said = decided;
    for by in others.map_err(|e| unavailable(&e))? {
        let other = ApprovalDecided { by, ..said.clone() };
        match run.would_ignore(&other, now) {
            None => return Ok(other),
            Some(Ignored::NotInGroup) => {}
            // It tells more than that they are in no group.
            Some(_) => said = other,
        }
    }
    Ok(said)
}

/// Has it written down that this is asked, if nobody has yet: who is told of what is asked is told how it ends too.
async fn written_down(context: &Context, run: &Run, step: &StepRef) -> Result<(), Diagnosis> {
    let Some(held) = run.held().find(|held| held.step == *step) else { return Ok(()) };
    let there = context.approvals.question(run.id(), step).await.map_err(|e| unavailable(&e))?;
    if there.is_some_and(|it| it.asked_at == held.asked_at) {
        return Ok(());
    }
    context.approvals.ask(&question(run, &held)).await.map_err(|e| unavailable(&e))
}

fn unavailable(error: &kapelle_bus::Error) -> Diagnosis {
    Diagnosis::new(Code::BROKER_UNAVAILABLE, error.to_string()).hint("try again; nothing was changed")
}

fn nobody(caller: &Caller) -> Diagnosis {
    let message = format!("{} is no person whom an issuer vouches for, so it can decide nothing", caller.principal);
    Diagnosis::new(Code::NO_PERSON, message)
        .hint("sign in at your identity provider; API tokens and services approve nothing")
}

/// The person behind a caller, with what makes them one who may decide.
fn decider(context: &Context, caller: &Caller) -> Result<Decider, Diagnosis> {
    let person = context.access.person(caller).ok_or_else(|| nobody(caller))?;
    let groups = caller.groups.iter().cloned().collect();
    Ok(Decider { person, groups, policies: context.access.policies()?, in_place_of: String::new() })
}

fn said(request: v1::DecideApprovalRequest) -> Result<Said, Diagnosis> {
    let verdict = match request.decision.as_str() {
        "approve" => Verdict::Approve,
        "reject" => Verdict::Reject,
        "edit" => Verdict::Edit(arguments(&request.arguments)?),
        "undo" => Verdict::Undo,
        other => return Err(invalid(&format!("`{other}` is no decision: say `approve`, `reject`, `edit` or `undo`"))),
    };
    addressed(request, verdict)
}

fn addressed(request: v1::DecideApprovalRequest, verdict: Verdict) -> Result<Said, Diagnosis> {
    if request.comment.chars().count() > limits::REASON_CHARS_MAX {
        return Err(invalid(&format!("a comment has {} characters at most", limits::REASON_CHARS_MAX)));
    }
    let (run, step) = (run_id(&request.run_id)?, step(&request.step)?);
    let digest = Sha256::parse(&request.digest).ok_or_else(|| {
        invalid("`digest` is what was shown: 64 hexadecimal digits").hint("`kapelle approval show` shows it")
    })?;
    let id = match request.id.as_str() {
        "" => Uuid::now_v7().to_string(),
        id => format!("approval/{step}/{id}"),
    };
    Ok(Said { run, step, digest, verdict, comment: request.comment, id })
}

fn arguments(bytes: &[u8]) -> Result<Payload, Diagnosis> {
    if bytes.len() > limits::PAYLOAD_INLINE_BYTES_MAX {
        let message = format!("edited arguments have {} bytes at most", limits::PAYLOAD_INLINE_BYTES_MAX);
        return Err(Diagnosis::new(Code::PAYLOAD_TOO_LARGE, message));
    }
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|e| Diagnosis::new(Code::INPUT_SYNTAX, format!("the edited arguments are not JSON: {e}")))?;
    Ok(value.into())
}

fn step(text: &str) -> Result<StepRef, Diagnosis> {
    text.parse().map_err(|e: kapelle_types::InvalidName| invalid(&e.to_string()))
}

fn invalid(message: &str) -> Diagnosis {
    Diagnosis::new(Code::REQUEST_INVALID, message)
}
