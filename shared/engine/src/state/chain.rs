//! Who did a step that was handed on, one after another: kept when it has ended, for people and for reports that come late.

use std::collections::BTreeMap;

use kapelle_types::{AgentVersion, Attempt, TaskId};

use super::place::Place;
use super::run::Run;
use crate::plan::{ActorIndex, Doing, PlanStep, StepIndex};

/// The hops of a run's steps; most runs have none.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Chains(BTreeMap<StepIndex, Vec<Hop>>);

/// A step was handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hop {
    /// Who goes on with it.
    pub(crate) to: ActorIndex,
    /// The last attempt of those before.
    pub(crate) after: Attempt,
}

impl Chains {
    pub(crate) fn weight_bytes(&self) -> usize {
        self.0.values().map(|hops| size_of::<(StepIndex, Vec<Hop>)>() + size_of_val(hops.as_slice())).sum()
    }

    /// The steps that were handed on, with their hops.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (StepIndex, &[Hop])> {
        self.0.iter().map(|(step, hops)| (*step, hops.as_slice()))
    }
}

impl Run {
    /// How a step was handed on so far.
    pub(crate) fn hops(&self, place: Place) -> &[Hop] {
        let hops = self.chains.as_ref().filter(|_| place.item.is_none()).and_then(|it| it.0.get(&place.step));
        hops.map_or(&[], Vec::as_slice)
    }

    /// Who does the present attempt of a step or member, or did the last.
    pub(crate) fn actor(&self, place: Place) -> ActorIndex {
        self.hops(place).last().map_or(0, |hop| hop.to)
    }

    /// The same with what is agreed about it.
    pub(crate) fn doing<'p>(&self, place: Place, planned: &'p PlanStep) -> Doing<'p> {
        planned.by(self.actor(place))
    }

    /// Who did this attempt.
    pub(crate) fn actor_of(&self, place: Place, attempt: Attempt) -> ActorIndex {
        self.hops(place).iter().rev().find(|hop| hop.after < attempt).map_or(0, |hop| hop.to)
    }

    /// Somebody else goes on with a step, in the attempts that are to come.
    pub(crate) fn hand_on(&mut self, place: Place, to: ActorIndex) {
        let after = self.slot(place).map_or(0, |slot| slot.attempt);
        let chains = self.chains.get_or_insert_default();
        chains.0.entry(place.step).or_default().push(Hop { to, after });
    }

    /// Who did a step before whoever does it now, or did it last: the first that had it first.
    pub(crate) fn before(&self, place: Place) -> impl Iterator<Item = &AgentVersion> {
        let (hops, planned) = (self.hops(place), self.plan.steps.get(place.step));
        let earlier = hops.split_last().map(|(_, earlier)| [0].into_iter().chain(earlier.iter().map(|hop| hop.to)));
        earlier.into_iter().flatten().filter_map(move |actor| planned?.by(actor).version())
    }

    /// The agent version that an attempt is for; `None` if it is no agent's.
    #[must_use]
    pub fn agent_of(&self, task: &TaskId) -> Option<&AgentVersion> {
        let place = Place { step: self.find(&task.step.step)?, item: task.step.item };
        self.plan.steps.get(place.step)?.by(self.actor_of(place, task.attempt)).version()
    }
}
