//! Turns against a real broker: who is served in which order, by priority, share and limit by key.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::fleet::{Fleet, eventually};

/// An agent of which one task is done at a time, so that the order of their starts can be seen.
fn one_at_a_time(limits: Value) -> Value {
    let mut agent = crate::fleet::agent();
    agent["spec"]["role"]["limits"] = limits;
    agent
}

/// A workflow with one step that does nothing, for tenants that share.
fn shared() -> Value {
    let mut workflow = crate::fleet::workflow_of("shared", &json!([{ "id": "s0", "agent": "echo@^1", "with": "${input}" }]));
    workflow["spec"]["fairness"] = json!({ "key": "${input.tenant}", "weights": { "large": 3 } });
    workflow["spec"]["priority"] = json!("${input.priority}");
    workflow
}

/// In which order the runs were served: their inputs, by the sequence of the report of each.
async fn served(fleet: &Fleet, runs: &[String]) -> Vec<Value> {
    let mut order = BTreeMap::new();
    for run in runs {
        let view = fleet.until_ended(run).await;
        assert_eq!(view.status, kapelle_proto::v1::RunStatus::Completed as i32, "{view:?}");
        let step = &view.steps[0];
        let output: Value = serde_json::from_slice(view.output.as_ref().unwrap().inline().unwrap()).unwrap();
        order.insert((step.ended_at_unix_nanos, run.clone()), output);
    }
    order.into_values().collect()
}
