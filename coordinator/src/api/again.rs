//! Restart and fork: a new run from an old one.
//!
//! Whoever starts a run again needs what starting one needs, and the right to do it to this very run. They need not be
//! allowed to see its input: nobody shows it to them, and the new run belongs to whom the old one belonged.

use kapelle_types::{AuditWhat, Caller, Diagnosis};

use super::Context;
use crate::access::{Act, FORK, RESTART, SUBMIT, run_named};
use crate::runs::Rebuilt;
use crate::submit::{Again, Fork, Submitted, count_refusal};

/// How a run is started again.
pub(super) struct Anew {
    /// Where a fork begins.
    pub(super) fork: Option<Fork>,
    /// The versions that a job would get now.
    pub(super) latest: bool,
    /// One key, one run.
    pub(super) key: Option<String>,
    /// The trace that it is part of.
    pub(super) traceparent: Option<String>,
    /// The operation on many runs that it is a part of, for the audit trail; empty if it stands alone.
    pub(super) part_of: String,
}

/// Starts a run again and says which run that is.
pub(super) async fn again(
    context: &Context,
    caller: &Caller,
    old: &Rebuilt,
    anew: Anew,
) -> Result<Submitted, Diagnosis> {
    let Anew { fork, latest, key, traceparent, part_of } = anew;
    let (verb, rpc) = if fork.is_some() { ("fork", FORK) } else { ("restart", RESTART) };
    let owner = old.run.submitted_by().cloned().unwrap_or_default();
    let what: AuditWhat = run_named(old.run.id(), fork.as_ref().map(|it| it.from.to_string()).unwrap_or_default());
    context.access.on_run(caller, rpc, &owner, &what)?;
    context.access.call(caller, SUBMIT)?;
    let sees = context.access.sees(caller, Some(&owner));
    let wanted = Again { old, fork, latest, key, caller, sees, traceparent };
    let prepared = context.submitter.prepare_again(wanted, &context.plans).await.inspect_err(count_refusal)?;
    let reason = format!("as run {}{part_of}", prepared.run);
    context.access.act(caller, Act { verb, rpc, owner: Some(&owner), what, reason }).await?;
    context.submitter.record(prepared).await.inspect_err(count_refusal)
}
