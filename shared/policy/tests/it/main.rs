//! The policies as a whole: the matrix of who may do what, the permissions that follow, and what people see of mistakes.

#![allow(clippy::unwrap_used)] // a test that cannot go on should panic

mod decisions;
mod matrix;
mod mistakes;
mod subjects;

use kapelle_policy::Policies;
use kapelle_types::{Caller, Namespace, Principal, Role};

fn embedded() -> Policies {
    Policies::embedded().unwrap()
}

/// A caller of the default namespace who sees no payloads.
fn caller(roles: &[Role]) -> Caller {
    Caller {
        principal: Principal("somebody".into()),
        person: None,
        roles: roles.iter().copied().collect(),
        namespace: Some(Namespace::default()),
        sees_payloads: false,
        groups: Default::default(),
    }
}

/// The same caller, of another namespace.
fn stranger(roles: &[Role]) -> Caller {
    Caller { namespace: Some("another".parse().unwrap()), ..caller(roles) }
}

/// The same caller, of no namespace.
fn nobody(roles: &[Role]) -> Caller {
    Caller { namespace: None, ..caller(roles) }
}
