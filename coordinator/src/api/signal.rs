//! `Signal`: what somebody outside tells a run. It is answered when the log has it and it is known what the run made of it, so
//! that a late one or a repeated one gets an answer too. An update (`update.rs`) is told in the same way.

use std::sync::Arc;

use kapelle_engine::{Body, Ignored, Run, SignalReceived, apply};
use kapelle_proto::v1;
use kapelle_types::{Caller, Code, Diagnosis, Payload, RunId, SignalName, limits};
use serde_json::Value;
use uuid::Uuid;

use super::steer::record;
use super::{Context, undeclared};
use crate::access::{Act, SIGNAL, UPDATE, run_named};
use crate::runs::{Rebuilt, rebuild, rebuild_to};

/// How a run is told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// That it has it is all that is asked.
    Signal,
    /// There is an answer to it.
    Update,
}

impl Manner {
    const fn rpc(self) -> &'static str {
        match self {
            Self::Signal => SIGNAL,
            Self::Update => UPDATE,
        }
    }

    const fn verb(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Update => "update",
        }
    }
}

/// Records a signal and says what became of it.
///
/// # Errors
/// `UNKNOWN_RUN`, `UNKNOWN_SIGNAL`, `SIGNAL_INVALID`, `NO_ANSWER`, `WRONG_STATE`, `TOO_MANY_SIGNALS`, `DENIED`, `NOT_RECORDED`.
pub(super) async fn signal(
    context: &Context,
    run: RunId,
    caller: &Caller,
    (manner, request): (Manner, v1::SignalRequest),
) -> Result<v1::SignalResponse, Diagnosis> {
    let rebuilt = rebuild(&context.bus, &context.plans, run).await?;
    let owner = rebuilt.run.submitted_by().cloned().unwrap_or_default();
    let rpc = manner.rpc();
    context.access.on_run(caller, rpc, &owner, &run_named(run, ""))?;
    let received = received(&rebuilt.run, &request)?;
    let name = received.name.clone();
    if manner == Manner::Update && !rebuilt.run.plan().answers.contains_key(&name) {
        let message = format!("{} declares no answer to the signal `{name}`", rebuilt.run.plan().workflow);
        let hint =
            format!("`kapelle run signal` tells it; `answer` beside `spec.signals.{name}.schema` makes it an update");
        return Err(Diagnosis::new(Code::NO_ANSWER, message).hint(hint));
    }
    // What a client calls its signal never meets an id of our own.
    let id = match request.id.as_str() {
        "" => Uuid::now_v7().to_string(),
        id => format!("signal/{name}/{id}"),
    };
    if let Some(seq) = recorded(&rebuilt, &id) {
        return Ok(v1::SignalResponse { seq, duplicate: true });
    }
    if rebuilt.run.is_finished() {
        return Err(ended(&rebuilt.run));
    }
    let (verb, what) = (manner.verb(), run_named(run, name.to_string()));
    context.access.act(caller, Act { verb, rpc, owner: Some(&owner), what, reason: String::new() }).await?;
    let seq = record(context, run, caller.principal.clone(), (id, Body::SignalReceived(received))).await?;
    outcome(rebuild_to(&context.bus, &context.plans, run, seq).await?, seq)
}

/// The signal that a request is, if the run's workflow takes it.
fn received(run: &Run, request: &v1::SignalRequest) -> Result<SignalReceived, Diagnosis> {
    let invalid = |e: kapelle_types::InvalidName| Diagnosis::new(Code::REQUEST_INVALID, e.to_string());
    let name: SignalName = request.name.parse().map_err(invalid)?;
    let payload = payload(&request.payload)?;
    let plan = run.plan();
    let Some(violation) = plan.signal_violation(&name, &payload) else {
        let declared = plan.signals.keys().map(SignalName::as_str);
        return Err(undeclared(
            Code::UNKNOWN_SIGNAL,
            &plan.workflow,
            ("signal", "spec.signals", name.as_str()),
            declared,
        ));
    };
    match violation {
        None => Ok(SignalReceived { name, payload }),
        Some(how) => {
            let message =
                format!("the signal `{name}` breaks the contract that {} declares for it: {how}", plan.workflow);
            let hint = format!("`kapelle workflow describe {}` shows the contract", plan.workflow.name);
            Err(Diagnosis::new(Code::SIGNAL_INVALID, message).hint(hint))
        }
    }
}

/// What a signal says.
pub(super) fn payload(bytes: &[u8]) -> Result<Payload, Diagnosis> {
    if bytes.len() > limits::PAYLOAD_INLINE_BYTES_MAX {
        let most = limits::PAYLOAD_INLINE_BYTES_MAX / 1024;
        let message = format!("a signal carries at most {most} KiB, this one has {} bytes", bytes.len());
        let hint = "put the data where the agents can read it and send its address";
        return Err(Diagnosis::new(Code::PAYLOAD_TOO_LARGE, message).hint(hint));
    }
    if bytes.is_empty() {
        return Ok(Payload::null());
    }
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|e| Diagnosis::new(Code::INPUT_SYNTAX, format!("the signal's payload is not JSON: {e}")))?;
    Ok(Payload { value: Some(Arc::new(value)), stored: None })
}

/// Where the log has an entry of this id.
pub(super) fn recorded(rebuilt: &Rebuilt, id: &str) -> Option<u64> {
    let has = |record: &&kapelle_engine::Record| record.entries.iter().any(|entry| entry.id == id);
    rebuilt.records.iter().find(has).map(|record| record.stamp.seq)
}

/// The run just after the entry at this sequence, and why it ignored that entry, if it did.
pub(super) fn made_of(rebuilt: &Rebuilt, seq: u64) -> (Run, Option<Ignored>) {
    let mut run = rebuilt.run.before_its_log();
    let mut ignored = None;
    for record in rebuilt.records.iter().take_while(|record| record.stamp.seq <= seq) {
        for entry in &record.entries {
            ignored = apply(&mut run, entry, record.channel, record.stamp).ignored;
        }
    }
    (run, ignored)
}

/// What the run made of the entry at this sequence.
fn outcome(rebuilt: Rebuilt, seq: u64) -> Result<v1::SignalResponse, Diagnosis> {
    let (run, ignored) = made_of(&rebuilt, seq);
    let wrong =
        |why: &str| Diagnosis::new(Code::WRONG_STATE, format!("run {} did not take the signal: {why}", run.id()));
    match ignored {
        None => Ok(v1::SignalResponse { seq, duplicate: false }),
        Some(Ignored::Duplicate) => Ok(v1::SignalResponse { seq, duplicate: true }),
        Some(Ignored::RunFinished) => Err(ended(&rebuilt.run)),
        Some(Ignored::TooManySignals) => {
            let most = limits::SIGNALS_KEPT_MAX;
            let message = format!("run {} keeps {most} signals that nobody has taken yet", run.id());
            let hint = format!("see what it waits for: `kapelle run describe {}`", run.id());
            Err(Diagnosis::new(Code::TOO_MANY_SIGNALS, message).hint(hint))
        }
        Some(other) => Err(wrong(other.name())),
    }
}

fn ended(run: &Run) -> Diagnosis {
    let message = format!("run {} is {}: it takes no signals any more", run.id(), run.status().name());
    Diagnosis::new(Code::WRONG_STATE, message).hint(format!("see `kapelle run describe {}`", run.id()))
}
