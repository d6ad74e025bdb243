//! Who calls: a principal with its roles, as identity establishes it and as policy judges it.
//!
//! A caller is made by whoever checked a credential (a token, a JWT, `kapelle dev`), never from what a message says about
//! itself.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{InvalidName, Namespace, Principal};

/// What a caller may be. Which calls a role allows is said by policy, not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks at runs, dead letters and manifests.
    Viewer,
    /// Submits jobs.
    Publisher,
    /// Steers runs, decides dead letters, registers manifests.
    Operator,
    /// Decides approvals.
    Approver,
    /// Reads everything, changes nothing.
    Auditor,
    /// Administers who may do what.
    Admin,
    /// A part of Kapelle that executes tasks.
    Worker,
    /// A part of Kapelle that drives runs.
    Coordinator,
}

impl Role {
    /// Every role there is.
    pub const ALL: [Self; 8] = [
        Self::Viewer,
        Self::Publisher,
        Self::Operator,
        Self::Approver,
        Self::Auditor,
        Self::Admin,
        Self::Worker,
        Self::Coordinator,
    ];

    /// The role as text, as it is written in tokens, claims and policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Publisher => "publisher",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
            Self::Worker => "worker",
            Self::Coordinator => "coordinator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let rule = "the roles are viewer, publisher, operator, approver, auditor, admin, worker and coordinator";
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| InvalidName::new("role", text, rule))
    }
}

/// Whoever makes a call, after their credential was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// How the caller is named in logs and entries.
    pub principal: Principal,
    /// The person behind the principal, where there is one: two principals of one person are still one person.
    pub person: Option<String>,
    /// What the caller may be.
    pub roles: BTreeSet<Role>,
    /// The namespace that the caller belongs to; without one, nothing of any namespace is theirs.
    pub namespace: Option<Namespace>,
    /// Whether the caller may read payloads: inputs, outputs, and what agents said.
    pub sees_payloads: bool,
    /// The groups that an issuer says the caller is in: who is asked for an approval.
    pub groups: BTreeSet<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_written_in_one_way() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse::<Role>().unwrap(), role);
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        for bad in ["", "Admin", "root", "admin "] {
            assert!(bad.parse::<Role>().is_err(), "{bad}");
        }
    }
}
