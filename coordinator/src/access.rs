//! What a caller may do: the policies, asked by the gate for every call and by whoever has a run before them.
//!
//! A call is judged before its message is read, so nobody knows yet whose run it is about. A call that owners of a run may
//! make passes the gate for whoever could own one, and is judged again where the owner is known ([`Access::on_run`]).

use kapelle_policy::{Action, Decision, Policies, Resource};
use kapelle_telemetry::metrics::POLICY_DECISIONS;
use kapelle_types::{Caller, Code, Diagnosis, Namespace, Principal};

/// Calls that pass the gate for possible owners: their handlers ask [`Access::on_run`], which a test holds.
const JUDGED_AGAIN: [&str; 1] = [CANCEL];
/// Asking a run to end.
pub(crate) const CANCEL: &str = "kapelle.v1.RunService/Cancel";

/// The policies and the namespace that they are asked for.
#[derive(Debug)]
pub(crate) struct Access {
    /// None where governance is off.
    policies: Option<Policies>,
    namespace: Namespace,
}

impl Access {
    /// The policies that come with Kapelle, over what belongs to a namespace.
    ///
    /// # Errors
    /// `POLICY_INVALID`: without policies nothing is served.
    pub(crate) fn embedded(namespace: Namespace) -> Result<Self, Diagnosis> {
        let invalid = |e: kapelle_policy::Invalid| Diagnosis::new(Code::POLICY_INVALID, e.to_string());
        Ok(Self { policies: Some(Policies::embedded().map_err(invalid)?), namespace })
    }

    /// No policies: everything is permitted. See [`crate::config::Governance::Off`] for when that may be.
    pub(crate) const fn ungoverned(namespace: Namespace) -> Self {
        Self { policies: None, namespace }
    }

    /// Whether a caller may make a call (`kapelle.v1.RunService/Submit`) at all.
    ///
    /// # Errors
    /// `DENIED`, with the policy and its reason.
    pub(crate) fn call(&self, caller: &Caller, rpc: &str) -> Result<(), Diagnosis> {
        let owner = JUDGED_AGAIN.contains(&rpc).then_some(&caller.principal);
        self.judge(caller, rpc, owner)
    }

    /// Whether a caller may make a call on a run that somebody submitted.
    ///
    /// # Errors
    /// `DENIED`, with the policy and its reason.
    pub(crate) fn on_run(&self, caller: &Caller, rpc: &str, submitted_by: &Principal) -> Result<(), Diagnosis> {
        self.judge(caller, rpc, Some(submitted_by))
    }

    /// Whether a caller may see payloads: of a run that somebody submitted, or, without one, of anybody's.
    pub(crate) fn sees(&self, caller: &Caller, submitted_by: Option<&Principal>) -> bool {
        let Some(policies) = &self.policies else { return true };
        policies.decide(caller, &Action::see_payloads(), &self.resource(submitted_by)).allowed()
    }

    fn resource(&self, owner: Option<&Principal>) -> Resource {
        Resource { namespace: self.namespace.clone(), owner: owner.cloned() }
    }

    fn judge(&self, caller: &Caller, rpc: &str, owner: Option<&Principal>) -> Result<(), Diagnosis> {
        let Some(policies) = &self.policies else { return Ok(()) };
        let decision = policies.decide(caller, &Action::named(rpc), &self.resource(owner));
        let Decision { verdict, policy, why, log_only, errors } = &*decision;
        POLICY_DECISIONS.counter(&[&verdict.to_string(), policy]).increment(1);
        for logged in log_only {
            tracing::info!(caller = %caller.principal, rpc, policy = logged, "a policy that is only logged would decide otherwise");
            POLICY_DECISIONS.counter(&["log_only", logged]).increment(1);
        }
        for error in errors {
            tracing::error!(caller = %caller.principal, rpc, error, "a policy cannot be evaluated, which denies");
        }
        if decision.allowed() {
            return Ok(());
        }
        tracing::debug!(caller = %caller.principal, rpc, policy, "denied"); // counted above; whoever is denied may try for ever
        let message = format!("{} may not call {rpc}: {why} (policy `{policy}`)", caller.principal);
        Err(Diagnosis::new(Code::DENIED, message).hint("ask whoever administers Kapelle for the role"))
    }
}

#[cfg(test)]
mod tests {
    use kapelle_types::Role;

    use super::*;

    fn access() -> Access {
        Access::embedded(Namespace::default()).unwrap()
    }

    fn caller(name: &str, role: Role, sees_payloads: bool) -> Caller {
        let (principal, namespace) = (Principal(name.into()), Some(Namespace::default()));
        Caller { principal, person: None, roles: [role].into(), namespace, sees_payloads }
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
    fn publishers_pass_the_gate_with_a_cancel_and_end_their_own_runs_alone() {
        let (access, publisher) = (access(), caller("token:p", Role::Publisher, false));
        assert!(access.call(&publisher, CANCEL).is_ok());
        assert!(access.on_run(&publisher, CANCEL, &publisher.principal).is_ok());
        assert!(access.on_run(&publisher, CANCEL, &Principal("token:q".into())).is_err());
        assert!(access.call(&caller("token:v", Role::Viewer, false), CANCEL).is_err());
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
