//! A second opinion on what agents cost in a run, in quarters of a dollar.

use std::collections::BTreeMap;
use std::sync::Arc;

use kapelle_engine::{Plan, PlanStep};
use kapelle_types::{AgentVersion, StepRef, TaskId};

/// What was spent, and what may be.
pub(crate) struct Costs {
    plan: Arc<Plan>,
    /// What each attempt cost at most, and whose it was.
    paid: BTreeMap<TaskId, (AgentVersion, u64)>,
    /// What agents may cost; those that have no limit are left out.
    limits: BTreeMap<AgentVersion, u64>,
    /// What an agent may cost since somebody retried its steps.
    granted: BTreeMap<AgentVersion, u64>,
}

impl Costs {
    pub(crate) fn new(plan: &Arc<Plan>) -> Self {
        let own = plan.steps.iter().filter_map(|it| Some((it.agent()?, it.cost_per_run()?)));
        let others = plan.steps.iter().flat_map(|it| &it.handoff).flat_map(|it| &it.to);
        let others = others.filter_map(|it| Some((&it.act.version, it.act.cost_per_run?)));
        let limits = own.chain(others).map(|(agent, usd)| (agent.clone(), quarters(usd.as_f64()))).collect();
        Self { plan: Arc::clone(plan), paid: BTreeMap::new(), limits, granted: BTreeMap::new() }
    }

    /// A report says what an attempt cost. It counts whatever becomes of it.
    pub(crate) fn pay(&mut self, task: &TaskId, agent: AgentVersion, cost_usd: f64) {
        let known = &mut self.paid.entry(task.clone()).or_insert((agent, 0)).1;
        *known = quarters(cost_usd).max(*known);
    }

    /// Whether an agent that may do a step has a limit.
    pub(crate) fn is_limited(&self, planned: &PlanStep) -> bool {
        planned.agents().any(|agent| self.limits.contains_key(agent))
    }

    /// Whether some agent has spent its limit. Whether it was granted anew depends on what else was stuck; nobody gives up
    /// for its cost below the limit itself.
    pub(crate) fn some_spent(&self) -> bool {
        self.plan.steps.iter().any(|planned| self.is_at_its_limit(planned))
    }

    pub(crate) fn is_at_its_limit(&self, planned: &PlanStep) -> bool {
        planned.agents().any(|agent| self.limits.get(agent).is_some_and(|limit| self.spent(agent) >= *limit))
    }

    /// Whether an agent has spent what it may, by the reports of all attempts that were ever dispatched.
    pub(crate) fn has_spent(&self, agent: &AgentVersion) -> bool {
        let may = self.granted.get(agent).or_else(|| self.limits.get(agent));
        may.is_some_and(|may| self.spent(agent) >= *may)
    }

    fn spent(&self, agent: &AgentVersion) -> u64 {
        self.paid.values().filter(|(whose, _)| whose == agent).map(|(_, quarters)| quarters).sum()
    }

    /// Somebody retries these steps, or all: who has spent what they may, may spend it once more.
    pub(crate) fn grant(&mut self, steps: &[StepRef]) {
        let meant = |planned: &&PlanStep| steps.is_empty() || steps.iter().any(|step| step.step == planned.id);
        let agents = self.plan.steps.iter().filter(meant).flat_map(PlanStep::agents);
        let granted: Vec<_> = agents
            .filter(|agent| self.has_spent(agent))
            .filter_map(|agent| Some((agent.clone(), self.spent(agent) + self.limits.get(agent)?)))
            .collect();
        self.granted.extend(granted);
    }
}

/// Costs in simulations are whole quarters of a dollar.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few quarters")]
fn quarters(usd: f64) -> u64 {
    (usd * 4.0).round().max(0.0) as u64
}
