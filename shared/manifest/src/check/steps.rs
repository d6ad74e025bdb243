//! Checks of the steps themselves: their ids, what they need, and their agents.

use std::collections::HashMap;

use kapelle_contract::Pointer;
use kapelle_types::limits::STEPS_MAX;
use kapelle_types::{Code, StepId};

use super::spec;
use crate::catalog::Catalog;
use crate::issue::{Issue, suggestion};
use crate::{Step, Workflow};

/// Where the step with this position stands.
pub(super) fn pointer(index: usize) -> Pointer {
    spec().field("steps").item(index)
}

pub(super) fn check(workflow: &Workflow, catalog: &dyn Catalog) -> Vec<Issue> {
    let steps = &workflow.spec.steps;
    let mut issues = Vec::new();
    if steps.len() > STEPS_MAX {
        let message = format!("a workflow has at most {STEPS_MAX} steps, this one has {}", steps.len());
        let issue = Issue::rule(&spec().field("steps"), message).on_key();
        issues.push(issue.label("too many").hint("work on a list with `foreach` instead of a step for each item"));
    }
    let mut seen: HashMap<&StepId, usize> = HashMap::new();
    for (index, step) in steps.iter().enumerate() {
        if let Some(first) = seen.insert(&step.id, index) {
            let message = format!("two steps are called `{}`", step.id);
            let issue = Issue::rule(&pointer(index).field("id"), message).label("the name is taken");
            issues.push(issue.hint(format!("the first one is step {} of the list", first + 1)));
        }
        issues.extend(unknown_needs(workflow, index, step));
        issues.extend(performer(index, step, catalog));
    }
    issues
}

/// Needs that are written down and are not there; those of expressions are reported where the expression stands.
fn unknown_needs(workflow: &Workflow, index: usize, step: &Step) -> Vec<Issue> {
    let implied = step.references();
    let mut issues = Vec::new();
    for (at, need) in step.needs.iter().enumerate() {
        if workflow.step(need).is_some() || implied.iter().any(|it| it.root.step() == Some(need)) {
            continue;
        }
        let pointer = pointer(index).field("needs").item(at);
        issues.push(unknown_step(workflow, need, &pointer));
    }
    issues
}

pub(super) fn unknown_step(workflow: &Workflow, id: &StepId, pointer: &Pointer) -> Issue {
    let ids = workflow.spec.steps.iter().map(|step| step.id.as_str());
    Issue::new(Code::MANIFEST_UNKNOWN_STEP, pointer, format!("there is no step `{id}`"))
        .label("no such step")
        .hint(suggestion(id.as_str(), ids))
}

fn performer(index: usize, step: &Step, catalog: &dyn Catalog) -> Vec<Issue> {
    match step.performer.resolve(catalog) {
        Ok(_) => vec![],
        Err(nobody) => {
            let pointer = pointer(index).field(step.performer.field());
            vec![Issue::new(nobody.code, &pointer, nobody.message).label(nobody.label).hint(nobody.hint)]
        }
    }
}
