//! What waits for people.

use kapelle_proto::v1;
use serde::Serialize;
use serde_json::Value;

use crate::output::moment;

/// A step that waits for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Approval {
    pub(crate) run_id: String,
    pub(crate) step: String,
    pub(crate) workflow: String,
    pub(crate) title: String,
    pub(crate) reason: String,
    /// Who is asked; every approver if it is empty.
    pub(crate) groups: Vec<String>,
    pub(crate) quorum: u32,
    /// The persons who have agreed so far.
    pub(crate) agreed: Vec<String>,
    /// Who would do it.
    pub(crate) agent: Option<String>,
    /// What it would be given; null in listings.
    pub(crate) arguments: Value,
    /// Whether somebody put these in the place of the step's own.
    pub(crate) edited: bool,
    /// What a decision names.
    pub(crate) digest: String,
    pub(crate) asked_at: Option<String>,
    pub(crate) expires_at: Option<String>,
    /// The person who submitted the run.
    pub(crate) submitted_by: Option<String>,
    pub(crate) self_approval: bool,
    /// What follows each answer; empty in listings, as is all that comes after.
    pub(crate) on_approve: String,
    pub(crate) on_reject: String,
    pub(crate) on_expiry: String,
    pub(crate) performer: Option<Performer>,
    /// Who else could do it.
    pub(crate) alternatives: Vec<Alternative>,
    pub(crate) run_cost_usd: f64,
    /// Where the arguments come from.
    pub(crate) sources: Vec<Source>,
    /// What is different from what was agreed to last.
    pub(crate) changes: Vec<Change>,
    /// The run in which that was.
    pub(crate) compared_with: Option<String>,
    pub(crate) compared_at: Option<String>,
    pub(crate) reminds_at: Vec<String>,
    pub(crate) escalation: Vec<Rung>,
}

/// The agent that would do it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Performer {
    pub(crate) purpose: String,
    pub(crate) owner: String,
    pub(crate) risk: Option<String>,
    pub(crate) limits: Value,
}

/// An agent that declares what the one that would do it declares.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Alternative {
    pub(crate) agent: String,
    pub(crate) purpose: String,
    pub(crate) risk: Option<String>,
    /// What both declare.
    pub(crate) capabilities: Vec<String>,
}

/// Something that arguments are made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Source {
    pub(crate) reference: String,
    pub(crate) agent: Option<String>,
}

/// A difference between two payloads; null where nothing is, or null is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Change {
    pub(crate) path: String,
    /// `added`, `removed` or `changed`.
    pub(crate) kind: &'static str,
    pub(crate) before: Value,
    pub(crate) after: Value,
}

/// Who may decide too, and from when on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Rung {
    pub(crate) at: Option<String>,
    pub(crate) groups: Vec<String>,
}

/// Who decides in whose place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Delegation {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) groups: Vec<String>,
    pub(crate) until: Option<String>,
    pub(crate) given_at: Option<String>,
}

impl From<v1::ApprovalView> for Approval {
    fn from(wire: v1::ApprovalView) -> Self {
        Self {
            arguments: super::payload(&wire.arguments),
            asked_at: moment(wire.asked_at_unix_nanos),
            expires_at: moment(wire.expires_at_unix_nanos),
            run_id: wire.run_id,
            step: wire.step,
            workflow: wire.workflow,
            title: wire.title,
            reason: wire.reason,
            groups: wire.groups,
            quorum: wire.quorum,
            agreed: wire.agreed,
            agent: there(wire.agent),
            edited: wire.edited,
            digest: wire.digest,
            submitted_by: there(wire.submitted_by),
            self_approval: wire.self_approval,
            on_approve: wire.on_approve,
            on_reject: wire.on_reject,
            on_expiry: wire.on_expiry,
            performer: wire.performer.map(Into::into),
            alternatives: wire.alternatives.into_iter().map(Into::into).collect(),
            run_cost_usd: wire.run_cost_usd,
            sources: wire.sources.into_iter().map(Into::into).collect(),
            changes: wire.changes.into_iter().map(Into::into).collect(),
            compared_with: there(wire.compared_with),
            compared_at: moment(wire.compared_at_unix_nanos),
            reminds_at: wire.reminds_at_unix_nanos.into_iter().filter_map(moment).collect(),
            escalation: wire.escalation.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<v1::ApprovalAgent> for Performer {
    fn from(wire: v1::ApprovalAgent) -> Self {
        let limits = super::payload(&wire.limits);
        Self { purpose: wire.purpose, owner: wire.owner, risk: there(wire.risk), limits }
    }
}

impl From<v1::ApprovalAlternative> for Alternative {
    fn from(wire: v1::ApprovalAlternative) -> Self {
        let v1::ApprovalAlternative { agent, purpose, risk, capabilities } = wire;
        Self { agent, purpose, risk: there(risk), capabilities }
    }
}

impl From<v1::ApprovalSource> for Source {
    fn from(wire: v1::ApprovalSource) -> Self {
        Self { reference: wire.reference, agent: there(wire.agent) }
    }
}

impl From<v1::ApprovalChange> for Change {
    fn from(wire: v1::ApprovalChange) -> Self {
        let kind = match (wire.before.is_empty(), wire.after.is_empty()) {
            (true, _) => "added",
            (_, true) => "removed",
            _ => "changed",
        };
        Self { path: wire.path, kind, before: super::payload(&wire.before), after: super::payload(&wire.after) }
    }
}

impl From<v1::ApprovalRung> for Rung {
    fn from(wire: v1::ApprovalRung) -> Self {
        Self { at: moment(wire.at_unix_nanos), groups: wire.groups }
    }
}

impl From<v1::DelegationView> for Delegation {
    fn from(wire: v1::DelegationView) -> Self {
        let (until, given_at) = (moment(wire.until_unix_nanos), moment(wire.given_at_unix_nanos));
        Self { from: wire.from, to: wire.to, groups: wire.groups, until, given_at }
    }
}

fn there(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
