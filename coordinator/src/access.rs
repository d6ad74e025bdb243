//! What a caller may do: the served policies, asked by the gate for every call and by whoever has a run before them.
//!
//! A call is judged before its message is read, so nobody knows yet whose run it is about. A call that owners of a run may
//! make passes the gate for whoever could own one, and is judged again where the owner is known ([`Access::on_run`]). What
//! is denied goes into the audit trail; what changes something goes there before it is done ([`Access::act`]).

use std::sync::Arc;

use kapelle_policy::{Action, Decision, Resource, UNKNOWN_ACTION};
use kapelle_telemetry::metrics::POLICY_DECISIONS;
use kapelle_types::{AuditWhat, AuditWho, Caller, Code, Diagnosis, Namespace, Principal, Sha256};

use crate::audit::{Fact, Trail};
use crate::config::Governance;
use crate::identity::{is_developer, spelled, vouched_person};
use crate::policies::Serving;

/// Calls that pass the gate for possible owners: their handlers ask [`Access::on_run`], which a test holds.
const JUDGED_AGAIN: [&str; 5] = [CANCEL, RESTART, FORK, SIGNAL, UPDATE];
/// Asking a run to end.
pub(crate) const CANCEL: &str = "kapelle.v1.RunService/Cancel";
/// Starting a run again.
pub(crate) const RESTART: &str = "kapelle.v1.RunService/Restart";
/// Starting a run again from one of its steps.
pub(crate) const FORK: &str = "kapelle.v1.RunService/Fork";
/// Bringing a job in.
pub(crate) const SUBMIT: &str = "kapelle.v1.RunService/Submit";
/// Reading along with a run's models.
pub(crate) const WATCH_TEXT: &str = "kapelle.v1.RunService/WatchText";
/// Telling a run what it waits for.
pub(crate) const SIGNAL: &str = "kapelle.v1.RunService/Signal";
/// The same, and waiting for the answer.
pub(crate) const UPDATE: &str = "kapelle.v1.RunService/Update";

/// The policies and the namespace that they are asked for.
#[derive(Debug)]
pub(crate) struct Access {
    serving: Arc<Serving>,
    trail: Arc<Trail>,
    namespace: Namespace,
    governance: Governance,
}

impl Access {
    /// The served policies, over what belongs to a namespace.
    pub(crate) const fn new(serving: Arc<Serving>, trail: Arc<Trail>, namespace: Namespace) -> Self {
        Self { serving, trail, namespace, governance: Governance::On }
    }

    /// The same, or without policies: see [`Governance::Off`] for when that may be.
    pub(crate) fn with_governance(self, governance: Governance) -> Self {
        Self { governance, ..self }
    }

    /// The policies that come with Kapelle, without a trail.
    #[cfg(test)]
    pub(crate) fn embedded(namespace: Namespace) -> Self {
        Self::new(Serving::embedded(), Trail::nowhere(), namespace)
    }

    /// Whether a caller may make a call (`kapelle.v1.RunService/Submit`) at all.
    ///
    /// # Errors
    /// `DENIED`, with the policy and its reason; `POLICIES_UNAVAILABLE`.
    pub(crate) fn call(&self, caller: &Caller, rpc: &str) -> Result<(), Diagnosis> {
        let owner = JUDGED_AGAIN.contains(&rpc).then_some(&caller.principal);
        self.judge(caller, rpc, owner, &AuditWhat::default())
    }

    /// Whether somebody who does not call now might make a call; nothing of it is on record.
    pub(crate) fn might(&self, caller: &Caller, rpc: &str) -> bool {
        if self.governance == Governance::Off {
            return true;
        }
        let Ok(served) = self.serving.served() else { return false };
        served.policies.decide(caller, &Action::named(rpc), &self.resource(None)).allowed()
    }

