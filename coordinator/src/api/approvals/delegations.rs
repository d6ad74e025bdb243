//! Letting somebody decide in one's place, and taking it back. A person does that for themselves alone, and it is on record
//! before it is done.

use kapelle_bus::approvals::Delegation;
use kapelle_proto::v1;
use kapelle_telemetry::clock;
use kapelle_types::{AuditWhat, Caller, Code, Diagnosis, Timestamp, duration, limits};

use super::{nobody, unavailable};
use crate::access::Act;
use crate::api::Context;
use crate::identity::spelled;

const DELEGATE: &str = "kapelle.v1.ApprovalService/Delegate";
const END: &str = "kapelle.v1.ApprovalService/EndDelegation";

/// Lets somebody decide in the caller's place.
pub(super) async fn give(
    context: &Context,
    caller: &Caller,
    request: v1::DelegateRequest,
) -> Result<v1::DelegationView, Diagnosis> {
    let from = context.access.person(caller).ok_or_else(|| nobody(caller))?;
    let now = clock::now();
    let wanted = wanted(caller, &from, request, now)?;
    let there = context.approvals.delegations().await.map_err(|e| unavailable(&e))?;
    let others = there.iter().filter(|it| it.from == from && it.to != wanted.to && now < it.until).count();
    if others >= limits::DELEGATIONS_MAX {
        let message = format!("{} persons decide in your place already", limits::DELEGATIONS_MAX);
        return Err(invalid(message).hint("take one back with `kapelle approval undelegate`"));
    }
    let reason = format!("{} until {}", wanted.groups.join(", "), wanted.until.rfc3339());
    let act = Act { verb: "delegate", rpc: DELEGATE, owner: None, what: named(&wanted.to), reason };
    context.access.act(caller, act).await?;
    context.approvals.delegate(&wanted).await.map_err(|e| unavailable(&e))?;
    Ok(view(&wanted))
}

/// Takes it back. What they agreed to and is not used yet counts no more.
pub(super) async fn end(context: &Context, caller: &Caller, to: &str) -> Result<(), Diagnosis> {
    let (from, to) = (context.access.person(caller).ok_or_else(|| nobody(caller))?, spelled(to));
    if context.approvals.delegation(&from, &to).await.map_err(|e| unavailable(&e))?.is_none() {
        let message = format!("{to} does not decide in your place");
        return Err(Diagnosis::new(Code::UNKNOWN_DELEGATION, message)
            .hint("`kapelle approval delegations` shows who decides in whose place"));
    }
    let act = Act { verb: "end-delegation", rpc: END, owner: None, what: named(&to), reason: String::new() };
    context.access.act(caller, act).await?;
    context.approvals.end_delegation(&from, &to).await.map_err(|e| unavailable(&e))
}

/// Everything that stands now.
pub(super) async fn list(context: &Context) -> Result<Vec<v1::DelegationView>, Diagnosis> {
    let now = clock::now();
    let mut all = context.approvals.delegations().await.map_err(|e| unavailable(&e))?;
    all.retain(|it| now < it.until);
    all.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
    Ok(all.iter().map(view).collect())
}

/// What is to be given, if it can be.
fn wanted(caller: &Caller, from: &str, request: v1::DelegateRequest, now: Timestamp) -> Result<Delegation, Diagnosis> {
    let (to, until) = (spelled(&request.to), Timestamp::from_nanos(request.until_unix_nanos));
    if to.is_empty() || to == from || to.chars().count() > limits::REASON_CHARS_MAX {
        return Err(invalid("`to` names another person than yourself, as their issuer does".into()));
    }
    if until <= now || until.since(now) > limits::DELEGATION_LIFE_MAX {
        let most = duration::format(limits::DELEGATION_LIFE_MAX);
        return Err(invalid(format!("`until` lies ahead, by {most} at most")));
    }
    let groups = if request.groups.is_empty() { caller.groups.iter().cloned().collect() } else { request.groups };
    if let Some(other) = groups.iter().find(|it| !caller.groups.contains(*it)) {
        let message = format!("you are not in the group `{other}`, so nobody can be in your place");
        return Err(invalid(message).hint("what others let you decide cannot be passed on"));
    }
    if groups.is_empty() || groups.len() > limits::APPROVAL_GROUPS_MAX {
        let most = limits::APPROVAL_GROUPS_MAX;
        return Err(invalid(format!("it is for one to {most} of the groups that you are in")));
    }
    Ok(Delegation { from: from.to_owned(), to, groups, until, given_at: now, by: caller.clone() })
}

fn named(to: &str) -> AuditWhat {
    AuditWhat { kind: "delegation".into(), name: to.to_owned(), ..AuditWhat::default() }
}

fn invalid(message: String) -> Diagnosis {
    Diagnosis::new(Code::DELEGATION_INVALID, message)
}

fn view(it: &Delegation) -> v1::DelegationView {
    v1::DelegationView {
        from: it.from.clone(),
        to: it.to.clone(),
        groups: it.groups.clone(),
        until_unix_nanos: it.until.nanos(),
        given_at_unix_nanos: it.given_at.nanos(),
    }
}
