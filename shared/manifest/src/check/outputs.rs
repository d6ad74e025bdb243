//! What each step gives, as far as it is declared: an agent by its contract, other steps by what they are.

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
    /// What those steps give that no agent does; `None` if it may be anything.
    own: Vec<Option<Contract>>,
}

impl Outputs {
    pub(super) fn of(workflow: &Workflow, catalog: &dyn Catalog) -> Self {
        let agents = workflow.every_step().map(|step| step.act.performer()?.resolve(catalog).ok()).collect();
        Self { agents, own: workflow.every_step().map(|step| own(workflow, &step.act)).collect() }
    }

    /// What a step gives; of a `foreach` what one member gives.
    pub(super) fn of_step(&self, index: usize) -> Option<&Contract> {
        let agent = self.agents.get(index)?.as_ref().map(|agent| &agent.spec.output);
        agent.or_else(|| self.own.get(index)?.as_ref())
    }
}

fn own(workflow: &Workflow, act: &Act) -> Option<Contract> {
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
        Act::Agent(_) | Act::Value(_) => None,
    }
}