    /// Whether a caller may make a call on a run that somebody submitted.
    ///
    /// # Errors
    /// As [`Access::call`].
    pub(crate) fn on_run(
        &self,
        caller: &Caller,
        rpc: &str,
        submitted_by: &Principal,
        run: &AuditWhat,
    ) -> Result<(), Diagnosis> {
        self.judge(caller, rpc, Some(submitted_by), run)
    }

    /// Puts an act that a call leads to on record. The act is done only if this returns well.
    ///
    /// # Errors
    /// `AUDIT_UNAVAILABLE`; as [`Access::call`], if the policies changed meanwhile.
    pub(crate) async fn act(&self, caller: &Caller, act: Act<'_>) -> Result<(), Diagnosis> {
        let Act { verb, rpc, owner, what, reason } = act;
        // Counted as a decision when the gate let the call in.
        let decision = self.serving.served()?.policies.decide(caller, &Action::named(rpc), &self.resource(owner));
        if !decision.allowed() {
            self.judge(caller, rpc, owner, &what)?;
            // They changed once more just now: what is not on record is not done.
            return Err(
                Diagnosis::new(Code::POLICIES_UNAVAILABLE, "the policies are just being changed").hint("try again")
            );
        }
        let policy = decision.policy.clone();
        let what = AuditWhat { action: rpc.to_owned(), ..what };
        let (who, code) = (caller.into(), None);
        self.trail.act(Fact { component: "api", verb, who, what, policy, code, reason }).await
    }

    /// Puts it on record that a person looked at what they may decide about, once for each question and person.
    ///
    /// # Errors
    /// `AUDIT_UNAVAILABLE`: nobody is shown what nobody will know they saw.
    pub(crate) async fn opened(
        &self,
        caller: &Caller,
        rpc: &str,
        what: AuditWhat,
        digest: &str,
    ) -> Result<(), Diagnosis> {
        let Some(person) = self.person(caller) else { return Ok(()) };
        let id = format!("opened-{}", Sha256::of(format!("{digest}/{person}").as_bytes()));
        let (who, what) = (caller.into(), AuditWhat { action: rpc.to_owned(), ..what });
        let reason = format!("digest {digest}");
        self.trail
            .act_as(id, Fact { component: "api", verb: "open", who, what, policy: String::new(), code: None, reason })
            .await
    }

    /// Puts a refusal that no policy made on record.
    pub(crate) fn refused(&self, caller: &Caller, rpc: &str, diagnosis: &Diagnosis) {
        self.denied(caller, rpc, &AuditWhat::default(), "", diagnosis.code, &diagnosis.message);
    }

    /// Puts it on record that nobody could be established as the caller.
    pub(crate) fn unauthenticated(&self, rpc: &str, who: AuditWho, token: Option<String>, diagnosis: &Diagnosis) {
        let kind = if token.is_some() { "token" } else { "" }.to_owned();
        // Whoever is nobody may make up methods without end.
        let action = if self.knows(rpc) { rpc } else { "" }.to_owned();
        self.trail.denied(Fact {
            component: "api",
            verb: "unauthenticated",
            who,
            what: AuditWhat { action, kind, name: token.unwrap_or_default(), ..AuditWhat::default() },
            policy: String::new(),
            code: Some(diagnosis.code),
            reason: diagnosis.message.clone(),
        });
    }

    /// Whether a caller may see payloads: of a run that somebody submitted, or, without one, of anybody's.
    pub(crate) fn sees(&self, caller: &Caller, submitted_by: Option<&Principal>) -> bool {
        if self.governance == Governance::Off {
            return true;
        }
        let Ok(served) = self.serving.served() else { return false };
        let action = Action::see_payloads();
        let decision = served.policies.decide(caller, &action, &self.resource(submitted_by));
        self.logged(caller, action.as_str(), &decision);
        decision.allowed()
    }

