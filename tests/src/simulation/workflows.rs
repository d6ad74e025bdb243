//! Random workflows over all kinds of steps: those that clients submit, and those that their steps run.

use std::collections::BTreeMap;
use std::sync::Arc;

use kapelle_engine::Plan;
use kapelle_engine::testing::{Shape, plan, random_spec};
use kapelle_types::WorkflowVersion;
use serde_json::{Map, Value, json};

use super::dice::Dice;

/// What steps of submitted workflows run, and what steps of that run: the last runs nothing.
const BELOW: [&str; 2] = ["other@1.0.0", "leaf@1.0.0"];
/// What steps do that could do something in rounds, but have an output that no condition of random rounds is about.
const NO_ROUNDS: [&str; 2] = ["approval", "detach"];
/// How long a run may be closing, in ms: with those above it, one after another, far from the time that rest may take.
const CLOSE_MS_MAX: u64 = 200_000;

/// Random plans of so many kinds, and of what their steps run.
pub(crate) fn random_plans(
    seed: u64,
    kinds: u64,
    dice: &mut Dice,
) -> (Vec<Arc<Plan>>, BTreeMap<WorkflowVersion, Arc<Plan>>) {
    let plans = (0..kinds).map(|kind| {
        let spec = random_workflow(seed.wrapping_add(kind << 32), 6, Some(BELOW[0]), dice);
        Arc::new(plan(&spec))
    });
    let plans = plans.collect();
    let below = (1..).zip(BELOW).map(|(level, name)| {
        let next = BELOW.get(usize::try_from(level).unwrap_or(usize::MAX)).copied();
        let mut spec = random_workflow(seed.wrapping_add(level << 40), 3, next, dice);
        give_as_steps_do(&mut spec);
        #[allow(clippy::expect_used, reason = "the simulation's own names are names")]
        let workflow: WorkflowVersion = name.parse().expect("a workflow version");
        (workflow.clone(), Arc::new(Plan { workflow, ..plan(&spec) }))
    });
    (plans, below.collect())
}

/// A random workflow as [`plan`] reads it, of so many steps at most, whose steps may run this one. `of_a_step`: it gives what
/// random workflows expect of every step.
#[must_use]
pub fn random_workflow_of(seed: u64, steps_max: usize, below: Option<&str>, of_a_step: bool) -> Value {
    let mut spec = random_workflow(seed, steps_max, below, &mut Dice::new(seed));
    if of_a_step {
        give_as_steps_do(&mut spec);
    }
    spec
}

fn give_as_steps_do(spec: &mut Value) {
    for part in ["n", "list"] {
        spec["output"][part] = json!(format!("${{input.{part}}}"));
    }
}

/// A random workflow whose steps may run this one.
fn random_workflow(seed: u64, steps_max: usize, below: Option<&str>, dice: &mut Dice) -> Value {
    let shape = Shape {
        steps_max,
        kinds: 25,
        batch: 30,
        max_failures: 30,
        joins: *dice.pick(&[0, 80]),
        repeat: 20,
        handoff: 15,
        closing: 25,
        approvals: true,
        total: true,
        deadline: true,
        cost: true,
        ..Shape::default()
    };
    let mut spec = random_spec(seed, &shape);
    for step in spec["steps"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        shape_step(step, below, dice);
    }
    if spec["close_ms"].as_u64().is_some_and(|ms| ms > CLOSE_MS_MAX) {
        spec["close_ms"] = json!(CLOSE_MS_MAX);
    }
    if let Some(retry) = spec.pointer_mut("/continue/retry").and_then(Value::as_object_mut) {
        retry.remove("total_ms");
    }
    spec
}

fn shape_step(step: &mut Map<String, Value>, below: Option<&str>, dice: &mut Dice) {
    step.insert("timeout_ms".into(), json!(dice.between(200, 3_000)));
    if step.contains_key("workflow") {
        match below {
            Some(below) => drop(step.insert("workflow".into(), json!(below))),
            None => ["workflow", "detach"].iter().for_each(|field| drop(step.remove(*field))),
        }
    }
    let held = step.contains_key("approve") || (step.contains_key("workflow") && dice.hit(100));
    if held {
        let alone = !step.contains_key("workflow") && dice.hit(400);
        step.remove("approve");
        step.insert(if alone { "approval" } else { "approve" }.into(), random_question(dice));
    }
    if NO_ROUNDS.iter().any(|field| step.contains_key(*field)) {
        step.remove("repeat");
        step.remove("handoff");
    }
    // Who gives up for time or money is not foretold, so that what hangs on how many did must not hang on that.
    let counted = step.contains_key("max_failures");
    if counted {
        step.remove("limits");
    }
    if counted || step.contains_key("workflow") || step.contains_key("approval") {
        step["retry"].as_object_mut().map(|retry| retry.remove("total_ms"));
    }
}

/// Who is asked, how many of them have to agree, and how long.
fn random_question(dice: &mut Dice) -> Value {
    let groups: &[&str] = if dice.hit(500) { &["legal"] } else { &[] };
    let rung = json!({"after_ms": dice.between(500, 5_000), "to": ["board"]});
    json!({
        "quorum": dice.between(1, 2),
        "expires_ms": dice.pick(&[2_000, 10_000, 60_000]),
        "groups": groups,
        "escalate": if dice.hit(300) { json!([rung]) } else { json!([]) },
        "self": dice.hit(300),
    })
}
