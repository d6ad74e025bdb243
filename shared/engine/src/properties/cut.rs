//! A log may be cut anywhere: performing what is outstanding leads to the same end as the commands that were lost, and
//! so does a world in which nothing but the log is left.

use std::collections::BTreeSet;
use std::sync::Arc;

use kapelle_types::StepRef;
use proptest::prelude::*;
use serde_json::Value;

use crate::testing::{Agents, Dice, Shape, World, plan, random_input, random_spec};
use crate::{Body, RunFinished};

/// How a run ended, or where it stands still. The sequence at which it was decided depends on the order of events, and
/// so does the step that is named if several fail the run.
#[derive(Debug, PartialEq)]
struct End {
    outcome: Option<RunFinished>,
    dead: BTreeSet<StepRef>,
    stall: Option<String>,
}

fn end(mut world: World, dice: &mut Dice) -> End {
    if world.run.paused {
        let _ = world.log_and_perform(Body::ResumeRequested);
    }
    world.settle(dice);
    assert!(!world.run.is_finished() || world.run.is_marked());
    let outcome = world.run.outcome().cloned().map(|o| RunFinished { decided_seq: 0, error: None, ..o });
    End { outcome, dead: world.dead.clone(), stall: world.run.stall_reason().map(|f| f.message) }
}

/// One event of a run's life; the answer is performed by the caller.
fn event(world: &mut World, dice: &mut Dice) -> Option<Body> {
    match dice.below(12) {
        0 => Some(Body::PauseRequested { reason: String::new() }),
        1 => Some(Body::ResumeRequested),
        2 => Some(Body::RetryRequested { steps: Vec::new() }),
        _ => {
            let mut ahead = world.clone();
            if !ahead.tick(dice) {
                return None;
            }
            let body = ahead.log.last().map(|r| r.entries[0].body.clone());
            match &body {
                Some(Body::TimerFired { timer }) => drop(world.timers.remove(timer)),
                Some(Body::StepSucceeded(s)) => world.forget(&s.task),
                Some(Body::StepFailed(f)) => world.forget(&f.task),
                Some(Body::ApprovalChecked(checked)) => drop(world.checks.remove(&checked.step)),
                Some(Body::RunFinished(_)) => drop(world.marks.pop()),
                _ => {}
            }
            world.clock = ahead.clock;
            body
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_end_is_the_same_wherever_the_log_is_cut(seed: u64, fail in 0u64..40, steps_max in 1usize..7, kinds in 0u64..60, repeat in 0u64..60, handoff in 0u64..60) {
        let spec = random_spec(seed, &Shape { steps_max, kinds, repeat, handoff, approvals: true, flow: seed % 3 == 0, ..Shape::default() });
        ends_the_same_wherever_it_is_cut(seed, &spec, fail);
    }

    /// One step after another: which steps succeeded when one fails the run would depend on the order of events otherwise.
    #[test]
    fn so_is_that_of_a_run_that_closes(seed: u64, fail in 0u64..40, steps_max in 1usize..7, closing in 20u64..90) {
        let mut spec = random_spec(seed, &Shape { steps_max, closing, foreach: 0, fail: 50, ..Shape::default() });
        let ids: Vec<_> = spec["steps"].as_array().unwrap().iter().map(|step| step["id"].clone()).collect();
        for (index, id) in ids.iter().enumerate().take(ids.len() - 1) {
            let needs = spec["steps"][index + 1]["needs"].as_array_mut().unwrap();
            if !needs.contains(id) {
                needs.push(id.clone());
            }
        }
        ends_the_same_wherever_it_is_cut(seed, &spec, fail);
    }
}

fn ends_the_same_wherever_it_is_cut(seed: u64, spec: &Value, fail: u64) {
    let agents = Agents { seed, fail, lost: fail / 3, returned: 5 };
    let mut dice = Dice::new(seed ^ 0xc07);
    let mut world = World::submitted(Arc::new(plan(spec)), random_input(seed), agents);
    for _ in 0..60 {
        let Some(body) = event(&mut world, &mut dice) else { break };
        let decision = world.log(body);
        let mut performed = world.clone();
        performed.perform(&decision.commands);
        let mut reconciled = world.clone();
        reconciled.reconcile();
        let mut bare = world.rebuilt();
        assert_eq!(&bare.run, &world.run);
        bare.reconcile();

        let expected = end(performed.clone(), &mut dice);
        assert_eq!(&end(reconciled, &mut dice), &expected, "the last commands were lost");
        assert_eq!(&end(bare, &mut dice), &expected, "everything but the log was lost");
        world = performed;
    }
}