    /// The person behind a caller, who may answer for what an approval lets happen: one whom an issuer vouches for. Where
    /// nobody is asked who they are there is one person at this machine, who is the caller.
    pub(crate) fn person(&self, caller: &Caller) -> Option<String> {
        if self.governance == Governance::Off || is_developer(caller) {
            return Some(caller.principal.0.clone());
        }
        vouched_person(caller).map(spelled)
    }

    /// The digest of the policies that are served now.
    ///
    /// # Errors
    /// `POLICIES_UNAVAILABLE`.
    pub(crate) fn policies(&self) -> Result<String, Diagnosis> {
        match self.governance {
            Governance::Off => Ok(String::new()),
            Governance::On => Ok(self.serving.served()?.set.digest.to_string()),
        }
    }

    /// Puts on record that something was refused to somebody who may try it.
    pub(crate) fn refused_on(&self, caller: &Caller, rpc: &str, what: &AuditWhat, diagnosis: &Diagnosis) {
        self.denied(caller, rpc, what, "", diagnosis.code, &diagnosis.message);
    }

    /// Puts on record that what was agreed to counts for nothing.
    pub(crate) fn voided(&self, what: AuditWhat, reason: String) {
        let (who, policy) = (AuditWho::default(), String::new());
        self.trail.denied(Fact { component: "approvals", verb: "void", who, what, policy, code: None, reason });
    }

    fn knows(&self, rpc: &str) -> bool {
        self.serving.served().is_ok_and(|served| served.policies.actions().contains_key(rpc))
    }

    fn resource(&self, owner: Option<&Principal>) -> Resource {
        Resource { namespace: self.namespace.clone(), owner: owner.cloned() }
    }

    fn judge(&self, caller: &Caller, rpc: &str, owner: Option<&Principal>, what: &AuditWhat) -> Result<(), Diagnosis> {
        if self.governance == Governance::Off {
            return Ok(());
        }
        let served = self.serving.served().inspect_err(|unavailable| {
            POLICY_DECISIONS.counter(&["deny", "unavailable"]).increment(1);
            self.denied(caller, rpc, what, "", unavailable.code, &unavailable.message);
        })?;
        let decision = served.policies.decide(caller, &Action::named(rpc), &self.resource(owner));
        let Decision { verdict, policy, why, log_only: _, errors } = &*decision;
        POLICY_DECISIONS.counter(&[&verdict.to_string(), policy]).increment(1);
        self.logged(caller, rpc, &decision);
        for error in errors {
            tracing::error!(caller = %caller.principal, rpc, error, "a policy cannot be evaluated, which denies");
        }
        if decision.allowed() {
            return Ok(());
        }
        tracing::debug!(caller = %caller.principal, rpc, policy, "denied"); // counted above; whoever is denied may try for ever
        let method = if policy == UNKNOWN_ACTION { "" } else { rpc };
        self.denied(caller, method, what, policy, Code::DENIED, why);
        let message = format!("{} may not call {rpc}: {why} (policy `{policy}`)", caller.principal);
        Err(Diagnosis::new(Code::DENIED, message).hint("ask whoever administers Kapelle for the role"))
    }

    /// A policy that only logs would have decided otherwise: counted, and told together.
    fn logged(&self, caller: &Caller, action: &str, decision: &Decision) {
        for policy in &decision.log_only {
            POLICY_DECISIONS.counter(&["log_only", policy]).increment(1);
            let otherwise = if decision.allowed() { "denied" } else { "allowed" };
            self.trail.denied(Fact {
                component: "api",
                verb: "log-only",
                who: caller.into(),
                what: AuditWhat { action: action.to_owned(), ..AuditWhat::default() },
                policy: policy.clone(),
                code: None,
                reason: format!("it would have been {otherwise} if this policy counted"),
            });
        }
    }

    fn denied(&self, caller: &Caller, rpc: &str, what: &AuditWhat, policy: &str, code: Code, reason: &str) {
        self.trail.denied(Fact {
            component: "api",
            verb: "denied",
            who: caller.into(),
            what: AuditWhat { action: rpc.to_owned(), ..what.clone() },
            policy: policy.to_owned(),
            code: Some(code),
            reason: reason.to_owned(),
        });
    }
}

