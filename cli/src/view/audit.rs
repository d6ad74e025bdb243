//! Records of the audit trail.

use kapelle_proto::v1;
use serde::Serialize;

use crate::output::moment;

/// One record with its place in the trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct AuditEntry {
    pub(crate) seq: u64,
    pub(crate) id: String,
    pub(crate) at: Option<String>,
    pub(crate) component: String,
    pub(crate) verb: String,
    /// `allow` or `deny`.
    pub(crate) decision: &'static str,
    pub(crate) principal: String,
    pub(crate) person: Option<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) action: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) run_id: Option<String>,
    pub(crate) step: Option<String>,
    pub(crate) policy: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) reason: String,
    pub(crate) count: u64,
    pub(crate) first_at: Option<String>,
    pub(crate) by: String,
}

impl From<v1::AuditEntry> for AuditEntry {
    fn from(wire: v1::AuditEntry) -> Self {
        let record = wire.record.unwrap_or_default();
        let decision = match record.decision() {
            v1::AuditDecision::Allow => "allow",
            v1::AuditDecision::Deny => "deny",
            v1::AuditDecision::Unspecified => "",
        };
        let (who, what) = (record.who.unwrap_or_default(), record.what.unwrap_or_default());
        Self {
            seq: wire.seq,
            id: record.id,
            at: moment(record.at_unix_nanos),
            component: record.component,
            verb: record.verb,
            decision,
            principal: who.principal,
            person: there(who.person),
            roles: who.roles,
            namespace: there(who.namespace),
            action: there(what.action),
            kind: there(what.kind),
            name: there(what.name),
            run_id: there(what.run_id),
            step: there(what.step),
            policy: there(record.policy),
            code: there(record.code),
            reason: record.reason,
            count: record.count,
            first_at: moment(record.first_at_unix_nanos),
            by: record.by,
        }
    }
}

fn there(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
