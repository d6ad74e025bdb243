//! Samples of `audit.proto` and `policy.proto`: the audit trail and the served policies.

use kapelle_proto::v1::{
    ApplyPoliciesRequest, ApplyPoliciesResponse, ApproveProposalRequest, AuditDecision, AuditEntry, AuditFilter,
    AuditRecord, AuditWhat, AuditWho, GetPoliciesRequest, ListAuditRequest, ListAuditResponse, PolicyFile,
    PolicyHistoryRequest, PolicyHistoryResponse, PolicyProposal, PolicyProposalsRequest, PolicyProposalsResponse,
    PolicySet, RollbackPoliciesRequest, WatchAuditRequest,
};

use super::{RUN, at};
use crate::golden::Sample;

pub(super) fn samples() -> Vec<Sample> {
    vec![
        Sample::new(record()),
        Sample::new(who()),
        Sample::new(what()),
        Sample::new(filter()),
        Sample::new(AuditEntry { seq: 7, record: Some(record()) }),
        Sample::new(ListAuditRequest {
            filter: Some(filter()),
            since_unix_nanos: at(0),
            until_unix_nanos: at(60),
            limit: 50,
            page: 8,
        }),
        Sample::new(ListAuditResponse { entries: vec![AuditEntry { seq: 7, record: Some(record()) }], next: 8 }),
        Sample::new(WatchAuditRequest { filter: Some(filter()) }),
        Sample::new(file()),
        Sample::new(set()),
        Sample::new(GetPoliciesRequest { version: Some(3) }),
        Sample::new(ApplyPoliciesRequest { files: vec![file()], why: "a trial".into() }),
        Sample::new(ApplyPoliciesResponse {
            outcome: "proposed".into(),
            served: Some(set()),
            proposal: Some(proposal()),
        }),
        Sample::new(PolicyHistoryRequest { limit: 20, below: 4 }),
        Sample::new(PolicyHistoryResponse { sets: vec![set()] }),
        Sample::new(RollbackPoliciesRequest { version: 2, why: "it was better".into() }),
        Sample::new(proposal()),
        Sample::named("files", PolicyProposal { files: vec![file()], ..proposal() }),
        Sample::new(PolicyProposalsRequest {}),
        Sample::new(PolicyProposalsResponse { proposals: vec![proposal()] }),
        Sample::new(ApproveProposalRequest { id: "0011223344556677".into() }),
    ]
}

fn record() -> AuditRecord {
    AuditRecord {
        version: 1,
        id: "0192f3c4-5a6b-7c8d-9e0f-112233445566".into(),
        at_unix_nanos: at(60),
        component: "api".into(),
        verb: "denied".into(),
        who: Some(who()),
        what: Some(what()),
        decision: AuditDecision::Deny.into(),
        policy: "default_deny".into(),
        code: "K0503".into(),
        reason: "No policy permits it.".into(),
        count: 17,
        first_at_unix_nanos: at(0),
        by: "c-0011".into(),
    }
}

fn who() -> AuditWho {
    AuditWho {
        principal: "token:ci".into(),
        person: "ada@example.com".into(),
        roles: vec!["viewer".into(), "publisher".into()],
        namespace: "default".into(),
    }
}

fn what() -> AuditWhat {
    AuditWhat {
        action: "kapelle.v1.RunService/Cancel".into(),
        kind: "run".into(),
        name: "software-intake".into(),
        run_id: RUN.into(),
        step: "review:17".into(),
    }
}

fn filter() -> AuditFilter {
    AuditFilter {
        component: "api".into(),
        verb: "denied".into(),
        principal: "token:ci".into(),
        decision: AuditDecision::Deny.into(),
    }
}

fn file() -> PolicyFile {
    PolicyFile { name: "people.cedar".into(), text: "permit (principal, action, resource);".into() }
}

fn set() -> PolicySet {
    PolicySet {
        version: 3,
        digest: "ab".repeat(32),
        files: vec![file()],
        applied_by: "oidc:https://id.example.com#ada".into(),
        person: "ada@example.com".into(),
        applied_at_unix_nanos: at(0),
        why: "a trial".into(),
        again: 1,
        proposal: "0011223344556677".into(),
        approved_by: "oidc:https://id.example.com#bob".into(),
    }
}

fn proposal() -> PolicyProposal {
    PolicyProposal {
        id: "0011223344556677".into(),
        digest: "cd".repeat(32),
        replaces: 3,
        replaces_digest: "ab".repeat(32),
        proposed_by: "oidc:https://id.example.com#ada".into(),
        person: "ada@example.com".into(),
        proposed_at_unix_nanos: at(0),
        expires_at_unix_nanos: at(259_200),
        why: "a trial".into(),
        weakens: vec!["`no_nights` would only be logged".into()],
        ..PolicyProposal::default()
    }
}
