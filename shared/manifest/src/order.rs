//! In which order steps can be done, or the circle that forbids it.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use kapelle_types::StepId;

use crate::step::Step;

/// Steps that need each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Cycle {
    /// The steps of the circle: each needs the next one, the last needs the first.
    pub steps: Vec<StepId>,
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<&str> = self.steps.iter().chain(self.steps.first()).map(StepId::as_str).collect();
        f.write_str(&steps.join(" → "))
    }
}

/// Positions of the steps, each after those that it needs. Needs of steps that are not there are passed over.
pub(crate) fn order(steps: &[Step]) -> Result<Vec<usize>, Cycle> {
    let at: HashMap<&StepId, usize> = steps.iter().enumerate().rev().map(|(index, step)| (&step.id, index)).collect();
    let needs: Vec<Vec<usize>> =
        steps.iter().map(|step| step.needs.iter().filter_map(|need| at.get(need).copied()).collect()).collect();
    let mut needed_by = vec![Vec::new(); steps.len()];
    let mut open: Vec<usize> = needs.iter().map(Vec::len).collect();
    for (index, needs) in needs.iter().enumerate() {
        for need in needs {
            needed_by[*need].push(index);
        }
    }
    let mut ready: BTreeSet<usize> = (0..steps.len()).filter(|index| open[*index] == 0).collect();
    let mut order = Vec::with_capacity(steps.len());
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for next in &needed_by[index] {
            open[*next] -= 1;
            if open[*next] == 0 {
                ready.insert(*next);
            }
        }
    }
    if order.len() == steps.len() { Ok(order) } else { Err(cycle(steps, &needs, &open)) }
}

/// Walks from any step that is left to one that it needs and that is left too, until a step comes again.
fn cycle(steps: &[Step], needs: &[Vec<usize>], open: &[usize]) -> Cycle {
    let mut way: Vec<usize> = Vec::new();
    let mut next = (0..steps.len()).find(|index| open[*index] > 0);
    while let Some(index) = next {
        if let Some(start) = way.iter().position(|seen| *seen == index) {
            return Cycle { steps: way[start..].iter().map(|index| steps[*index].id.clone()).collect() };
        }
        way.push(index);
        next = needs[index].iter().copied().find(|need| open[*need] > 0);
    }
    Cycle { steps: way.iter().map(|index| steps[*index].id.clone()).collect() }
}
