//! `continue` of a workflow as the step that it is in a plan: behind all others it begins the run that goes on.

use std::time::Duration;

use kapelle_engine::{Act, Bond, OnGiveUp, Phase, PlanStep, WorkflowAct};
use kapelle_manifest::{Continuation, Workflow};
use kapelle_types::{RetryPolicy, WorkflowVersion};

use super::contracts::contract;
use super::{PlanError, broken, missing};

/// The step that begins the run which goes on in the place of another when all its work is done.
pub(super) fn going_on(
    version: &WorkflowVersion,
    workflow: &Workflow,
    next: &Continuation,
) -> Result<PlanStep, PlanError> {
    let id = Continuation::step_id().ok_or_else(|| missing(version))?;
    let act = WorkflowAct { version: version.clone(), bond: Bond::Continued };
    Ok(PlanStep {
        id,
        phase: Phase::Work,
        act: Act::Workflow(Box::new(act)),
        needs: (0..workflow.spec.steps.len()).collect(),
        join: None,
        case: None,
        when: Some(next.when.clone()),
        foreach: None,
        max_parallel: u32::MAX,
        batch: None,
        max_failures: None,
        with: next.with.clone(),
        input: contract(&workflow.spec.input).map_err(|e| broken(version, &e))?,
        output: None,
        repeat: None,
        handoff: None,
        retry: RetryPolicy::default(),
        timeout: Duration::ZERO,
        on_give_up: OnGiveUp::Stall,
        approve: None,
        priority: None,
    })
}
