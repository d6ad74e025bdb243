//! Who does a step: the agent that it names, then those whom it was handed to.

use kapelle_engine::{Actor, PlanStep};
use kapelle_types::{AgentVersion, RetryPolicy};

use super::Slot;

/// Whether a step may give up because its time for retries is over, whoever does it.
pub(crate) fn has_total(planned: &PlanStep) -> bool {
    let others = planned.handoff.iter().flat_map(|it| &it.to);
    planned.retry.total.is_some() || others.into_iter().any(|it| it.retry.total.is_some())
}

impl Slot {
    /// Who has it, if it was handed on.
    pub(super) fn hand<'p>(&self, planned: &'p PlanStep) -> Option<&'p Actor> {
        planned.handoff.as_ref()?.to.get(self.hops.last()?.0)
    }

    /// How its failures are retried now.
    pub(super) fn retry<'p>(&self, planned: &'p PlanStep) -> &'p RetryPolicy {
        self.hand(planned).map_or(&planned.retry, |it| &it.retry)
    }

    /// Whom an attempt is for.
    pub(super) fn agent_of<'p>(&self, planned: &'p PlanStep, attempt: u32) -> Option<&'p AgentVersion> {
        match self.hops.iter().rev().find(|(_, before)| *before < attempt) {
            None => planned.agent(),
            Some((at, _)) => planned.handoff.as_ref()?.to.get(*at).map(|it| &it.act.version),
        }
    }

    /// Who had it before whoever has it.
    pub(super) fn chain(&self, planned: &PlanStep) -> Vec<AgentVersion> {
        let Some((_, earlier)) = self.hops.split_last() else { return Vec::new() };
        let earlier = earlier.iter().filter_map(|(at, _)| planned.handoff.as_ref()?.to.get(*at));
        planned.agent().into_iter().chain(earlier.map(|it| &it.act.version)).cloned().collect()
    }
}
