//! A fork keeps what does not depend on its first step: nothing of that is dispatched, and where agents answer as they did,
//! the end is the same.

use std::sync::Arc;

use kapelle_types::StepId;
use proptest::prelude::*;

use crate::testing::{Agents, Dice, Shape, World, forked, plan, random_input, random_spec, replay, submission};
use crate::{KeptOutcome, StepStatus, invariant, keep};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_kept_is_not_done_again_and_the_end_is_the_same(seed: u64, events in 0usize..60, fail in 0u64..30) {
        let shape = Shape { cost: true, ..Shape::default() };
        let plan = Arc::new(plan(&random_spec(seed, &shape)));
        let agents = Agents { seed, fail, lost: fail / 3, returned: 5 };
        let mut dice = Dice::new(seed ^ 0xf02c);
        let mut first = World::submitted(Arc::clone(&plan), random_input(seed), agents);
        for _ in 0..events {
            first.tick(&mut dice);
        }
        let from = plan.steps[dice.below(plan.steps.len())].id.clone();
        let Ok(kept) = keep(&first.run, &plan, &from, |_| true) else { return Ok(()) };
        let ids: Vec<StepId> = kept.iter().map(|kept| kept.step.clone()).collect();
        let skipped = kept.iter().filter(|kept| kept.outcome == KeptOutcome::Skipped).count();

        let mut fork = World::empty(first.run.before_its_log(), agents);
        let _ = fork.log_and_perform(forked(submission(random_input(seed)), kept));
        prop_assert_eq!(fork.run.steps().filter(|s| s.status == StepStatus::Skipped && ids.contains(s.id)).count(), skipped);
        loop {
            prop_assert!(fork.queue.keys().all(|task| !ids.contains(&task.step.step)), "{:?}", fork.queue.keys());
            prop_assert_eq!(&replay(&fork.run, &fork.log), &fork.run, "a rebuilt run is equal");
            if !fork.tick(&mut dice) {
                break;
            }
        }
        let attempts = |id: &StepId| fork.run.steps().find(|s| s.id == id).map(|s| s.attempts);
        prop_assert!(ids.iter().all(|id| attempts(id) == Some(0)));
        prop_assert!(invariant::check(&fork.run).is_ok());

        first.settle(&mut dice);
        let output = |world: &World| world.run.outcome().and_then(|outcome| outcome.output.clone());
        if let (Some(one), Some(other)) = (output(&first), output(&fork)) {
            prop_assert_eq!(one, other);
        }
    }
}
