//! What a caller may do: asked once for every call, by the gate in front of the API.
//!
//! The rule here is by role alone, one row for each kind of call. Whoever belongs to another namespace, or to none, may do
//! nothing; a call that no row names is denied, so that a new one is closed until somebody opens it.

use kapelle_telemetry::metrics::POLICY_DECISIONS;
use kapelle_types::{Caller, Code, Diagnosis, Namespace, Role};

/// Decides on calls.
pub trait Authorizer: Send + Sync {
    /// Whether this caller may make this call (`kapelle.v1.RunService/Submit`); the policy that allows it.
    ///
    /// # Errors
    /// [`Denied`].
    fn authorize(&self, caller: &Caller, rpc: &str) -> Result<&'static str, Denied>;
}

/// A call that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// The policy that decided.
    pub policy: String,
    /// Why, in a sentence for whoever is denied.
    pub why: String,
}

/// Asks, and counts the answer.
///
/// # Errors
/// `DENIED`, with the policy and its reason.
pub(crate) fn decide(authorizer: &dyn Authorizer, caller: &Caller, rpc: &str) -> Result<(), Diagnosis> {
    match authorizer.authorize(caller, rpc) {
        Ok(policy) => {
            POLICY_DECISIONS.counter(&["allow", policy]).increment(1);
            Ok(())
        }
        Err(Denied { policy, why }) => {
            POLICY_DECISIONS.counter(&["deny", &policy]).increment(1);
            let message = format!("{} may not call {rpc}: {why} (policy `{policy}`)", caller.principal);
            Err(Diagnosis::new(Code::DENIED, message).hint("ask whoever administers Kapelle for the role"))
        }
    }
}

/// The rule by roles.
#[derive(Debug, Clone)]
pub struct ByRole {
    /// The namespace that is served.
    pub namespace: Namespace,
}

