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
}

impl From<v1::ApprovalView> for Approval {
    fn from(wire: v1::ApprovalView) -> Self {
        let there = |text: String| (!text.is_empty()).then_some(text);
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
        }
    }
}
