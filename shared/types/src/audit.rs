//! What the audit trail says: who did, or was denied, what. Facts of the control plane, never a payload and never a secret.

use crate::{Caller, Namespace, Principal, Role, Timestamp};

/// One record of the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its identity: what is written twice under one id is one record.
    pub id: String,
    /// When it happened; of several alike, the last.
    pub at: Timestamp,
    /// Which part of Kapelle says it: a word such as `api`.
    pub component: String,
    /// What was done or tried: a word such as `denied`.
    pub verb: String,
    /// Who did or tried it, as far as known.
    pub who: AuditWho,
    /// What it was done to.
    pub what: AuditWhat,
    /// Whether it was allowed.
    pub decision: AuditDecision,
    /// The policy that decided; empty if none was asked.
    pub policy: String,
    /// The error code; empty if there is none.
    pub code: String,
    /// Why, in Kapelle's own words or in those of whoever acted.
    pub reason: String,
    /// How many this record speaks of: more than one where alike ones were counted together.
    pub count: u64,
    /// When the first of them happened.
    pub first_at: Timestamp,
    /// The coordinator that wrote it.
    pub by: String,
}

/// Who acted, or tried to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct AuditWho {
    /// The principal; empty if nobody could be established.
    pub principal: Principal,
    /// The person behind it, where there is one.
    pub person: Option<String>,
    /// Its roles.
    pub roles: Vec<Role>,
    /// Its namespace.
    pub namespace: Option<Namespace>,
}

/// What was acted on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct AuditWhat {
    /// The action, as policies name it; empty where there is none.
    pub action: String,
    /// The kind of thing: `run`, `token`, `agent` …; may be empty.
    pub kind: String,
    /// Its name or id; may be empty.
    pub name: String,
    /// The run, where there is one.
    pub run: String,
    /// The step of that run, where there is one.
    pub step: String,
}

/// Whether something was allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuditDecision {
    /// It was.
    Allow,
    /// It was not.
    Deny,
}

impl AuditDecision {
    /// The decision as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl From<&Caller> for AuditWho {
    fn from(caller: &Caller) -> Self {
        Self {
            principal: caller.principal.clone(),
            person: caller.person.clone(),
            roles: caller.roles.iter().copied().collect(),
            namespace: caller.namespace.clone(),
        }
    }
}
