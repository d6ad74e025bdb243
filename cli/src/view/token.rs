//! API tokens.

use kapelle_proto::v1;
use serde::Serialize;

use crate::output::moment;

/// A token, without what its holder has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Token {
    pub(crate) id: String,
    pub(crate) name: String,
    /// `active`, `expired` or `revoked`.
    pub(crate) state: String,
    pub(crate) roles: Vec<String>,
    pub(crate) namespace: String,
    pub(crate) sees_payloads: bool,
    pub(crate) person: Option<String>,
    pub(crate) created_by: String,
    pub(crate) created_at: Option<String>,
    pub(crate) expires_at: Option<String>,
    pub(crate) revoked_at: Option<String>,
}

/// A token that was just made: the only place that has it in full.
#[derive(Serialize)]
pub(crate) struct MadeToken {
    pub(crate) token: String,
    #[serde(flatten)]
    pub(crate) about: Token,
}

impl From<v1::TokenView> for Token {
    fn from(wire: v1::TokenView) -> Self {
        Self {
            created_at: moment(wire.created_at_unix_nanos),
            expires_at: moment(wire.expires_at_unix_nanos),
            revoked_at: moment(wire.revoked_at_unix_nanos),
            id: wire.id,
            name: wire.name,
            state: wire.state,
            roles: wire.roles,
            namespace: wire.namespace,
            sees_payloads: wire.sees_payloads,
            person: (!wire.person.is_empty()).then_some(wire.person),
            created_by: wire.created_by,
        }
    }
}
