//! Checks of the steps themselves: their ids, what they need, and their agents.

use std::collections::HashMap;

use kapelle_contract::Pointer;
use kapelle_types::limits::STEPS_MAX;
use kapelle_types::{Code, StepId};

use super::spec;
use crate::catalog::Catalog;
use crate::issue::{Issue, suggestion};
use crate::performer::{Nobody, Performer};
use crate::{Act, Continuation, InCase, Step, Workflow};

/// Where the step with this position stands.
pub(super) fn pointer(index: usize) -> Pointer {
    spec().field("steps").item(index)
}

/// Every step with where it stands, in the order of `every_step`.
pub(super) fn every(workflow: &Workflow) -> impl Iterator<Item = (Pointer, &Step)> {
    let Workflow { spec: declared, .. } = workflow;
    let undone = declared.steps.iter().enumerate().filter(|(_, step)| step.compensate.is_some());
    let undo = undone.map(|(index, _)| pointer(index).field("compensate"));
    let last = |field: &'static str, count| (0..count).map(move |index| spec().field(field).item(index));
    let of_work = (0..declared.steps.len()).map(pointer);
    let on_failure = last("on_failure", declared.on_failure.len());
    let pointers = of_work.chain(undo).chain(on_failure).chain(last("finally", declared.finally.len()));
    pointers.zip(workflow.every_step())
}

pub(super) fn check(workflow: &Workflow, catalog: &dyn Catalog) -> Vec<Issue> {
    let steps = &workflow.spec.steps;
    let mut issues = Vec::new();
    let count = workflow.every_step().count();
    if count > STEPS_MAX {
        let message = format!("a workflow has at most {STEPS_MAX} steps, this one has {count}");
        let issue = Issue::rule(&spec().field("steps"), message).on_key();
        issues.push(issue.label("too many").hint("work on a list with `foreach` instead of a step for each item"));
    }
    let mut seen: HashMap<&StepId, usize> = HashMap::new();
    for (index, (pointer, step)) in every(workflow).enumerate() {
        if let Some(first) = seen.insert(&step.id, index) {
            let message = format!("two steps are called `{}`", step.id);
            let issue = match pointer.to_string().ends_with("/compensate") {
                true => Issue::rule(&pointer, message).on_key(),
                false => Issue::rule(&pointer.field("id"), message),
            };
            let hint = match first < steps.len() {
                true => format!("the first one is step {} of the list", first + 1),
                false => "what undoes a step `x` is called `compensate_x`".to_owned(),
            };
            issues.push(issue.label("the name is taken").hint(hint));
        }
        issues.extend(performer(&pointer, step, catalog));
        if workflow.spec.next.is_some() && Some(&step.id) == Continuation::step_id().as_ref() {
            let issue = Issue::rule(&pointer.field("id"), "`continue` is what begins the run that goes on");
            issues.push(issue.label("the name is taken").hint("give the step another name"));
        }
        issues.extend(itself(workflow, &pointer, step));
    }
    for (index, step) in steps.iter().enumerate() {
        issues.extend(unknown_needs(workflow, index, step));
        issues.extend(joins(workflow, index, step));
        issues.extend(case(workflow, index, step));
        issues.extend(signal(workflow, index, step));
    }
    issues
}

