//! Sets of policies, and what is proposed.

use std::collections::BTreeMap;

use kapelle_proto::v1;
use serde::Serialize;

use crate::output::moment;

/// A set that is or was served, without its texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PolicySet {
    /// 0 are the policies that come with Kapelle.
    pub(crate) version: u64,
    pub(crate) digest: String,
    pub(crate) applied_by: String,
    pub(crate) person: Option<String>,
    pub(crate) applied_at: Option<String>,
    pub(crate) why: String,
    /// The version whose content it serves again.
    pub(crate) again: Option<u64>,
    pub(crate) proposal: Option<String>,
    pub(crate) approved_by: Option<String>,
}

/// A change that waits for a second person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Proposal {
    pub(crate) id: String,
    pub(crate) digest: String,
    pub(crate) replaces: u64,
    pub(crate) replaces_digest: String,
    pub(crate) proposed_by: String,
    pub(crate) person: String,
    pub(crate) proposed_at: Option<String>,
    pub(crate) expires_at: Option<String>,
    pub(crate) why: String,
    pub(crate) weakens: Vec<String>,
    /// What would be served: the texts by the names of their files.
    pub(crate) files: BTreeMap<String, String>,
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PolicyChange {
    /// `applied`, `unchanged` or `proposed`.
    pub(crate) outcome: String,
    pub(crate) served: PolicySet,
    pub(crate) proposal: Option<Proposal>,
}

impl From<v1::PolicySet> for PolicySet {
    fn from(wire: v1::PolicySet) -> Self {
        let there = |text: String| (!text.is_empty()).then_some(text);
        Self {
            applied_at: moment(wire.applied_at_unix_nanos),
            // Whose content version 0 serves nobody asks.
            again: (wire.again != 0).then_some(wire.again),
            version: wire.version,
            digest: wire.digest,
            applied_by: wire.applied_by,
            person: there(wire.person),
            why: wire.why,
            proposal: there(wire.proposal),
            approved_by: there(wire.approved_by),
        }
    }
}

impl From<v1::PolicyProposal> for Proposal {
    fn from(wire: v1::PolicyProposal) -> Self {
        Self {
            proposed_at: moment(wire.proposed_at_unix_nanos),
            expires_at: moment(wire.expires_at_unix_nanos),
            id: wire.id,
            digest: wire.digest,
            replaces: wire.replaces,
            replaces_digest: wire.replaces_digest,
            proposed_by: wire.proposed_by,
            person: wire.person,
            why: wire.why,
            weakens: wire.weakens,
            files: wire.files.into_iter().map(|file| (file.name, file.text)).collect(),
        }
    }
}

impl From<v1::ApplyPoliciesResponse> for PolicyChange {
    fn from(wire: v1::ApplyPoliciesResponse) -> Self {
        Self {
            outcome: wire.outcome,
            served: wire.served.unwrap_or_default().into(),
            proposal: wire.proposal.map(Into::into),
        }
    }
}
