//! Random DAGs in a world that repeats, reorders, loses, interrupts and revives: every run ends, every step has one
//! outcome, and the log alone says all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use crate::testing::{Agents, Dice, Shape, World, fresh, plan, random_input, random_spec, replay};
use crate::{Body, FailureKind, RunStatus, StepStatus, apply};

/// One disturbance, or one thing that happens anyway.
fn disturb(world: &mut World, dice: &mut Dice) {
    let reason = String::new;
    match dice.below(40) {
        0 | 1 => repeat_something(world, dice),
        2 => late_success(world, dice),
        3 => world.queue.clear(),
        4 => world.timers.clear(),
        5 | 6 => world.reconcile(),
        7 => fire_early(world, dice),
        8 => drop(world.log_and_perform(Body::PauseRequested { reason: reason() })),
        9 | 10 => drop(world.log_and_perform(Body::ResumeRequested)),
        11 => drop(world.log_and_perform(Body::RetryRequested { steps: Vec::new() })),
        12 if dice.chance(10) => drop(world.log_and_perform(Body::CancelRequested { reason: reason() })),
        13 if dice.chance(10) => drop(world.log_and_perform(Body::TerminateRequested { reason: reason() })),
        14 if dice.chance(10) => drop(world.log_and_perform(Body::FailRequested { reason: reason() })),
        15 => crash(world),
        _ => drop(world.tick(dice)),
    }
}

/// A report or a timer is delivered for the second time, whatever came in between.
fn repeat_something(world: &mut World, dice: &mut Dice) {
    let at = dice.below(world.log.len());
    let body = world.log[at].entries[0].body.clone();
    if !matches!(body, Body::RetryRequested { .. } | Body::CancelRequested { .. } | Body::TerminateRequested { .. }) {
        let _ = world.log_and_perform(body);
    }
}

/// A worker that was thought lost, or that failed first, succeeds after all.
fn late_success(world: &mut World, dice: &mut Dice) {
    let failed: Vec<_> = world
        .log
        .iter()
        .filter_map(|r| match &r.entries[0].body {
            Body::StepFailed(f) if f.failure.kind != FailureKind::Returned => Some(f.task.clone()),
            _ => None,
        })
        .collect();
    if let Some(task) = failed.get(dice.below(failed.len())) {
        let _ = world.log_and_perform(world.agents.success(task));
    }
}

fn fire_early(world: &mut World, dice: &mut Dice) {
    if let Some(timer) = world.timers.keys().nth(dice.below(world.timers.len())).cloned() {
        world.timers.remove(&timer);
        let _ = world.log_and_perform(Body::TimerFired { timer });
    }
}

/// The coordinator dies between an entry and its commands; another rebuilds the run and performs what is outstanding.
fn crash(world: &mut World) {
    if let Some((timer, _)) = world.timers.pop_first() {
        let _ = world.log(Body::TimerFired { timer });
    }
    world.run = replay(&world.run, &world.log);
    world.reconcile();
}

/// Ends what disturbances left: resume, reconcile, retry a few times, then fail what does not get better.
fn bring_to_an_end(world: &mut World, dice: &mut Dice) {
    for round in 0..6 {
        let _ = world.log_and_perform(Body::ResumeRequested);
        world.reconcile();
        world.settle(dice);
        if world.run.is_finished() {
            break;
        }
        assert_eq!(world.run.status(), RunStatus::Stalled, "only a stall stops a run: {:#?}", world.run);
        let _ = match round {
            0 | 1 => world.log_and_perform(Body::RetryRequested { steps: Vec::new() }),
            _ => world.log_and_perform(Body::FailRequested { reason: "enough".into() }),
        };
    }
    world.settle(dice);
}

/// What may never change back, seen after each event.
#[derive(Default)]
struct Witness {
    attempts: BTreeMap<String, u32>,
    ended: BTreeMap<String, StepStatus>,
    /// The run was seen closing.
    closes: bool,
}