/// Something that a call changes.
pub(crate) struct Act<'a> {
    /// What the trail calls it: `cancel`.
    pub(crate) verb: &'static str,
    /// The call that it is.
    pub(crate) rpc: &'a str,
    /// Who submitted the run that it is about, if that was judged.
    pub(crate) owner: Option<&'a Principal>,
    /// What it is done to.
    pub(crate) what: AuditWhat,
    /// Why, in the words of whoever does it.
    pub(crate) reason: String,
}

/// A run, or a step of one, as the trail names it.
pub(crate) fn run_named(run: impl ToString, step: impl ToString) -> AuditWhat {
    AuditWhat { kind: "run".into(), run: run.to_string(), step: step.to_string(), ..AuditWhat::default() }
}

#[cfg(test)]
mod tests {
    use kapelle_types::Role;

    use super::*;

    fn access() -> Access {
        Access::embedded(Namespace::default())
    }

    fn caller(name: &str, role: Role, sees_payloads: bool) -> Caller {
        let (principal, namespace) = (Principal(name.into()), Some(Namespace::default()));
        Caller { principal, person: None, roles: [role].into(), namespace, sees_payloads, groups: Default::default() }
    }

    /// What each role may call is the business of the policies and of their matrix; here is what the coordinator adds.
    #[test]
    fn a_denial_names_the_policy_and_its_reason() {
        let denied =
            access().call(&caller("token:v", Role::Viewer, false), "kapelle.v1.RunService/Submit").unwrap_err();
        assert_eq!(denied.code, Code::DENIED);
        let told = "token:v may not call kapelle.v1.RunService/Submit: ";
        assert!(denied.message.starts_with(told) && denied.message.ends_with("(policy `default_deny`)"), "{denied:?}");
        let elsewhere = Caller { namespace: None, ..caller("token:a", Role::Admin, true) };
        let denied = access().call(&elsewhere, "kapelle.v1.RunService/Get").unwrap_err();
        assert!(denied.message.ends_with("(policy `no_namespace`)"), "{denied:?}");
        assert!(access().call(&caller("token:a", Role::Admin, true), "kapelle.v1.RunService/Sing").is_err());
    }

    #[test]
    fn publishers_pass_the_gate_and_end_and_start_again_their_own_runs_alone() {
        let (access, publisher) = (access(), caller("token:p", Role::Publisher, false));
        assert!(access.call(&publisher, CANCEL).is_ok());
        let run = AuditWhat::default();
        assert!(access.on_run(&publisher, CANCEL, &publisher.principal, &run).is_ok());
        assert!(access.on_run(&publisher, CANCEL, &Principal("token:q".into()), &run).is_err());
        assert!(access.call(&caller("token:v", Role::Viewer, false), CANCEL).is_err());
        for again in [RESTART, FORK] {
            assert!(access.call(&publisher, again).is_ok());
            assert!(access.on_run(&publisher, again, &publisher.principal, &run).is_ok());
            assert!(access.on_run(&publisher, again, &Principal("token:q".into()), &run).is_err());
            assert!(access.call(&caller("token:v", Role::Viewer, false), again).is_err());
        }
        assert!(access.call(&publisher, "kapelle.v1.RunService/Terminate").is_err());
    }

    #[test]
    fn payloads_are_seen_by_grant_and_by_who_submitted() {
        let (access, own) = (access(), Principal("token:p".into()));
        let publisher = caller("token:p", Role::Publisher, false);
        assert!(access.sees(&publisher, Some(&own)) && !access.sees(&publisher, None));
        assert!(!access.sees(&publisher, Some(&Principal("token:q".into()))));
        assert!(access.sees(&caller("token:v", Role::Viewer, true), None));
    }
}
