//! What a run does last: compensations of steps, `on_failure` and `finally` of the workflow.
//!
//! ```yaml
//!   steps:
//!     - { id: book, agent: booking@^1, compensate: { agent: booking-cancel@^1, with: "${steps.book.output}" } }
//!   on_failure: [ { id: tell, emit: com.example.trip.failed, with: "${run.error.message}" } ]
//!   finally: [ { id: tidy, agent: tidy@^1 } ]
//!   close_within: 2h
//! ```
//!
//! They are steps as any other, but for what would make no sense: they wait for nothing and nobody, and are done one after
//! another. A compensation is called `compensate_<step>`.

use kapelle_types::StepId;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::act::Act;
use crate::issue::Issue;
use crate::read::{Issues, Part};
use crate::step::{OnGiveUp, Step};

/// What means nothing in a step that is done last.
const MEANINGLESS: &[(&str, &str)] = &[
    ("needs", "what a run does last is done in the order of the file"),
    ("join", "it waits for nothing"),
    ("case", "say with `when` in which case it is done"),
    ("compensate", "nothing undoes what a run does last"),
    ("priority", "it has the priority of its run"),
    ("approve", "nobody is asked for what a run does last"),
];

/// What the compensation of a step is called; `None` if the name would be too long.
pub(crate) fn compensation_id(of: &StepId) -> Option<StepId> {
    format!("compensate_{of}").parse().ok()
}

/// Reads `compensate` of a step.
pub(crate) fn read_compensation(part: &Part<'_>, of: &StepId, issues: &mut Issues) -> Option<Box<Step>> {
    let fields = part.fields(issues)?;
    let Some(id) = compensation_id(of) else {
        let message =
            format!("the compensation of `{of}` would be called `compensate_{of}`, which is too long for a name");
        issues.push(Issue::rule(&part.pointer, message).on_key().hint("give the step a shorter name"));
        return None;
    };
    checked(part, Step::read_called(fields, Some(id), issues), issues).map(Box::new)
}

/// Reads `on_failure` or `finally`.
pub(crate) fn read_list(part: &Part<'_>, issues: &mut Issues) -> Option<Vec<Step>> {
    let items = part.items(issues)?;
    let read = |item: &Part<'_>, issues: &mut Issues| {
        let mut fields = item.fields(issues)?;
        let id = fields.required("id", issues).and_then(|it| it.name(issues));
        checked(item, Step::read_called(fields, id, issues), issues)
    };
    let steps: Vec<Option<Step>> = items.iter().map(|item| read(item, issues)).collect();
    steps.into_iter().collect()
}

/// A step that may be done last.
fn checked(part: &Part<'_>, step: Option<Step>, issues: &mut Issues) -> Option<Step> {
    for (field, hint) in MEANINGLESS {
        if part.value.get(field).is_some() {
            let message = format!("`{field}` means nothing in a step that a run does last");
            let issue = Issue::rule(&part.pointer.field(field), message).on_key();
            issues.push(issue.label("means nothing").hint(format!("remove it; {hint}")));
        }
    }
    let step = step?;
    match step.act {
        Act::Agent(_) | Act::Emit(_) | Act::Value(_) | Act::Workflow(_) => {}
        Act::Switch(_) | Act::Wait(_) | Act::Signal(_) | Act::Approval(_) => {
            let kind = step.act.field();
            let message = format!("`{kind}` is nothing that a run does last");
            let issue = Issue::rule(&part.pointer.field(kind), message).on_key();
            issues.push(
                issue
                    .label("not here")
                    .hint("an agent works, a workflow is run, an event is told (`emit`), or a value is computed"),
            );
        }
    }
    if step.on_give_up == Some(OnGiveUp::Fail) {
        let issue = Issue::rule(&part.pointer.field("on_give_up"), "the run ends anyway when this step is done");
        issues
            .push(issue.label("cannot fail the run").hint("`stall` waits for somebody, `continue` goes on without it"));
    }
    Some(step)
}

/// Writes a compensation without its name, which follows from the step's.
#[allow(clippy::ref_option, reason = "serde asks for it")]
pub(crate) fn write_compensation<S: Serializer>(it: &Option<Box<Step>>, s: S) -> Result<S::Ok, S::Error> {
    let mut value = serde_json::to_value(it).map_err(serde::ser::Error::custom)?;
    if let Value::Object(fields) = &mut value {
        fields.remove("id");
    }
    value.serialize(s)
}
