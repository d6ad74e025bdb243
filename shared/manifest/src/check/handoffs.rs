//! Checks of whom a step may be handed to: an agent whose contract says whom it names may name nobody else.

use kapelle_contract::{Found, Pointer, look_up};
use kapelle_expression::Root;
use kapelle_types::Code;
use serde_json::Value;

use super::outputs::Outputs;
use super::references::sole_path;
use super::steps;
use crate::catalog::Catalog;
use crate::issue::{Issue, choice};
use crate::{Agent, Handoff, Workflow};

pub(super) fn check(workflow: &Workflow, catalog: &dyn Catalog) -> Vec<Issue> {
    let outputs = Outputs::of(workflow, catalog);
    let mut issues = Vec::new();
    for (index, (pointer, step)) in steps::every(workflow).enumerate() {
        let Some(handoff) = &step.handoff else { continue };
        issues.extend(outputs.agents_of(index).flat_map(|agent| names(handoff, agent, &pointer)));
    }
    issues
}

/// Those whom an agent may name by its contract, and whom the step may not be handed to.
fn names(handoff: &Handoff, agent: &Agent, step: &Pointer) -> Vec<Issue> {
    let path = sole_path(&handoff.next).filter(|it| it.root == Root::Given).map(|it| it.path.as_slice());
    let Some(Found::Some(Some(schema))) = path.map(|path| look_up(agent.spec.output.schema(), path)) else {
        return vec![];
    };
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    let strangers = listed.chain(schema.get("const")).filter(|it| match it {
        Value::Null => false,
        Value::String(name) => !handoff.to.iter().any(|to| to.name.as_str() == name),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => true,
    });
    let issue = |stranger: &Value| {
        let name = stranger.as_str().map_or_else(|| stranger.to_string(), str::to_owned);
        let message = format!("the agent `{}` may name `{name}`, whom the step may not be handed to", agent.version());
        let known = handoff.to.iter().map(|to| to.name.as_str());
        Issue::new(Code::HANDOFF_NAMES, &step.field("handoff").field("next"), message)
            .label("names somebody else")
            .hint(format!("under `to` {}; put it there, or take it out of what the agent gives", choice(known)))
    };
    strangers.map(issue).collect()
}
