//! Costs are counted in operations, not in time: what an entry costs does not grow with the width or the length of a run.

use std::sync::Arc;

use kapelle_types::{StepRef, TaskId};
use serde_json::{Value, json};

use crate::cost;
use crate::testing::{Agents, World, plan};
use crate::{Body, Plan, Run, Stamp, apply, invariant};

const AGENTS: Agents = Agents { seed: 1, fail: 0, lost: 0, returned: 0 };

/// Runs `steps` through one after another, or a fan-out, in the log's order; checks cheap invariants only. Returns the
/// operations of the dearest entry but for the submission and the last, and of all.
fn operations(plan: Plan, input: Value, tasks: impl Iterator<Item = TaskId>) -> (u64, u64) {
    let mut world = World::submitted(Arc::new(plan), input, AGENTS);
    let mut costs = vec![cost::taken()];
    for (seq, task) in (2..).zip(tasks) {
        let entry = crate::Entry {
            id: String::new(),
            principal: kapelle_types::Principal::default(),
            traceparent: None,
            body: AGENTS.success(&task),
        };
        let decision = apply(&mut world.run, &entry, crate::Channel::Report, Stamp { seq, at: world.clock });
        assert_eq!(decision.ignored, None, "{task}");
        invariant::check_cheap(&world.run).unwrap();
        costs.push(cost::taken());
    }
    assert!(world.run.is_finished());
    let inner = &costs[1..costs.len() - 1];
    (inner.iter().copied().max().unwrap_or(0), costs.iter().sum())
}

fn fan_out(width: u32, max_parallel: u32) -> (u64, u64) {
    let spec = json!({"steps": [
        {"id": "each", "foreach": "input", "max_parallel": max_parallel, "with": "${item}"},
        {"id": "after", "needs": ["each"]},
    ]});
    let task = |step: StepRef| TaskId { step, attempt: 1 };
    let members = (0..width).map(|i| task(StepRef::member("each".parse().unwrap(), i)));
    let after = task(StepRef::whole("after".parse().unwrap()));
    operations(plan(&spec), (0..width).collect(), members.chain([after]))
}

#[test]
fn ten_thousand_members_are_not_quadratic() {
    let (_, narrow) = fan_out(1_000, 64);
    let (_, wide) = fan_out(10_000, 64);
    assert!(wide <= narrow * 11, "{narrow} operations for 1,000 members, {wide} for 10,000");
    let (_, all_at_once) = fan_out(10_000, 10_000);
    assert!(all_at_once <= wide * 2, "{wide} operations with 64 at a time, {all_at_once} at once");
}

#[test]
fn five_hundred_steps_are_not_quadratic() {
    let chain = |n: usize| {
        let id = |i: usize| format!("s{i}");
        let needs = |i: usize| if i == 0 { json!([]) } else { json!([id(i - 1)]) };
        let steps: Vec<_> = (0..n).map(|i| json!({"id": id(i), "needs": needs(i)})).collect();
        let tasks = (0..n).map(move |i| TaskId { step: StepRef::whole(id(i).parse().unwrap()), attempt: 1 });
        operations(plan(&json!({"steps": steps})), Value::Null, tasks)
    };
    let ((short, _), (long, _)) = (chain(50), chain(500));
    assert!(long <= short, "an entry costs {short} operations among 50 steps, {long} among 500");
}

#[test]
fn weight_falls_when_a_wide_step_ends() {
    let spec = json!({"steps": [{"id": "each", "foreach": "input.list"}, {"id": "b", "needs": ["each"]}]});
    let long = "x".repeat(1_000);
    let input = json!({"list": vec![long; 500]});
    let world = World::submitted(Arc::new(plan(&spec)), input, AGENTS);
    let full = world.run.weight_bytes();
    assert!((1_000_000..1_300_000).contains(&full), "the input and its items: {full}");
    let mut world = world;
    while let Some((task, _)) = world.queue.pop_first() {
        let _ = world.log_and_perform(AGENTS.success(&task));
    }
    assert!(world.run.weight_bytes() < full, "{}", world.run.weight_bytes());
    let _ = world.log_and_perform(Body::CancelRequested { reason: String::new() });
    assert!(size_of::<Run>() <= 400, "{}", size_of::<Run>());
}
