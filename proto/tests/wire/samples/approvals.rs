//! Samples of `approval.proto`.

use kapelle_proto::v1::{
    ApprovalView, DecideApprovalRequest, DecideApprovalResponse, GetApprovalRequest, ListApprovalsRequest,
    ListApprovalsResponse, OverrideApprovalRequest,
};

use super::{RUN, at};
use crate::golden::Sample;

const STEP: &str = "review:17";
const DIGEST: &str = "0404040404040404040404040404040404040404040404040404040404040404";

pub(super) fn samples() -> Vec<Sample> {
    vec![
        Sample::new(ListApprovalsRequest { limit: 50 }),
        Sample::new(ListApprovalsResponse { approvals: vec![view()], more: true }),
        Sample::new(GetApprovalRequest { run_id: RUN.into(), step: STEP.into() }),
        Sample::new(view()),
        Sample::new(DecideApprovalRequest {
            run_id: RUN.into(),
            step: STEP.into(),
            digest: DIGEST.into(),
            decision: "edit".into(),
            arguments: r#"{"amount":70}"#.into(),
            comment: "only what was ordered".into(),
            id: "decision-7".into(),
        }),
        Sample::new(DecideApprovalResponse { seq: 4_711, outcome: "waiting".into() }),
        Sample::new(OverrideApprovalRequest {
            run_id: RUN.into(),
            step: STEP.into(),
            digest: DIGEST.into(),
            comment: "nobody of legal is there today".into(),
        }),
    ]
}

fn view() -> ApprovalView {
    ApprovalView {
        run_id: RUN.into(),
        step: STEP.into(),
        workflow: "software-intake".into(),
        title: "Pay the licence".into(),
        reason: "It costs more than 50 EUR.".into(),
        groups: vec!["legal".into()],
        quorum: 2,
        agreed: vec!["bob@example.com".into()],
        agent: "payments@1.2.0".into(),
        arguments: r#"{"amount":70}"#.into(),
        edited: true,
        digest: DIGEST.into(),
        asked_at_unix_nanos: at(0),
        expires_at_unix_nanos: at(86_400),
        submitted_by: "ada@example.com".into(),
        self_approval: true,
    }
}
