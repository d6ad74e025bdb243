//! What each step gives, as far as it is declared: an agent by its contract, other steps by what they are.

use std::fmt;
use std::sync::Arc;

use kapelle_contract::Contract;
use serde_json::json;

use crate::act::Act;
use crate::catalog::Catalog;
use crate::{Agent, Workflow};

/// The steps of a workflow with who does them and what they give.
pub(super) struct Outputs {
    /// Who does each step, in the order of `every_step`; `None` where nobody does or is known.
    pub(super) agents: Vec<Option<Arc<Agent>>>,
    /// The workflow that each step runs; `None` where it runs none or none is known.
    pub(super) workflows: Vec<Option<Arc<Workflow>>>,
    /// What those steps give that no agent does; `None` if it may be anything.
    own: Vec<Option<Contract>>,
}

impl Outputs {
    pub(super) fn of(workflow: &Workflow, catalog: &dyn Catalog) -> Self {
        let agents = workflow.every_step().map(|step| step.act.performer()?.resolve(catalog).ok()).collect();
        let workflows: Vec<_> = workflow.every_step().map(|step| step.act.call()?.resolve(catalog).ok()).collect();
        let steps = workflow.every_step().zip(&workflows);
        let own = steps.map(|(step, run)| own(workflow, &step.act, run.as_deref())).collect();
        Self { agents, workflows, own }
    }

    /// What a step gives; of a `foreach` what one member gives.
    pub(super) fn of_step(&self, index: usize) -> Option<&Contract> {
        let agent = self.agents.get(index)?.as_ref().map(|agent| &agent.spec.output);
        agent.or_else(|| self.own.get(index)?.as_ref())
    }

    /// Who takes what a step is given, if anybody does and is known.
    pub(super) fn taker(&self, index: usize) -> Option<Taker<'_>> {
        let agent = self.agents.get(index)?.as_deref().map(Taker::Agent);
        agent.or_else(|| self.workflows.get(index)?.as_deref().map(Taker::Workflow))
    }
}

/// Who takes what a step is given.
#[derive(Clone, Copy)]
pub(super) enum Taker<'o> {
    Agent(&'o Agent),
    Workflow(&'o Workflow),
}

impl Taker<'_> {
    /// What it takes.
    pub(super) const fn input(&self) -> &Contract {
        match self {
            Self::Agent(agent) => &agent.spec.input,
            Self::Workflow(workflow) => &workflow.spec.input,
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Agent(agent) => agent.metadata.name.as_str(),
            Self::Workflow(workflow) => workflow.metadata.name.as_str(),
        }
    }
}

impl fmt::Display for Taker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(agent) => write!(f, "the agent `{}`", agent.version()),
            Self::Workflow(workflow) => write!(f, "the workflow `{}`", workflow.version()),
        }
    }
}

/// `run` is the workflow that the step runs.
fn own(workflow: &Workflow, act: &Act, run: Option<&Workflow>) -> Option<Contract> {
    match act {
        Act::Switch(cases) => {
            let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
            Some(Contract::new(json!({ "enum": names })))
        }
        Act::Wait(_) | Act::Emit(_) => Some(Contract::new(json!({ "type": "null" }))),
        Act::Signal(name) => workflow.spec.signals.get(name).cloned(),
        Act::Approval(_) => Some(Contract::new(json!({
            "type": "object",
            "properties": {
                "decision": { "enum": ["approve", "edit", "override"] },
                "by": { "type": "array", "items": { "type": "string" } },
                "at": { "type": "string" },
                "comment": { "type": "string" },
                "edited": true,
            },
            "required": ["decision", "by", "at", "comment", "edited"],
        }))),
        Act::Workflow(call) if call.detach => Some(Contract::new(json!({
            "type": "object", "required": ["run_id"], "properties": { "run_id": { "type": "string" } },
            "additionalProperties": false,
        }))),
        Act::Workflow(_) => run.map(|it| it.spec.result.clone()).filter(|result| !result.is_any()),
        Act::Agent(_) | Act::Value(_) => None,
    }
}
