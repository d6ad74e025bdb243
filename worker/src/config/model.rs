//! What a worker has to know of a model agent.

use kapelle_manifest::{Access, AgentSpec, Contract, Model, Runtime};
use kapelle_types::Usd;

/// A language model, as its manifest declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// The model, and how it is asked.
    pub model: Model,
    /// The hosts, tools and secrets that it is granted.
    pub access: Access,
    /// What it has to give.
    pub output: Contract,
    /// What all its tasks may cost in one run, and so the most that one may. Default: no limit.
    pub cost_per_run: Option<Usd>,
}

impl ModelSpec {
    /// What the worker has to know of an agent; `None` if it is no model agent.
    #[must_use]
    pub fn of(agent: &AgentSpec) -> Option<Self> {
        let Runtime::Model(model) = &agent.runtime else { return None };
        Some(Self {
            model: Model::clone(model),
            access: agent.access.clone(),
            output: agent.output.clone(),
            cost_per_run: agent.role.limits.cost_per_run,
        })
    }
}
