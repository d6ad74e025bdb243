//! Contracts of manifests as the engine checks them.

use std::sync::Arc;

use kapelle_engine::{Check, Contract, Pin, WorkflowPin};
use kapelle_manifest::{Agent, Checker, InvalidSchema, Step, Workflow};
use serde_json::Value;

use super::{PlanError, broken};

/// What a step's agent takes, or the workflow that it runs.
pub(super) fn taken(
    pinned: Option<(&Pin, &Agent)>,
    called: Option<(&WorkflowPin, &Workflow)>,
) -> Result<Option<Contract>, PlanError> {
    match (pinned, called) {
        (Some((pin, agent)), _) => contract(&agent.spec.input).map_err(|e| broken(&pin.agent, &e)),
        (None, Some((pin, workflow))) => contract(&workflow.spec.input).map_err(|e| broken(&pin.workflow, &e)),
        (None, None) => Ok(None),
    }
}

/// What a step's agent gives, or the workflow that it runs and waits for.
pub(super) fn given(
    step: &Step,
    pinned: Option<(&Pin, &Agent)>,
    called: Option<(&WorkflowPin, &Workflow)>,
) -> Result<Option<Contract>, PlanError> {
    let awaited = called.filter(|_| step.act.call().is_some_and(|call| !call.detach));
    match (pinned, awaited) {
        (Some((pin, agent)), _) => contract(&agent.spec.output).map_err(|e| broken(&pin.agent, &e)),
        (None, Some((pin, workflow))) => contract(&workflow.spec.result).map_err(|e| broken(&pin.workflow, &e)),
        (None, None) => Ok(None),
    }
}

/// A declared contract as the engine checks it; `None` for one that takes anything.
pub(super) fn contract(declared: &kapelle_manifest::Contract) -> Result<Option<Contract>, InvalidSchema> {
    if declared.is_any() {
        return Ok(None);
    }
    Ok(Some(Contract::new(Arc::new(Schema(declared.compile()?)))))
}

/// A compiled schema, as the engine sees it.
#[derive(Debug)]
struct Schema(Checker);

impl Check for Schema {
    fn violation(&self, value: &Value) -> Option<String> {
        // Nearly all payloads keep their contract, and saying that they do is much cheaper than saying why not.
        if self.0.accepts(value) {
            return None;
        }
        let found: Vec<String> = self.0.violations(value).iter().map(ToString::to_string).collect();
        Some(found.join("; "))
    }
}
