//! Records of the audit trail, as they are stored and shown.

use bytes::Bytes;
use kapelle_types::{AuditDecision, AuditRecord, AuditWhat, AuditWho, Principal, Timestamp};
use prost::Message;

use crate::error::{DecodeError, WIRE_VERSION, check_version, parsed};
use crate::v1;

/// Writes a record as one message.
#[must_use]
pub fn encode_audit(record: &AuditRecord) -> Bytes {
    v1::AuditRecord::from(record).encode_to_vec().into()
}

/// Reads a record.
///
/// # Errors
/// It is garbage, or a newer release wrote it: [`DecodeError::is_newer`] tells which.
pub fn decode_audit(payload: &Bytes) -> Result<AuditRecord, DecodeError> {
    let wire = v1::AuditRecord::decode(payload.clone())?;
    check_version(wire.version)?;
    let (who, what) = (wire.who.unwrap_or_default(), wire.what.unwrap_or_default());
    let decision = match v1::AuditDecision::try_from(wire.decision) {
        Ok(v1::AuditDecision::Allow) => AuditDecision::Allow,
        Ok(v1::AuditDecision::Deny) => AuditDecision::Deny,
        Ok(v1::AuditDecision::Unspecified) => return Err(DecodeError::Missing("decision")),
        Err(_) => return Err(DecodeError::Unknown("decision")),
    };
    let roles: Result<_, DecodeError> = who.roles.iter().map(|role| parsed(role, "who.roles")).collect();
    Ok(AuditRecord {
        id: wire.id,
        at: Timestamp::from_nanos(wire.at_unix_nanos),
        component: wire.component,
        verb: wire.verb,
        who: AuditWho {
            principal: Principal(who.principal),
            person: Some(who.person).filter(|person| !person.is_empty()),
            roles: roles?,
            namespace: Some(who.namespace.as_str())
                .filter(|namespace| !namespace.is_empty())
                .map(|namespace| parsed(namespace, "who.namespace"))
                .transpose()?,
        },
        what: AuditWhat { action: what.action, kind: what.kind, name: what.name, run: what.run_id, step: what.step },
        decision,
        policy: wire.policy,
        code: wire.code,
        reason: wire.reason,
        count: wire.count,
        first_at: Timestamp::from_nanos(wire.first_at_unix_nanos),
        by: wire.by,
    })
}

impl From<&AuditRecord> for v1::AuditRecord {
    fn from(record: &AuditRecord) -> Self {
        let AuditRecord { who, what, .. } = record;
        Self {
            version: WIRE_VERSION,
            id: record.id.clone(),
            at_unix_nanos: record.at.nanos(),
            component: record.component.clone(),
            verb: record.verb.clone(),
            who: Some(v1::AuditWho {
                principal: who.principal.0.clone(),
                person: who.person.clone().unwrap_or_default(),
                roles: who.roles.iter().map(ToString::to_string).collect(),
                namespace: who.namespace.as_ref().map(ToString::to_string).unwrap_or_default(),
            }),
            what: Some(v1::AuditWhat {
                action: what.action.clone(),
                kind: what.kind.clone(),
                name: what.name.clone(),
                run_id: what.run.clone(),
                step: what.step.clone(),
            }),
            decision: match record.decision {
                AuditDecision::Allow => v1::AuditDecision::Allow,
                AuditDecision::Deny => v1::AuditDecision::Deny,
            }
            .into(),
            policy: record.policy.clone(),
            code: record.code.clone(),
            reason: record.reason.clone(),
            count: record.count,
            first_at_unix_nanos: record.first_at.nanos(),
            by: record.by.clone(),
        }
    }
}
