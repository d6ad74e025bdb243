//! Looking a reference up without CEL: the way of most expressions of most workflows.

use kapelle_types::{Payload, Timestamp};
use serde_json::Value;

use crate::{Error, ErrorKind, Reference, Root, Scope, Segment, nearest};

/// Why a value could not be had; becomes an [`Error`] where the source is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn evaluation(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Evaluation, message: message.into() }
    }

    pub(crate) fn bound(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Bound, message: message.into() }
    }

    pub(crate) fn in_source(self, source: &str) -> Error {
        Error::new(self.kind, source, self.message)
    }
}

/// The payload that a root stands for, as it is: with its `Arc`, its claim check, and perhaps without its value.
pub(crate) fn root(root: &Root, scope: &dyn Scope) -> Result<Payload, Fault> {
    let absent = |what: &str| Fault::evaluation(format!("`{root}` is not there: {what}"));
    match root {
        Root::Input => Ok(scope.input()),
        Root::Output(step) => scope.output(step).ok_or_else(|| absent("the step has no output yet")),
        Root::Outputs(step) => scope.outputs(step).ok_or_else(|| absent("the step has no outputs yet")),
        Root::Status(step) => {
            let status = scope.status(step).ok_or_else(|| absent("there is no such step"))?;
            Ok(Payload::inline(status.into()))
        }
        Root::Item => scope.item().ok_or_else(|| absent("only a member of a foreach has an item")),
        Root::Index => {
            let index = scope.index().ok_or_else(|| absent("only a member of a foreach has an index"))?;
            Ok(Payload::inline(index.into()))
        }
        Root::Given => scope.given().ok_or_else(|| absent("only `until` sees what a round has given")),
        Root::Last => scope.last().ok_or_else(|| absent("only a step that is repeated has rounds")),
        Root::Round => {
            let round = scope.round().ok_or_else(|| absent("only a step that is repeated has rounds"))?;
            Ok(Payload::inline(round.into()))
        }
        Root::RunErrorCode => Ok(Payload::inline(scope.error().map(|(code, _)| code).into())),
        Root::RunErrorMessage => Ok(Payload::inline(scope.error().map(|(_, message)| message).into())),
        Root::RunId => Ok(Payload::inline(scope.run_id().into())),
        Root::RunStartedAt => Ok(Payload::inline(started_at(scope.started_at()).into())),
    }
}

fn started_at(timestamp: Timestamp) -> String {
    timestamp.rfc3339()
}

/// The content of a payload.
pub(crate) fn content<'p>(payload: &'p Payload, root: &Root) -> Result<&'p Value, Fault> {
    payload.value.as_deref().ok_or_else(|| {
        let what = payload.stored.map_or(String::new(), |stored| format!(" (SHA-256 {})", stored.sha256));
        Fault { kind: ErrorKind::Missing, message: format!("the payload of `{root}`{what} could not be fetched") }
    })
}

/// The value at a reference's path inside the content of its root.
pub(crate) fn walk<'v>(content: &'v Value, reference: &Reference) -> Result<&'v Value, Fault> {
    let mut value = content;
    for (at, segment) in reference.path.iter().enumerate() {
        value = step(value, segment).ok_or_else(|| Fault::evaluation(missing(value, reference, at)))?;
    }
    Ok(value)
}

fn step<'v>(value: &'v Value, segment: &Segment) -> Option<&'v Value> {
    match (value, segment) {
        (Value::Object(fields), Segment::Field(name)) => fields.get(name),
        (Value::Array(items), Segment::Index(index)) => items.get(*index),
        _ => None,
    }
}

/// What is wrong with segment `at` of the path, which was looked for in `value`.
fn missing(value: &Value, reference: &Reference, at: usize) -> String {
    let parent = reference.prefix(at);
    match (value, &reference.path[at]) {
        (Value::Object(fields), Segment::Field(name)) => no_field(&parent, name, fields.keys().map(String::as_str)),
        (Value::Array(items), Segment::Index(index)) => {
            format!("`{parent}` has {} items, so there is no `{parent}[{index}]`", items.len())
        }
        (other, Segment::Field(name)) => format!("`{parent}` is {}, so it has no field `{name}`", kind(other)),
        (other, Segment::Index(index)) => format!("`{parent}` is {}, so it has no item {index}", kind(other)),
    }
}

fn no_field<'a>(parent: &str, name: &str, fields: impl Iterator<Item = &'a str> + Clone) -> String {
    // An object may have a million fields; a typo is looked for among the first of them.
    const CANDIDATES_MAX: usize = 1_000;
    match nearest(name, fields.take(CANDIDATES_MAX)) {
        Some(near) => format!("`{parent}` has no field `{name}`; did you mean `{near}`?"),
        None => format!("`{parent}` has no field `{name}`"),
    }
}

/// Whether the object at `parent` has the field; `null` on the way has none.
pub(crate) fn has(content: &Value, parent: &Reference, field: &str) -> Result<bool, Fault> {
    let mut value = content;
    for (at, segment) in parent.path.iter().enumerate() {
        if value.is_null() {
            return Ok(false);
        }
        value = step(value, segment).ok_or_else(|| Fault::evaluation(missing(value, parent, at)))?;
    }
    match value {
        Value::Object(fields) => Ok(fields.contains_key(field)),
        Value::Null => Ok(false),
        other => Err(Fault::evaluation(format!("`{parent}` is {}, so it has no fields", kind(other)))),
    }
}

/// What a value is, with its article.
pub(crate) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
