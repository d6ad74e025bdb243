//! Questions that are alike, found for whoever decides them together. Nothing is decided here: each is decided by its own
//! digest, judged and put on record as any other.

use kapelle_proto::v1;
use kapelle_types::{Caller, Code, Diagnosis, StepId, WorkflowName, limits};

use super::{invalid, unseen, view};
use crate::api::Context;
use crate::approvals::{Asked, Rule, sample};
use crate::listing::{Query, list_all};
use crate::runs::rebuild;

/// Runs that one selection looks at: each is rebuilt.
const RUNS_MAX: usize = 1_000;
/// Questions that one selection finds: more than that nobody previews.
const FOUND_MAX: usize = 500;

pub(super) async fn find(
    context: &Context,
    caller: &Caller,
    request: v1::AlikeRequest,
) -> Result<v1::AlikeResponse, Diagnosis> {
    // Who asks rules about arguments learns of them by the answers.
    if !context.access.sees(caller, None) {
        return Err(unseen(&caller.principal.0, &request.step));
    }
    let workflow: WorkflowName = request.workflow.parse().map_err(|e| wrong(&e))?;
    let step: StepId = request.step.parse().map_err(|e| wrong(&e))?;
    let rule = Rule::read(&request.r#where).map_err(|why| invalid(&format!("the rule cannot be used: {why}")))?;
    let peers = context.peers.borrow().clone();
    let query = Query { held: true, workflow: workflow.to_string(), limit: RUNS_MAX, ..Query::default() };
    let answer = list_all(&context.bus, &context.id, &context.served, &peers, &query).await;
    let mut more = answer.total > answer.rows.len() as u64;
    let (mut found, mut digests) = (Vec::new(), Vec::new());
    for row in answer.rows {
        let run = match rebuild(&context.bus, &context.plans, row.run).await {
            Ok(rebuilt) => rebuilt.run,
            Err(gone) if gone.code == Code::UNKNOWN_RUN => continue,
            Err(error) => return Err(error),
        };
        let here = run.plan().workflow.name == workflow;
        for held in run.held().filter(|it| here && !it.decided && it.step.step == step) {
            let submitted_at = run.submitted_at().unwrap_or_default();
            let asked = Asked { run: run.id(), submitted_at, arguments: &held.arguments };
            if !rule.accepts(&asked) {
                continue;
            }
            if found.len() == FOUND_MAX {
                more = true;
                break;
            }
            digests.push(held.digest);
            found.push(view(&run, &held));
        }
    }
    let left = sample(&digests, request.sample as usize);
    let one = |(approval, digest)| v1::Alike { approval: Some(approval), left: left.contains(&digest) };
    Ok(v1::AlikeResponse { found: found.into_iter().zip(digests).map(one).collect(), more })
}

fn wrong(error: &kapelle_types::InvalidName) -> Diagnosis {
    let message: String = error.to_string().chars().take(limits::REASON_CHARS_MAX).collect();
    invalid(&message)
}
