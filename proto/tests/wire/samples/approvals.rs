//! Samples of `approval.proto`.

use kapelle_proto::v1::{
    Alike, AlikeRequest, AlikeResponse, ApprovalAgent, ApprovalAlternative, ApprovalChange, ApprovalRung,
    ApprovalSource, ApprovalStats, ApprovalStatsRequest, ApprovalView, DecideApprovalRequest, DecideApprovalResponse,
    DelegateRequest, DelegationView, EndDelegationRequest, EndDelegationResponse, GetApprovalRequest,
    ListApprovalsRequest, ListApprovalsResponse, ListDelegationsRequest, ListDelegationsResponse,
    OverrideApprovalRequest,
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
        Sample::named("shown", shown()),
        Sample::named("with-alternatives", ApprovalView { alternatives: vec![alternative()], ..shown() }),
        Sample::new(alternative()),
        Sample::new(performer()),
        Sample::new(source()),
        Sample::new(change()),
        Sample::new(rung()),
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
        Sample::new(DelegateRequest {
            to: "cyd@example.com".into(),
            groups: vec!["legal".into()],
            until_unix_nanos: at(86_400),
        }),
        Sample::new(delegation()),
        Sample::new(ListDelegationsRequest {}),
        Sample::new(ListDelegationsResponse { delegations: vec![delegation()] }),
        Sample::new(EndDelegationRequest { to: "cyd@example.com".into() }),
        Sample::new(EndDelegationResponse {}),
        Sample::new(AlikeRequest {
            workflow: "software-intake".into(),
            step: "review".into(),
            r#where: "input.amount < 100".into(),
            sample: 3,
        }),
        Sample::new(AlikeResponse { found: vec![alike()], more: true }),
        Sample::new(alike()),
        Sample::new(ApprovalStatsRequest { since_unix_nanos: at(0), workflow: "software-intake".into() }),
        Sample::new(stats()),
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
        ..ApprovalView::default()
    }
}

fn shown() -> ApprovalView {
    ApprovalView {
        on_approve: "payments@1.2.0 is called with exactly this".into(),
        on_reject: "the step gives up (K0330), and the run is STALLED".into(),
        on_expiry: "the step gives up (K0331), and the run is STALLED".into(),
        performer: Some(performer()),
        run_cost_usd: 0.25,
        sources: vec![source()],
        changes: vec![change()],
        compared_with: RUN.into(),
        compared_at_unix_nanos: at(-86_400),
        reminds_at_unix_nanos: vec![at(3_600)],
        escalation: vec![rung()],
        ..view()
    }
}

fn performer() -> ApprovalAgent {
    ApprovalAgent {
        purpose: "Pays invoices.".into(),
        owner: "finance@example.com".into(),
        risk: "high".into(),
        limits: r#"{"concurrency":1}"#.into(),
    }
}

fn alternative() -> ApprovalAlternative {
    ApprovalAlternative {
        agent: "payments-by-hand@2.0.0".into(),
        purpose: "Has a clerk pay.".into(),
        risk: "minimal".into(),
        capabilities: vec!["invoice.pay".into()],
    }
}

fn source() -> ApprovalSource {
    ApprovalSource { reference: "steps.review.output".into(), agent: "review@1.0.0".into() }
}

fn change() -> ApprovalChange {
    ApprovalChange { path: "/amount".into(), before: "60".into(), after: "70".into() }
}

fn rung() -> ApprovalRung {
    ApprovalRung { at_unix_nanos: at(7_200), groups: vec!["legal-leads".into()] }
}

fn delegation() -> DelegationView {
    DelegationView {
        from: "bob@example.com".into(),
        to: "cyd@example.com".into(),
        groups: vec!["legal".into()],
        until_unix_nanos: at(86_400),
        given_at_unix_nanos: at(0),
    }
}

fn alike() -> Alike {
    Alike { approval: Some(view()), left: true }
}

fn stats() -> ApprovalStats {
    ApprovalStats {
        asked: 12,
        approved: 7,
        rejected: 2,
        expired: 1,
        withdrawn: 1,
        open: 1,
        decide_p50_seconds: 61.5,
        decide_p95_seconds: 3_600.25,
        open_p50_seconds: 30.5,
        open_p95_seconds: 1_800.25,
        decisions: 15,
        unopened: 2,
        rubber_stamps: 3,
        succeeded_after: 6,
        failed_after: 1,
        blocked_seconds: 7_200.5,
        blocked_cost_usd: 0.75,
        from_unix_nanos: at(0),
        complete: true,
    }
}
