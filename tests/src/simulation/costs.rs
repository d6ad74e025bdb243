//! A second opinion on what agents cost in a run, in quarters of a dollar.

use std::collections::BTreeMap;
use std::sync::Arc;

use kapelle_engine::{Plan, PlanStep};
use kapelle_types::{AgentVersion, StepRef, TaskId};

/// What was spent, and what may be.
pub(crate) struct Costs {
    plan: Arc<Plan>,
    /// What each attempt cost at most.
    paid: BTreeMap<TaskId, u64>,
    /// What an agent may cost since somebody retried its steps.
    granted: BTreeMap<AgentVersion, u64>,
}

impl Costs {
    pub(crate) fn new(plan: &Arc<Plan>) -> Self {
        Self { plan: Arc::clone(plan), paid: BTreeMap::new(), granted: BTreeMap::new() }
    }

    /// A report says what an attempt cost. It counts whatever becomes of it.
    pub(crate) fn pay(&mut self, task: &TaskId, cost_usd: f64) {
        let known = self.paid.entry(task.clone()).or_default();
        *known = quarters(cost_usd).max(*known);
    }

    /// Whether some agent has spent its limit. Whether it was granted anew depends on what else was stuck; nobody gives up
    /// for its cost below the limit itself.
    pub(crate) fn some_spent(&self) -> bool {
        self.plan.steps.iter().any(|planned| self.is_at_its_limit(planned))
    }

    pub(crate) fn is_at_its_limit(&self, planned: &PlanStep) -> bool {
        planned.cost_per_run().is_some_and(|limit| self.spent(planned) >= quarters(limit.as_f64()))
    }

    /// Whether an agent has spent what it may, by the reports of all attempts that were ever dispatched.
    pub(crate) fn has_spent(&self, planned: &PlanStep) -> bool {
        let (Some(limit), Some(agent)) = (planned.cost_per_run(), planned.agent()) else { return false };
        self.spent(planned) >= self.granted.get(agent).copied().unwrap_or(quarters(limit.as_f64()))
    }

    fn spent(&self, planned: &PlanStep) -> u64 {
        let does =
            |task: &TaskId| self.plan.steps.iter().any(|s| s.id == task.step.step && s.agent() == planned.agent());
        self.paid.iter().filter(|(task, _)| does(task)).map(|(_, quarters)| quarters).sum()
    }

    /// Somebody retries these steps, or all: who has spent what they may, may spend it once more.
    pub(crate) fn grant(&mut self, steps: &[StepRef]) {
        let meant = |id| steps.is_empty() || steps.iter().any(|step| step.step == id);
        let agents = self.plan.steps.iter().filter(|s| self.has_spent(s) && meant(s.id.clone()));
        let granted: Vec<_> = agents
            .filter_map(|s| Some((s.agent()?.clone(), self.spent(s) + quarters(s.cost_per_run()?.as_f64()))))
            .collect();
        self.granted.extend(granted);
    }
}

/// Costs in simulations are whole quarters of a dollar.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few quarters")]
fn quarters(usd: f64) -> u64 {
    (usd * 4.0).round().max(0.0) as u64
}
