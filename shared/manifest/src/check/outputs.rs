//! What each step gives, as far as it is declared: an agent by its contract, or whichever of several ends it, other steps by
//! what they are.

use std::fmt;
use std::sync::Arc;

use kapelle_contract::{Contract, Pointer};
use serde_json::{Map, Value, json};

use crate::act::Act;
use crate::catalog::Catalog;
use crate::performer::Performer;
use crate::{Agent, Step, Workflow};

/// The steps of a workflow with who does them and what they give.
pub(super) struct Outputs {
    /// Who does each step, in the order of `every_step`; `None` where nobody does or is known.
    pub(super) agents: Vec<Option<Arc<Agent>>>,
    /// Whom each step may be handed to, in the order of `to`; `None` for who is not known.
    pub(super) others: Vec<Vec<Option<Arc<Agent>>>>,
    /// The workflow that each step runs; `None` where it runs none or none is known.
    pub(super) workflows: Vec<Option<Arc<Workflow>>>,
    /// What those steps give that no agent does alone; `None` if it may be anything.
    own: Vec<Option<Contract>>,
}

impl Outputs {
    pub(super) fn of(workflow: &Workflow, catalog: &dyn Catalog) -> Self {
        let agents = workflow.every_step().map(|step| step.act.performer()?.resolve(catalog).ok()).collect();
        let workflows: Vec<_> = workflow.every_step().map(|step| step.act.call()?.resolve(catalog).ok()).collect();
        let others: Vec<_> = workflow.every_step().map(|step| others(step, catalog)).collect();
        let steps = workflow.every_step().zip(&workflows);
        let own = steps.map(|(step, run)| own(workflow, &step.act, run.as_deref())).collect();
        let mut outputs = Self { agents, others, workflows, own };
        let handed_on =
            (0..outputs.others.len()).filter(|index| !outputs.others[*index].is_empty()).collect::<Vec<_>>();
        for index in handed_on {
            outputs.own[index] = outputs.any_of(index);
        }
        outputs
    }

    /// What a step gives; of a `foreach` what one member gives.
    pub(super) fn of_step(&self, index: usize) -> Option<&Contract> {
        let alone = self.others.get(index)?.is_empty();
        let agent = self.agents.get(index)?.as_ref().filter(|_| alone).map(|agent| &agent.spec.output);
        agent.or_else(|| self.own.get(index)?.as_ref())
    }

    /// The same for each that may end the step, with who that is if there are several: what is referred to has to be there
    /// whoever does.
    pub(super) fn each_of_step(&self, index: usize) -> Vec<(Option<&Agent>, &Contract)> {
        match self.others.get(index) {
            Some(others) if !others.is_empty() => {
                self.agents_of(index).map(|agent| (Some(agent), &agent.spec.output)).collect()
            }
            Some(_) | None => self.of_step(index).map(|output| (None, output)).into_iter().collect(),
        }
    }

    /// Who may do a step, as far as known: the first first.
    pub(super) fn agents_of(&self, index: usize) -> impl Iterator<Item = &Agent> {
        let first = self.agents.get(index).and_then(Option::as_deref);
        first.into_iter().chain(self.others.get(index).into_iter().flatten().filter_map(Option::as_deref))
    }

    /// What whichever of several agents gives; `None` if one of them is not known, or may give anything.
    fn any_of(&self, index: usize) -> Option<Contract> {
        let known = self.agents.get(index)?.is_some() && self.others.get(index)?.iter().all(Option::is_some);
        let (mut all, mut definitions) = (Vec::<&Contract>::new(), Map::new());
        for output in self.agents_of(index).filter(|_| known).map(|agent| &agent.spec.output) {
            if output.is_any() {
                return None;
            }
            if !all.iter().any(|it| it.schema() == output.schema()) {
                let name = all.len().to_string();
                let at = Pointer::root().field("$defs").field(&name);
                definitions.insert(name, output.placed(&at)?);
                all.push(output);
            }
        }
        match all.as_slice() {
            [] => None,
            [only] => Some((*only).clone()),
            several => {
                let any: Vec<Value> = (0..several.len()).map(|n| json!({ "$ref": format!("#/$defs/{n}") })).collect();
                Some(Contract::new(json!({ "anyOf": any, "$defs": definitions })))
            }
        }
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

/// Whom a step may be handed to.
fn others(step: &Step, catalog: &dyn Catalog) -> Vec<Option<Arc<Agent>>> {
    let to = step.handoff.iter().flat_map(|it| &it.to).cloned();
    to.map(|it| Performer::Agent(it).resolve(catalog).ok()).collect()
}

/// `run` is the workflow that the step runs.
fn own(workflow: &Workflow, act: &Act, run: Option<&Workflow>) -> Option<Contract> {
    match act {
        Act::Switch(cases) => {
            let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
            Some(Contract::new(json!({ "enum": names })))
        }
        Act::Wait(_) | Act::Emit(_) => Some(Contract::new(json!({ "type": "null" }))),
        Act::Signal(name) => workflow.spec.signals.get(name).map(|it| it.contract.clone()),
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