impl Witness {
    fn look(&mut self, world: &World) {
        for step in world.run.steps() {
            let id = step.id.to_string();
            let before = self.attempts.insert(id.clone(), step.attempts).unwrap_or(0);
            let closes = world.run.closing().is_some() || world.run.is_finished();
            let work = id.starts_with('s') || id == "continue";
            assert!(!closes || !self.closes || !work || before == step.attempts, "{id} began in a run that is closing");
            assert!(closes || work, "{id} is shown before the run is closing");
            assert!(before <= step.attempts, "{id}: attempts went from {before} to {}: {step:?}", step.attempts);
            if let Some(ended) = self.ended.get(&id) {
                assert_eq!(*ended, step.status, "{id} had ended");
            } else if matches!(step.status, StepStatus::Succeeded | StepStatus::Skipped) {
                self.ended.insert(id, step.status);
            }
        }
        self.closes |= world.run.closing().is_some();
    }
}

/// A step that was undone before one that succeeded later, by the log alone. What one entry did is in no order.
fn undone_out_of_order(world: &World) -> Option<String> {
    let mut run = fresh(Arc::clone(world.run.plan()));
    let (mut seen, mut undoable) = (BTreeSet::new(), Vec::<BTreeSet<String>>::new());
    for (record, entry) in world.log.iter().flat_map(|record| record.entries.iter().map(move |entry| (record, entry))) {
        let _ = apply(&mut run, entry, record.channel, record.stamp);
        let (mut succeeded, mut begun) = (BTreeSet::new(), BTreeSet::new());
        for step in run.steps() {
            let id = step.id.to_string();
            match id.strip_prefix("compensate_") {
                Some(of) if seen.insert(id.clone()) => drop(begun.insert(of.to_owned())),
                None if step.status == StepStatus::Succeeded && seen.insert(id.clone()) => drop(succeeded.insert(id)),
                Some(_) | None => {}
            }
        }
        let is_undone =
            |id: &String| run.plan().steps.iter().any(|step| step.id.as_str() == format!("compensate_{id}"));
        undoable.push(succeeded.into_iter().filter(is_undone).collect());
        while let Some(mut latest) = undoable.pop() {
            latest.retain(|step| !begun.remove(step));
            if !latest.is_empty() {
                undoable.push(latest);
                break;
            }
        }
        if let Some(early) = begun.pop_first() {
            return Some(early);
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_run_ends_and_its_log_says_how(seed: u64, events in 0usize..80, fail in 0u64..40, steps_max in 1usize..9, kinds in 0u64..60, repeat in 0u64..60, handoff in 0u64..60, joins in prop_oneof![Just(0u64), 50u64..100], closing in prop_oneof![Just(0u64), 10u64..90]) {
        let spec = random_spec(seed, &Shape { steps_max, kinds, repeat, handoff, joins, closing, approvals: true, flow: seed % 3 == 0, total: true, deadline: true, cost: true, ..Shape::default() });
        let agents = Agents { seed, fail, lost: fail / 3, returned: 5 };
        let mut dice = Dice::new(seed ^ 0xc4a05);
        let mut world = World::submitted(Arc::new(plan(&spec)), random_input(seed), agents);
        let mut witness = Witness::default();
        for _ in 0..events {
            disturb(&mut world, &mut dice);
            witness.look(&world);
        }
        bring_to_an_end(&mut world, &mut dice);
        witness.look(&world);

        prop_assert!(world.run.is_finished() && world.run.is_marked(), "{:?}", world.run.status());
        prop_assert!(world.queue.is_empty() && world.timers.is_empty() && world.dead.is_empty());
        let marks = world.log.iter().filter_map(|r| match &r.entries[0].body {
            Body::RunFinished(mark) => Some(&**mark),
            _ => None,
        });
        let outcome = world.run.outcome().unwrap();
        prop_assert!(marks.clone().count() >= 1 && marks.into_iter().all(|m| m == outcome), "{outcome:?}");
        prop_assert_eq!(&replay(&world.run, &world.log), &world.run);
        prop_assert_eq!(undone_out_of_order(&world), None);
        let completed = outcome.status == RunStatus::Completed;
        let ended = |s: StepStatus| matches!(s, StepStatus::Succeeded | StepStatus::Skipped | StepStatus::GaveUp);
        // A join takes back what it does not wait for.
        let all_ended = world.run.steps().all(|s| ended(s.status) || joins > 0 && s.status == StepStatus::Canceled);
        prop_assert!(!completed || all_ended);
        prop_assert_eq!(completed, outcome.error.is_none());
    }
}
