//! Checks of what expressions refer to: that it is there, is of the right sort, and can have the fields that they name.

use kapelle_contract::{Contract, Found, Pointer, look_up};
use kapelle_expression::{Expression, Reference, Root, Segment, Template, nearest};
use kapelle_types::{Code, StepId};
use serde_json::Value;

use super::outputs::Outputs;
use super::{spec, steps};
use crate::catalog::Catalog;
use crate::issue::{Issue, choice};
use crate::{Fairness, Step, Workflow};

/// Where an expression stands decides what it may see.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// `with` of a `foreach` step: once for each item.
    Member,
    /// `when` and `foreach`: once for the step.
    Step { foreach: bool },
    /// `with` of a step without `foreach`.
    Plain,
    /// What is looked at when the step, or a member of it, has given something.
    Success,
    /// The output of the run.
    Output,
}

pub(super) fn check(workflow: &Workflow, catalog: &dyn Catalog) -> Vec<Issue> {
    let mut checker = Checker { workflow, outputs: Outputs::of(workflow, catalog), issues: vec![] };
    for (pointer, step) in steps::every(workflow) {
        let foreach = step.foreach.is_some();
        for (name, expression) in [("when", &step.when), ("foreach", &step.foreach)] {
            for reference in expression.iter().flat_map(|it| it.references()) {
                checker.reference(reference, Some(step), Place::Step { foreach }, &pointer.field(name));
            }
        }
        let place = if foreach { Place::Member } else { Place::Plain };
        if let Some((path, template)) = step.template() {
            let pointer = path.iter().fold(pointer.clone(), |pointer, name| pointer.field(name));
            checker.template(template.source(), Some(step), place, &pointer);
        }
        if let Some(priority) = &step.priority {
            checker.template(priority.source(), Some(step), place, &pointer.field("priority"));
        }
        for reference in step.repeat.iter().flat_map(|it| it.until.references()) {
            checker.reference(reference, Some(step), Place::Success, &pointer.field("repeat").field("until"));
        }
        if let Some(handoff) = &step.handoff {
            let pointer = pointer.field("handoff");
            for reference in handoff.next.references() {
                checker.reference(reference, Some(step), Place::Success, &pointer.field("next"));
            }
            let with = handoff.with.as_ref().map(Template::source);
            with.iter().for_each(|it| checker.template(it, Some(step), Place::Success, &pointer.field("with")));
        }
        for (index, case) in step.act.cases().iter().enumerate() {
            for reference in case.when.iter().flat_map(|it| it.references()) {
                let pointer = pointer.field("switch").item(index).field("when");
                checker.reference(reference, Some(step), place, &pointer);
            }
        }
    }
    checker.before_all(workflow.spec.priority.as_ref(), &spec().field("priority"));
    for (field, template) in workflow.spec.fairness.iter().flat_map(Fairness::templates) {
        checker.before_all(Some(template), &spec().field("fairness").field(field));
    }
    for (name, signal) in &workflow.spec.signals {
        let pointer = spec().field("signals").field(name.as_str()).field("answer");
        let answer = signal.answer.iter().map(Template::source);
        answer.for_each(|it| checker.template(it, None, Place::Output, &pointer));
    }
    for (name, query) in &workflow.spec.queries {
        checker.template(query.source(), None, Place::Output, &spec().field("queries").field(name.as_str()));
    }
    checker.template(workflow.spec.output.source(), None, Place::Output, &spec().field("output"));
    if let Some(next) = &workflow.spec.next {
        let pointer = spec().field("continue");
        for reference in next.when.references() {
            checker.reference(reference, None, Place::Output, &pointer.field("when"));
        }
        checker.template(next.with.source(), None, Place::Output, &pointer.field("with"));
    }
    checker.issues
}

struct Checker<'w> {
    workflow: &'w Workflow,
    outputs: Outputs,
    issues: Vec<Issue>,
}

