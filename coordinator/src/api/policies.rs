//! `PolicyService`: which policies are served, were served, and wait for a second person.

use std::sync::Arc;

use kapelle_bus::policies::{File, Proposal, Set};
use kapelle_proto::v1::{self, policy_service_server::PolicyService};
use kapelle_types::Diagnosis;
use tonic::{Request, Response, Status};

use super::status::{caller, status};
use crate::policies::{Desk, Outcome, Wanted};

/// Versions of one answer, where the request names none, and at most.
const LIMIT_DEFAULT: u64 = 20;
const LIMIT_MAX: u64 = 200;

pub(super) struct PoliciesApi {
    desk: Arc<Desk>,
}

impl PoliciesApi {
    pub(super) const fn new(desk: Arc<Desk>) -> Self {
        Self { desk }
    }

    async fn sets(&self, request: &v1::PolicyHistoryRequest) -> Result<Vec<v1::PolicySet>, Diagnosis> {
        let limit = if request.limit == 0 { LIMIT_DEFAULT } else { u64::from(request.limit).min(LIMIT_MAX) };
        let latest = self.desk.serving().served()?.set.version;
        let first = if request.below == 0 { latest } else { latest.min(request.below - 1) };
        let mut sets = Vec::new();
        for version in (0..=first).rev().take(usize::try_from(limit).unwrap_or(usize::MAX)) {
            sets.push(view(self.desk.set(version).await?, false));
        }
        Ok(sets)
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl PolicyService for PoliciesApi {
    async fn get(&self, request: Request<v1::GetPoliciesRequest>) -> Answer<v1::PolicySet> {
        let set = match request.get_ref().version {
            None => self.desk.serving().served().map(|served| served.set.clone()),
            Some(version) => self.desk.set(version).await,
        };
        set.map(|set| Response::new(view(set, true))).map_err(|e| status(&e))
    }

    async fn apply(&self, request: Request<v1::ApplyPoliciesRequest>) -> Answer<v1::ApplyPoliciesResponse> {
        let caller = caller(&request)?;
        let v1::ApplyPoliciesRequest { files, why } = request.into_inner();
        let files = files.into_iter().map(|file| File { name: file.name, text: file.text }).collect();
        let outcome = self.desk.apply(&caller, Wanted { files, why, again: None }).await;
        outcome.map(|outcome| Response::new(told(outcome))).map_err(|e| status(&e))
    }

    async fn history(&self, request: Request<v1::PolicyHistoryRequest>) -> Answer<v1::PolicyHistoryResponse> {
        let sets = self.sets(request.get_ref()).await.map_err(|e| status(&e))?;
        Ok(Response::new(v1::PolicyHistoryResponse { sets }))
    }

    async fn rollback(&self, request: Request<v1::RollbackPoliciesRequest>) -> Answer<v1::ApplyPoliciesResponse> {
        let caller = caller(&request)?;
        let v1::RollbackPoliciesRequest { version, why } = request.into_inner();
        let set = self.desk.set(version).await.map_err(|e| status(&e))?;
        let wanted = Wanted { files: set.files, why, again: Some(version) };
        self.desk.apply(&caller, wanted).await.map(|outcome| Response::new(told(outcome))).map_err(|e| status(&e))
    }

    async fn proposals(&self, _: Request<v1::PolicyProposalsRequest>) -> Answer<v1::PolicyProposalsResponse> {
        let proposals = self.desk.serving().proposals().iter().cloned().map(proposal).collect();
        Ok(Response::new(v1::PolicyProposalsResponse { proposals }))
    }

    async fn approve(&self, request: Request<v1::ApproveProposalRequest>) -> Answer<v1::ApplyPoliciesResponse> {
        let caller = caller(&request)?;
        let set = self.desk.approve(&caller, &request.get_ref().id).await.map_err(|e| status(&e))?;
        Ok(Response::new(told(Outcome::Applied(set))))
    }
}

fn told(outcome: Outcome) -> v1::ApplyPoliciesResponse {
    let (outcome, served, waiting) = match outcome {
        Outcome::Applied(set) => ("applied", set, None),
        Outcome::Unchanged(set) => ("unchanged", set, None),
        Outcome::Proposed(set, waiting) => ("proposed", set, Some(proposal(*waiting))),
    };
    v1::ApplyPoliciesResponse { outcome: outcome.to_owned(), served: Some(view(served, false)), proposal: waiting }
}

fn file(file: File) -> v1::PolicyFile {
    v1::PolicyFile { name: file.name, text: file.text }
}

fn view(set: Set, whole: bool) -> v1::PolicySet {
    v1::PolicySet {
        version: set.version,
        digest: set.digest.to_string(),
        files: if whole { set.files.into_iter().map(file).collect() } else { Vec::new() },
        applied_by: set.applied_by.0,
        person: set.person.unwrap_or_default(),
        applied_at_unix_nanos: set.applied_at.nanos(),
        why: set.why,
        again: set.again.unwrap_or_default(),
        proposal: set.proposal.unwrap_or_default(),
        approved_by: set.approved_by.unwrap_or_default().0,
    }
}

fn proposal(proposal: Proposal) -> v1::PolicyProposal {
    let Proposal { id, set, replaces, replaces_digest, weakens, expires_at } = proposal;
    v1::PolicyProposal {
        id,
        digest: set.digest.to_string(),
        replaces,
        replaces_digest: replaces_digest.to_string(),
        proposed_by: set.applied_by.0,
        person: set.person.unwrap_or_default(),
        proposed_at_unix_nanos: set.applied_at.nanos(),
        expires_at_unix_nanos: expires_at.nanos(),
        why: set.why,
        weakens,
        files: set.files.into_iter().map(file).collect(),
    }
}
