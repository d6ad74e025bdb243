//! Cancel, terminate, pause, resume, retry: each is an entry on the run's control subject, if its state allows it.

use kapelle_engine::{Body, Channel, Entry, Run, RunStatus};
use kapelle_proto::encode_record;
use kapelle_types::{AuditWhat, Caller, Code, Diagnosis, Principal, RunId};
use uuid::Uuid;

use super::Context;
use crate::access::{Act, CANCEL, run_named};
use crate::runs::rebuild;

/// Records a request on a run and says at which sequence. The gate has judged the call; whether it may be made on this very
/// run is judged here, where its owner is known.
pub(super) async fn steer(context: &Context, run: RunId, caller: &Caller, body: Body) -> Result<u64, Diagnosis> {
    let rebuilt = rebuild(&context.bus, &context.plans, run).await?;
    steer_as(context, &rebuilt.run, caller, Wish { id: Uuid::now_v7().to_string(), body, part_of: "" }).await
}

/// What is asked of a run.
pub(super) struct Wish<'w> {
    /// Tells the same wish, said twice, from two.
    pub(super) id: String,
    /// What it is.
    pub(super) body: Body,
    /// The operation on many runs that it is a part of, for the audit trail; empty if it stands alone.
    pub(super) part_of: &'w str,
}

/// As [`steer`], on a run that was read just now and under a given id.
pub(super) async fn steer_as(context: &Context, run: &Run, caller: &Caller, wish: Wish<'_>) -> Result<u64, Diagnosis> {
    let Wish { id, body, part_of } = wish;
    let owner = run.submitted_by().cloned().unwrap_or_default();
    let owner = matches!(body, Body::CancelRequested { .. }).then_some(&owner);
    if let Some(owner) = owner {
        context.access.on_run(caller, CANCEL, owner, &run_named(run.id(), ""))?;
    }
    allowed(run, &body)?;
    let (verb, rpc, what, reason) = told(run.id(), &body);
    let reason = format!("{reason}{part_of}");
    context.access.act(caller, Act { verb, rpc, owner, what, reason }).await?;
    record(context, run.id(), caller.principal.clone(), (id, body)).await
}

/// How the audit trail names a request: its verb, its call, what it is about, why.
fn told(run: RunId, body: &Body) -> (&'static str, &'static str, AuditWhat, String) {
    let (verb, rpc, reason) = match body {
        Body::CancelRequested { reason } => ("cancel", CANCEL, reason.as_str()),
        Body::TerminateRequested { reason } => ("terminate", "kapelle.v1.RunService/Terminate", reason.as_str()),
        Body::PauseRequested { reason } => ("pause", "kapelle.v1.RunService/Pause", reason.as_str()),
        Body::ResumeRequested => ("resume", "kapelle.v1.RunService/Resume", ""),
        Body::FailRequested { reason } => ("discard", "kapelle.v1.DeadLetterService/Discard", reason.as_str()),
        _ => ("retry", "kapelle.v1.RunService/Retry", ""),
    };
    let steps: Vec<_> = match body {
        Body::RetryRequested { steps } => steps.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    (verb, rpc, run_named(run, steps.join(" ")), reason.to_owned())
}

/// Whether the run's state allows the request. The log has the last word: a request that comes too late is ignored there.
pub(super) fn allowed(run: &Run, body: &Body) -> Result<(), Diagnosis> {
    let status = run.status();
    let why = match body {
        _ if run.is_finished() => "it has ended",
        Body::RetryRequested { .. } | Body::FailRequested { .. } if status != RunStatus::Stalled => "it is not STALLED",
        Body::RetryRequested { .. } if run.is_halted() => "it can only be ended",
        Body::ResumeRequested if status != RunStatus::Paused => "it is not PAUSED",
        Body::PauseRequested { .. } if status == RunStatus::Paused => "it is PAUSED already",
        Body::CancelRequested { .. } | Body::PauseRequested { .. } if run.closing().is_some() => {
            "it is to end, and does its last steps"
        }
        _ => return Ok(()),
    };
    let message = format!("run {} is {}: {why}", run.id(), status.name());
    Err(Diagnosis::new(Code::WRONG_STATE, message).hint(format!("see `kapelle run describe {}`", run.id())))
}

/// Appends a request to a run's control subject.
pub(super) async fn record(
    context: &Context,
    run: RunId,
    principal: Principal,
    (id, body): (String, Body),
) -> Result<u64, Diagnosis> {
    record_all(context, run, &[Entry { id, principal, traceparent: None, body }]).await
}

/// The same for many, all of them or none.
pub(super) async fn record_all(context: &Context, run: RunId, requests: &[Entry]) -> Result<u64, Diagnosis> {
    let policy =
        kapelle_retry::Policy { total: Some(std::time::Duration::from_secs(10)), ..kapelle_retry::Policy::default() };
    // Recording them twice is harmless: an entry's id tells that it is the same.
    let record = encode_record(requests);
    let append = |_| context.bus.append_now(run, Channel::Control, record.clone());
    let again = |e: &kapelle_bus::Error| {
        if e.is_transient() { kapelle_retry::Verdict::Retry } else { kapelle_retry::Verdict::Stop }
    };
    kapelle_retry::retry(&policy, again, append).await.map_err(|gave_up| {
        let message = format!("the request on run {run} is not known to be recorded: {}", gave_up.error);
        Diagnosis::new(Code::NOT_RECORDED, message).hint("repeat it; doing it twice is harmless")
    })
}