impl Checker<'_> {
    /// What holds for the whole run, from its first task on.
    fn before_all(&mut self, template: Option<&Template>, pointer: &Pointer) {
        for reference in template.iter().flat_map(|it| it.references()) {
            if let Some(step) = reference.root.step() {
                let message = "it holds for the whole run, so no step has ended yet".to_owned();
                let hint = format!("use `input`; a step that needs `{step}` may have a `priority` of its own");
                self.wrong_result(&reference, message, hint, pointer);
            } else {
                self.reference(&reference, None, Place::Output, pointer);
            }
        }
    }

    /// Each string of a template on its own, so that an issue points at the string.
    fn template(&mut self, value: &Value, step: Option<&Step>, place: Place, pointer: &Pointer) {
        match value {
            Value::String(_) => {
                for reference in Template::compile(value).into_iter().flat_map(|it| it.references()) {
                    self.reference(&reference, step, place, pointer);
                }
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(index, it)| self.template(it, step, place, &pointer.item(index)));
            }
            Value::Object(fields) => {
                fields.iter().for_each(|(name, it)| self.template(it, step, place, &pointer.field(name)));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn reference(&mut self, reference: &Reference, step: Option<&Step>, place: Place, pointer: &Pointer) {
        match &reference.root {
            Root::Input => self.path(reference, Some(self.workflow.spec.input.schema()), 0, pointer),
            Root::Output(id) | Root::Outputs(id) | Root::Status(id) => {
                let Some(index) = self.visible(id, step) else {
                    let issue = steps::unknown_step(self.workflow, id, pointer);
                    self.issues.push(issue.piece(format!("steps.{id}")));
                    return;
                };
                self.result(reference, index, pointer);
            }
            Root::Item | Root::Index => match place {
                Place::Member => self.item(reference, step, pointer),
                Place::Success if step.is_some_and(|step| step.foreach.is_some()) => {
                    self.item(reference, step, pointer);
                }
                Place::Step { .. } | Place::Plain | Place::Success | Place::Output => {
                    self.no_item(reference, place, pointer);
                }
            },
            Root::Given if place == Place::Success => {
                let index = step.and_then(|step| self.workflow.every_step().position(|it| it.id == step.id));
                index.into_iter().for_each(|index| self.path_in_each(reference, index, 0, pointer));
            }
            Root::Given => {
                let message = "`output` is only there in `until` of a step with `repeat`, and in `handoff`".to_owned();
                self.wrong_result(reference, message, "write `steps.<id>.output` of another step".to_owned(), pointer);
            }
            Root::Last | Root::Round => {
                let rounds = step.is_some_and(|step| step.repeat.is_some() || step.handoff.is_some());
                if !rounds || matches!(place, Place::Step { .. }) {
                    let root = &reference.root;
                    let message = format!(
                        "`{root}` is only there in `with` and `until` of a step with `repeat`, and with `handoff`"
                    );
                    self.wrong_result(reference, message, String::new(), pointer);
                }
            }
            Root::RunErrorCode | Root::RunErrorMessage
                if step.is_none_or(|step| self.workflow.step(&step.id).is_some()) =>
            {
                let message = "`run.error` is only there in what a run does last".to_owned();
                let hint = "use it in `compensate`, `on_failure` or `finally`".to_owned();
                self.wrong_result(reference, message, hint, pointer);
            }
            Root::RunId | Root::RunStartedAt | Root::RunErrorCode | Root::RunErrorMessage => {}
        }
    }

    /// The position of a step that another sees: the steps of the work, and what stands before it in its own list if that is
    /// what a run does last.
    fn visible(&self, id: &StepId, seen_by: Option<&Step>) -> Option<usize> {
        let declared = &self.workflow.spec;
        let before = |list: &[Step]| {
            let at = list.iter().position(|step| Some(&step.id) == seen_by.map(|it| &it.id))?;
            list[..at].iter().any(|step| step.id == *id).then_some(())
        };
        let there = self.workflow.step(id).is_some();
        let there = there || before(&declared.on_failure).or_else(|| before(&declared.finally)).is_some();
        there.then(|| self.workflow.every_step().position(|step| step.id == *id)).flatten()
    }

    /// The output, outputs or status of a step that is there.
    fn result(&mut self, reference: &Reference, index: usize, pointer: &Pointer) {
        let is_list = self.workflow.every_step().nth(index).is_some_and(|step| step.foreach.is_some());
        match (&reference.root, is_list) {
            (Root::Output(id), true) => {
                let message = format!("`{id}` works on a list, so it has `outputs`, one for each item");
                self.wrong_result(reference, message, format!("write `steps.{id}.outputs`"), pointer);
            }
            (Root::Outputs(id), false) => {
                let message = format!("`{id}` does not work on a list, so it has one `output`");
                self.wrong_result(reference, message, format!("write `steps.{id}.output`"), pointer);
            }
            (Root::Output(_), false) => self.path_in_each(reference, index, 0, pointer),
            (Root::Outputs(id), true) => match reference.path.first() {
                Some(Segment::Field(field)) => {
                    let message = format!("`steps.{id}.outputs` is a list and has no field `{field}`");
                    let hint =
                        format!("write `steps.{id}.outputs[0].{field}`, or `steps.{id}.outputs.map(o, o.{field})`");
                    self.wrong_result(reference, message, hint, pointer);
                }
                Some(Segment::Index(_)) => self.path_in_each(reference, index, 1, pointer),
                None => {}
            },
            _ => {}
        }
    }

    /// A path into what a step gives, whoever ends it.
    fn path_in_each(&mut self, reference: &Reference, index: usize, from: usize, pointer: &Pointer) {
        let path = &reference.path[from..];
        let missing = self.outputs.each_of_step(index).into_iter().find_map(|(by, output)| {
            let Found::Nothing { at, known, what } = look_up(output.schema(), path) else { return None };
            let issue = absent(reference, at + from, &known, what, pointer);
            Some(match by {
                Some(agent) => issue.label(format!("not in the schema of {}", agent.version())),
                None => issue,
            })
        });
        self.issues.extend(missing);
    }

    fn wrong_result(&mut self, reference: &Reference, message: String, hint: String, pointer: &Pointer) {
        let issue = Issue::new(Code::EXPRESSION_REFERENCE, pointer, message).piece(reference.prefix(0));
        self.issues.push(issue.label("not there").hint(hint));
    }

    fn no_item(&mut self, reference: &Reference, place: Place, pointer: &Pointer) {
        let root = &reference.root;
        let message = match place {
            Place::Step { foreach: true } => {
                format!(
                    "`{root}` is not there yet: `when` and `foreach` are evaluated once, before the items are known"
                )
            }
            _ => format!("`{root}` is only there in what a step with `foreach` works on"),
        };
        let hint = match place {
            Place::Step { foreach: true } => "filter the list instead: `foreach: ${input.list.filter(x, x.wanted)}`",
            _ => "",
        };
        let issue = Issue::new(Code::EXPRESSION_REFERENCE, pointer, message).piece(root.to_string());
        self.issues.push(issue.label("not there").hint(hint));
    }

    /// A path into the item, where the list is a path into a declared schema.
    fn item(&mut self, reference: &Reference, step: Option<&Step>, pointer: &Pointer) {
        if reference.root != Root::Item {
            return;
        }
        let Some(list) = step.and_then(|step| step.foreach.as_ref()).and_then(sole_path) else { return };
        let (contract, from) = match &list.root {
            Root::Input => (Some(&self.workflow.spec.input), 0),
            Root::Output(id) => (self.output(id), 0),
            Root::Outputs(id) => (self.output(id), 1),
            Root::Status(_)
            | Root::Item
            | Root::Index
            | Root::Given
            | Root::Last
            | Root::Round
            | Root::RunId
            | Root::RunStartedAt
            | Root::RunErrorCode
            | Root::RunErrorMessage => return,
        };
        let Some(schema) = contract.map(Contract::schema) else { return };
        // The items of the outputs of a `foreach` are the outputs themselves.
        let mut path: Vec<Segment> = list.path.iter().skip(from).cloned().collect();
        if from == 0 || !list.path.is_empty() {
            path.push(Segment::Index(0));
        }
        let before = path.len();
        path.extend(reference.path.iter().cloned());
        if let Found::Nothing { at, known, what } = look_up(schema, &path)
            && at >= before
        {
            let issue = absent(reference, at - before, &known, what, pointer);
            self.issues.push(issue);
        }
    }

    fn output(&self, id: &StepId) -> Option<&Contract> {
        let index = self.workflow.every_step().position(|step| step.id == *id)?;
        self.outputs.of_step(index)
    }

    /// A path whose segments from `from` on lead into a declared schema.
    fn path(&mut self, reference: &Reference, schema: Option<&Value>, from: usize, pointer: &Pointer) {
        let Some(schema) = schema else { return };
        if let Found::Nothing { at, known, what } = look_up(schema, &reference.path[from..]) {
            let issue = absent(reference, at + from, &known, what, pointer);
            self.issues.push(issue);
        }
    }
}

/// What is wrong with what an agent's own expression refers to.
pub(super) fn of_agent(reference: &Reference, input: &Contract, pointer: &Pointer) -> Option<Issue> {
    if reference.root != Root::Input {
        let message = format!("an agent knows nothing of runs, so `{}` is not there", reference.root);
        let issue = Issue::new(Code::EXPRESSION_REFERENCE, pointer, message).piece(reference.prefix(0));
        return Some(issue.label("not there").hint("use `input`, which is the agent's own"));
    }
    match look_up(input.schema(), &reference.path) {
        Found::Nothing { at, known, what } => Some(absent(reference, at, &known, what, pointer)),
        _ => None,
    }
}

/// The path that an expression is, if it is nothing else.
pub(super) fn sole_path(expression: &Expression) -> Option<&Reference> {
    match expression.references() {
        [only] if only.to_string() == expression.source() => Some(only),
        _ => None,
    }
}

/// Segment `at` of the path cannot be there.
fn absent(reference: &Reference, at: usize, known: &[&str], what: &str, pointer: &Pointer) -> Issue {
    let parent = reference.prefix(at);
    let segment = &reference.path[at];
    let (message, hint) = match segment {
        Segment::Field(name) if !known.is_empty() => {
            let hint = match nearest(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("by its schema {}", choice(known.iter().copied())),
            };
            (format!("`{parent}` has no field `{name}`, says its schema"), hint)
        }
        _ => (format!("`{parent}` {what}, says its schema"), String::new()),
    };
    let issue = Issue::new(Code::EXPRESSION_REFERENCE, pointer, message).piece(reference.prefix(at + 1));
    issue.label("not in the schema").hint(hint)
}