/// One kind of calls: its name, which is the policy's; the calls; the roles that may make them; what the denied are told.
type Row = (&'static str, &'static [&'static str], &'static [Role], &'static str);

const ROWS: [Row; 5] = [
    (
        "read",
        &[
            "kapelle.v1.RunService/Get",
            "kapelle.v1.RunService/List",
            "kapelle.v1.RunService/Watch",
            "kapelle.v1.RunService/History",
            "kapelle.v1.DeadLetterService/List",
            "kapelle.v1.DeadLetterService/Get",
            "kapelle.v1.DeadLetterService/Stats",
            "kapelle.v1.RegistryService/ListManifests",
            "kapelle.v1.RegistryService/GetManifest",
            "kapelle.v1.FleetService/ListWorkers",
            "kapelle.v1.FleetService/ListQueues",
            "kapelle.v1.FleetService/ListCoordinators",
            "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        ],
        &[Role::Viewer, Role::Publisher, Role::Operator, Role::Approver, Role::Auditor, Role::Admin],
        "it takes one of the roles of people",
    ),
    (
        "submit",
        &[
            "kapelle.v1.RunService/Submit",
            "kapelle.v1.RunService/SubmitBatch",
            "kapelle.v1.RunService/Execute",
            "kapelle.v1.RunService/ExecuteBatch",
        ],
        &[Role::Publisher, Role::Operator, Role::Admin],
        "it takes the role publisher, operator or admin",
    ),
    (
        "steer",
        &[
            "kapelle.v1.RunService/Cancel",
            "kapelle.v1.RunService/Terminate",
            "kapelle.v1.RunService/Pause",
            "kapelle.v1.RunService/Resume",
            "kapelle.v1.RunService/Retry",
            "kapelle.v1.DeadLetterService/Replay",
            "kapelle.v1.DeadLetterService/Discard",
        ],
        &[Role::Operator, Role::Admin],
        "it takes the role operator or admin",
    ),
    (
        "register",
        &["kapelle.v1.RegistryService/Apply"],
        &[Role::Operator, Role::Admin],
        "it takes the role operator or admin",
    ),
    (
        "administer",
        &["kapelle.v1.TokenService/Create", "kapelle.v1.TokenService/List", "kapelle.v1.TokenService/Revoke"],
        &[Role::Admin],
        "it takes the role admin",
    ),
];

impl Authorizer for ByRole {
    fn authorize(&self, caller: &Caller, rpc: &str) -> Result<&'static str, Denied> {
        let denied = |policy: &str, why: &str| Denied { policy: policy.to_owned(), why: why.to_owned() };
        if caller.namespace.as_ref() != Some(&self.namespace) {
            return Err(denied("namespace", "the caller does not belong to the namespace that is served here"));
        }
        let row = ROWS.iter().find(|(_, calls, ..)| calls.contains(&rpc));
        let (policy, _, roles, why) = row.ok_or_else(|| denied("default", "no policy names this call"))?;
        if roles.iter().any(|role| caller.roles.contains(role)) { Ok(policy) } else { Err(denied(policy, why)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kapelle_types::Principal;
    use prost::Message;
    use prost_types::FileDescriptorSet;

    fn caller(roles: &[Role], namespace: Option<&str>) -> Caller {
        Caller {
            principal: Principal("token:x".into()),
            person: None,
            roles: roles.iter().copied().collect(),
            namespace: namespace.map(|n| n.parse().unwrap()),
            sees_payloads: false,
        }
    }

    fn policy(roles: &[Role], namespace: Option<&str>, rpc: &str) -> Result<&'static str, String> {
        let rule = ByRole { namespace: Namespace::default() };
        rule.authorize(&caller(roles, namespace), rpc).map_err(|d| d.policy)
    }

    #[test]
    fn each_role_does_what_it_is_for() {
        let (submit, cancel) = ("kapelle.v1.RunService/Submit", "kapelle.v1.RunService/Cancel");
        let (get, token) = ("kapelle.v1.RunService/Get", "kapelle.v1.TokenService/Create");
        let here = Some("default");
        for (role, may, may_not) in [
            (Role::Viewer, vec![get], vec![submit, cancel, token]),
            (Role::Publisher, vec![get, submit], vec![cancel, token]),
            (Role::Operator, vec![get, submit, cancel], vec![token]),
            (Role::Approver, vec![get], vec![submit, cancel, token]),
            (Role::Auditor, vec![get], vec![submit, cancel, token]),
            (Role::Admin, vec![get, submit, cancel, token], vec![]),
            (Role::Worker, vec![], vec![get, submit, cancel, token]),
            (Role::Coordinator, vec![], vec![get, submit, cancel, token]),
        ] {
            for rpc in may {
                assert!(policy(&[role], here, rpc).is_ok(), "{role} {rpc}");
            }
            for rpc in may_not {
                assert!(policy(&[role], here, rpc).is_err(), "{role} {rpc}");
            }
        }
        assert!(policy(&[], here, get).is_err());
    }

    #[test]
    fn another_namespace_and_an_unknown_call_are_denied() {
        let get = "kapelle.v1.RunService/Get";
        assert_eq!(policy(&[Role::Admin], Some("other"), get), Err("namespace".into()));
        assert_eq!(policy(&[Role::Admin], None, get), Err("namespace".into()));
        assert_eq!(policy(&[Role::Admin], Some("default"), "kapelle.v1.RunService/Sing"), Err("default".into()));
    }

    /// A call of the API that no row names can be made by nobody: that is found here and not by its users.
    #[test]
    fn every_call_of_the_api_has_a_row_and_every_row_its_call() {
        let descriptors = FileDescriptorSet::decode(kapelle_proto::DESCRIPTORS).unwrap();
        let calls = descriptors.file.iter().flat_map(|file| {
            file.service.iter().flat_map(|s| {
                s.method.iter().map(|m| format!("{}.{}/{}", file.package(), s.name(), m.name())).collect::<Vec<_>>()
            })
        });
        let mut declared: Vec<String> = calls.collect();
        declared.push("grpc.reflection.v1.ServerReflection/ServerReflectionInfo".into());
        declared.sort();
        let mut named: Vec<_> = ROWS.iter().flat_map(|(_, calls, ..)| calls.iter().map(|c| (*c).to_owned())).collect();
        named.sort();
        assert_eq!(named, declared);
    }
}
