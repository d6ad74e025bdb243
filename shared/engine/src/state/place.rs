//! Where something stands in a run: steps and members by number, who depends on whom, and the seed of each.

use kapelle_types::{RunId, StepId, StepRef, TaskId};

use crate::plan::{Plan, StepIndex};

/// A step or one member of a `foreach` step, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The step's place in the plan.
    pub(crate) step: StepIndex,
    /// The member's index.
    pub(crate) item: Option<u32>,
}

impl Place {
    pub(crate) const fn whole(step: StepIndex) -> Self {
        Self { step, item: None }
    }

    pub(crate) const fn member(step: StepIndex, item: u32) -> Self {
        Self { step, item: Some(item) }
    }

    /// The name that people and subjects have for it; `None` only if the plan has no such step.
    pub(crate) fn name(self, plan: &Plan) -> Option<StepRef> {
        plan.steps.get(self.step).map(|s| StepRef { step: s.id.clone(), item: self.item })
    }

    /// The name of one of its attempts.
    pub(crate) fn task(self, plan: &Plan, attempt: u32) -> Option<TaskId> {
        self.name(plan).map(|step| TaskId { step, attempt })
    }
}

/// For each step the steps that need it: the reverse of `PlanStep::needs`, as offsets followed by edges in one block, so
/// that the end of a step touches its dependants only.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Dependants(Box<[u32]>);

impl Dependants {
    /// `None` if a step needs one that does not stand before it: such a plan could wait for ever.
    pub(crate) fn of(plan: &Plan) -> Option<Self> {
        let count = plan.steps.len();
        let mut ends = vec![0u32; count + 1];
        for (index, step) in plan.steps.iter().enumerate() {
            for need in &step.needs {
                if *need >= index {
                    return None;
                }
                ends[*need + 1] += 1;
            }
        }
        let first = u32::try_from(count + 1).ok()?;
        ends[0] = first;
        for index in 1..=count {
            ends[index] += ends[index - 1];
        }
        let total = usize::try_from(ends[count]).ok()?;
        let mut next = ends.clone();
        let mut block = ends;
        block.resize(total, 0);
        for (index, step) in plan.steps.iter().enumerate() {
            for need in &step.needs {
                block[next[*need] as usize] = u32::try_from(index).ok()?;
                next[*need] += 1;
            }
        }
        Some(Self(block.into_boxed_slice()))
    }

    /// The steps that need this one, in the plan's order.
    pub(crate) fn on(&self, step: StepIndex) -> impl Iterator<Item = StepIndex> {
        let at = |i: usize| self.0.get(i).map_or(0, |n| *n as usize);
        self.0.get(at(step)..at(step + 1)).unwrap_or(&[]).iter().map(|n| *n as usize)
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

/// A number that differs by run, step and member and never changes: what jitter derives from.
pub(crate) fn seed(run: &RunId, step: &StepId, item: Option<u32>) -> u64 {
    let start = fold(run.seed(), step.as_str().as_bytes());
    item.map_or(start, |i| fold(start, &i.to_le_bytes()))
}

/// One round of FNV-1a over bytes, from any start.
pub(crate) fn fold(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{plan, run_id};

    #[test]
    fn dependants_are_needs_the_other_way_round() {
        let plan = plan(&json!({"steps": [
            {"id": "a"}, {"id": "b", "needs": ["a"]}, {"id": "c"}, {"id": "d", "needs": ["c", "a", "b"]},
        ]}));
        let dependants = Dependants::of(&plan).unwrap();
        let on = |step| dependants.on(step).collect::<Vec<_>>();
        assert_eq!([on(0), on(1), on(2), on(3), on(4)], [vec![1, 3], vec![3], vec![3], vec![], vec![]]);
    }

    #[test]
    fn seeds_differ_by_run_step_and_member_and_never_change() {
        let seeds = [
            seed(&run_id(), &"a".parse().unwrap(), None),
            seed(&run_id(), &"a".parse().unwrap(), Some(0)),
            seed(&run_id(), &"a".parse().unwrap(), Some(1)),
            seed(&run_id(), &"b".parse().unwrap(), None),
            seed(&RunId::keyed("default", &"w".parse().unwrap(), "k"), &"a".parse().unwrap(), None),
        ];
        assert_eq!(seeds[0], 6_296_547_609_636_085_435, "recorded once; replays depend on it");
        for (i, one) in seeds.iter().enumerate() {
            assert!(seeds[i + 1..].iter().all(|other| other != one));
        }
    }
}