/// Needs that are written down and are not there; those of expressions are reported where the expression stands.
fn unknown_needs(workflow: &Workflow, index: usize, step: &Step) -> Vec<Issue> {
    let implied = step.references();
    let mut issues = Vec::new();
    for (at, need) in step.needs.iter().enumerate() {
        let of_case = step.case.as_ref().is_some_and(|it| it.switch == *need);
        if workflow.step(need).is_some() || of_case || implied.iter().any(|it| it.root.step() == Some(need)) {
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

fn performer(pointer: &Pointer, step: &Step, catalog: &dyn Catalog) -> Vec<Issue> {
    let agent = step.act.performer().and_then(|performer| performer.resolve(catalog).err());
    let workflow = step.act.call().and_then(|call| call.resolve(catalog).err());
    let own = agent.or(workflow).map(|nobody| (pointer.field(step.act.field()), nobody));
    let to = step.handoff.iter().flat_map(|it| &it.to).cloned().map(Performer::Agent).enumerate();
    let unknown = to.filter_map(|(at, performer)| {
        Some((pointer.field("handoff").field("to").item(at), performer.resolve(catalog).err()?))
    });
    let issue = |(pointer, nobody): (Pointer, Nobody)| {
        Issue::new(nobody.code, &pointer, nobody.message).label(nobody.label).hint(nobody.hint)
    };
    own.into_iter().chain(unknown).map(issue).collect()
}

/// A workflow that always runs itself never ends, but at the bound on the runs that may stand above one another.
fn itself(workflow: &Workflow, pointer: &Pointer, step: &Step) -> Option<Issue> {
    let call = step.act.call()?;
    // What undoes a step, and what is done on failure, is not done by every run.
    let by_each =
        [&workflow.spec.steps, &workflow.spec.finally].iter().any(|all| all.iter().any(|it| it.id == step.id));
    if call.wanted.name != workflow.metadata.name || !by_each || step.is_conditional() || step.foreach.is_some() {
        return None;
    }
    let message = format!("each run of `{}` would begin another one, without an end", call.wanted.name);
    let issue = Issue::new(Code::RUNS_ITSELF, &pointer.field("workflow"), message);
    Some(issue.label("runs itself").hint("say when the step is done: `when: ${…}`"))
}

/// What is joined may be taken back, so nobody else may need it; and the step that joins it has to.
fn joins(workflow: &Workflow, index: usize, step: &Step) -> Vec<Issue> {
    let Some(join) = &step.join else { return Vec::new() };
    let pointer = pointer(index).field("join");
    let mut issues = Vec::new();
    for one in &join.of {
        let other = workflow.spec.steps.iter().find(|it| it.id != step.id && it.needs.contains(one));
        if let Some(other) = other {
            let message =
                format!("`{one}` is taken back when others are enough, but the step `{}` needs it too", other.id);
            let hint = format!("let `{}` need `{}`, or join other steps", other.id, step.id);
            issues.push(Issue::rule(&pointer, message).label("needed elsewhere").hint(hint));
        } else if !step.needs.contains(one) {
            let message = format!("`{one}` is joined, but is not among what the step needs");
            issues.push(Issue::rule(&pointer, message).label("not needed").hint(format!("name `{one}` under `needs`")));
        }
    }
    issues
}

/// A case that a step is done in has to be one of a switch that is decided once.
fn case(workflow: &Workflow, index: usize, step: &Step) -> Option<Issue> {
    let InCase { switch, case } = step.case.as_ref()?;
    let pointer = pointer(index).field("case");
    let Some(named) = workflow.step(switch) else { return Some(unknown_step(workflow, switch, &pointer)) };
    let cases = named.act.cases();
    let wrong = |message: String| Issue::rule(&pointer, message).label("no such case");
    if cases.is_empty() {
        return Some(wrong(format!("the step `{switch}` is no switch, so it has no cases")));
    }
    if named.foreach.is_some() {
        return Some(wrong(format!(
            "the switch `{switch}` is decided for each item of a list, so no case of it is taken once"
        )));
    }
    if cases.iter().any(|it| it.name == *case) {
        return None;
    }
    let names = cases.iter().map(|it| it.name.as_str());
    Some(wrong(format!("the switch `{switch}` has no case `{case}`")).hint(suggestion(case.as_str(), names)))
}

/// A signal that is waited for has to be declared: senders are checked against what is.
fn signal(workflow: &Workflow, index: usize, step: &Step) -> Option<Issue> {
    let Act::Signal(name) = &step.act else { return None };
    let declared = &workflow.spec.signals;
    if declared.contains_key(name) {
        return None;
    }
    let hint = match suggestion(name.as_str(), declared.keys().map(kapelle_types::SignalName::as_str)) {
        hint if hint.is_empty() => format!("declare it beside `steps`: `signals: {{ {name}: {{}} }}`"),
        hint => hint,
    };
    let message = format!("the workflow declares no signal `{name}`");
    Some(Issue::rule(&pointer(index).field("signal"), message).label("not declared").hint(hint))
}
