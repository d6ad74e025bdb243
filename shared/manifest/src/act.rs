//! What a step does: an agent's work, a value, a choice, a wait, a signal, an event, an approval, another workflow.
//!
//! It is written as the one field of the step that says so; which other fields then mean something stands in [`MEANS`].

use kapelle_expression::{Expression, Reference, Template};
use kapelle_types::{CaseName, SignalName, Timestamp, duration};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::approval::Approval;
use crate::call::Call;
use crate::issue::Issue;
use crate::performer::Performer;
use crate::read::{Fields, Issues, Part};
use crate::write;

/// The fields that say what a step does.
const KINDS: &[&str] = &["agent", "capability", "value", "switch", "wait", "signal", "emit", "approval", "workflow"];
/// The fields that mean something only beside some of them.
const MEANS: &[(&str, &[&str])] = &[
    ("with", &["agent", "capability", "emit", "approval", "workflow"]),
    ("retry", &["agent", "capability", "emit", "workflow"]),
    ("repeat", &["agent", "capability", "workflow"]),
    ("handoff", &["agent", "capability"]),
    ("timeout", &["agent", "capability", "signal"]),
    ("on_give_up", &["agent", "capability", "emit", "signal", "approval", "workflow"]),
    ("approve", &["agent", "capability", "workflow"]),
    ("detach", &["workflow"]),
    ("priority", &["agent", "capability"]),
];
/// Characters of an event's type.
const EVENT_CHARS_MAX: usize = 120;

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// An agent works: `agent` or `capability`.
    Agent(Performer),
    /// A value is computed: `value`.
    Value(Template),
    /// The first case that applies is chosen: `switch`. Its name is the output.
    Switch(Vec<Case>),
    /// Time passes: `wait`.
    Wait(Wait),
    /// Somebody outside has to say something: `signal`. What they say is the output.
    Signal(SignalName),
    /// Something is told to whoever subscribes: `emit`, the type of the event; `with` is its data.
    Emit(String),
    /// People have to agree: `approval`; `with` is what they are shown.
    Approval(Approval),
    /// Another workflow is run: `workflow`; `with` is its input.
    Workflow(Call),
}

/// One case of a switch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Case {
    /// Its name.
    #[serde(rename = "case")]
    pub name: CaseName,
    /// When it applies; the last one may leave it out and applies then.
    #[serde(serialize_with = "write::optional_expression", skip_serializing_if = "Option::is_none")]
    pub when: Option<Expression>,
}

/// How long a step waits.
#[derive(Debug, Clone, PartialEq)]
pub enum Wait {
    /// So long: `15m`, a number of seconds, or an expression that gives either.
    For(Template),
    /// Until then: RFC 3339, or an expression that gives it.
    Until(Template),
}

impl Act {
    /// The step's field that says it.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Agent(performer) => performer.field(),
            Self::Value(_) => "value",
            Self::Switch(_) => "switch",
            Self::Wait(_) => "wait",
            Self::Signal(_) => "signal",
            Self::Emit(_) => "emit",
            Self::Approval(_) => "approval",
            Self::Workflow(_) => "workflow",
        }
    }

    /// Whether one of the fields that only some steps have means something in this one.
    pub(crate) fn means(&self, field: &str) -> bool {
        MEANS.iter().all(|(name, kinds)| *name != field || kinds.contains(&self.field()))
    }

    /// Who does it, if it is an agent's work.
    #[must_use]
    pub const fn performer(&self) -> Option<&Performer> {
        match self {
            Self::Agent(performer) => Some(performer),
            Self::Value(_)
            | Self::Switch(_)
            | Self::Wait(_)
            | Self::Signal(_)
            | Self::Emit(_)
            | Self::Approval(_)
            | Self::Workflow(_) => None,
        }
    }

    /// The workflow that it runs, if it does.
    #[must_use]
    pub const fn call(&self) -> Option<&Call> {
        if let Self::Workflow(call) = self { Some(call) } else { None }
    }

    /// The template that it works on, if that is not the step's `with`, and where in the step it stands.
    #[must_use]
    pub fn template(&self) -> Option<(&'static [&'static str], &Template)> {
        match self {
            Self::Value(value) => Some((&["value"], value)),
            Self::Wait(Wait::For(time)) => Some((&["wait"], time)),
            Self::Wait(Wait::Until(time)) => Some((&["wait", "until"], time)),
            Self::Agent(_)
            | Self::Switch(_)
            | Self::Signal(_)
            | Self::Emit(_)
            | Self::Approval(_)
            | Self::Workflow(_) => None,
        }
    }

    /// The cases, if it is a switch.
    #[must_use]
    pub fn cases(&self) -> &[Case] {
        if let Self::Switch(cases) = self { cases } else { &[] }
    }

    /// What its expressions refer to.
    pub(crate) fn references(&self) -> Vec<Reference> {
        let of_template = self.template().into_iter().flat_map(|(_, template)| template.references());
        let conditions = self.cases().iter().filter_map(|case| case.when.as_ref());
        of_template.chain(conditions.flat_map(|when| when.references().to_vec())).collect()
    }

    /// Reads the one field that says what the step does. `others` are fields that would stand in its place and are reported
    /// on their own.
    pub(crate) fn read(fields: &mut Fields<'_>, others: &[&str], issues: &mut Issues) -> Option<Self> {
        let mut named: Vec<(&'static str, Part<'_>)> =
            KINDS.iter().filter_map(|kind| fields.optional(kind).map(|part| (*kind, part))).collect();
        if let [(first, _), (second, part), ..] = named.as_slice() {
            let message = format!("a step does one thing, this one names two: `{first}` and `{second}`");
            let issue = Issue::shape(&part.pointer, message);
            issues.push(issue.on_key().hint(format!("remove `{first}` or `{second}`")));
            return None;
        }
        let Some((kind, part)) = named.pop() else {
            fields.required_unless(others, "agent", issues);
            return None;
        };
        for (field, kinds) in MEANS {
            if let Some(part) = fields.optional(field).filter(|_| !kinds.contains(&kind)) {
                let issue = Issue::rule(&part.pointer, format!("`{field}` means nothing in a step with `{kind}`"));
                issues.push(issue.on_key().label("means nothing").hint("remove it"));
            }
        }
        match kind {
            "value" => part.template(issues).map(Self::Value),
            "switch" => read_switch(&part, issues).map(Self::Switch),
            "wait" => read_wait(&part, issues).map(Self::Wait),
            "signal" => part.name(issues).map(Self::Signal),
            "emit" => read_emit(&part, issues).map(Self::Emit),
            "approval" => Approval::read(&part, issues).map(Self::Approval),
            "workflow" => Call::read(&part, fields.optional("detach").as_ref(), issues).map(Self::Workflow),
            _ => Performer::read(kind, &part, issues).map(Self::Agent),
        }
    }
}

fn read_switch(part: &Part<'_>, issues: &mut Issues) -> Option<Vec<Case>> {
    let items = part.items(issues)?;
    let cases: Option<Vec<Case>> = items.iter().map(|it| read_case(it, issues)).collect();
    let cases = cases?;
    if cases.is_empty() {
        issues.push(Issue::rule(&part.pointer, "a switch has at least one case").on_key());
        return None;
    }
    for (index, case) in cases.iter().enumerate() {
        let pointer = part.pointer.item(index);
        if cases[..index].iter().any(|earlier| earlier.name == case.name) {
            let issue = Issue::rule(&pointer.field("case"), format!("two cases are called `{}`", case.name));
            issues.push(issue.label("the name is taken"));
        }
        if case.when.is_none() && index + 1 < cases.len() {
            let message = format!("the case `{}` applies always, so no case behind it is ever taken", case.name);
            issues.push(Issue::rule(&pointer, message).on_key().hint("give it a `when`, or put it at the end"));
        }
    }
    Some(cases)
}

fn read_case(part: &Part<'_>, issues: &mut Issues) -> Option<Case> {
    let mut fields = part.fields(issues)?;
    let name = fields.required("case", issues).and_then(|it| it.name(issues));
    let when = crate::read::optional(fields.optional("when"), |it| it.expression(issues));
    fields.close(&[], issues);
    Some(Case { name: name?, when: when? })
}

fn read_wait(part: &Part<'_>, issues: &mut Issues) -> Option<Wait> {
    if !part.value.is_object() {
        let fixed = part.value.as_str().filter(|text| !text.contains("${"));
        if fixed.is_some() {
            part.duration(issues)?;
        } else if !part.value.is_string() && !part.value.is_u64() {
            return part.expected(
                "how long",
                &format!("{}, a number of seconds, or `{{ until: … }}`", duration::HINT),
                issues,
            );
        }
        return part.template(issues).map(Wait::For);
    }
    let mut fields = part.fields(issues)?;
    let until = fields.required("until", issues);
    fields.close(&[], issues);
    let until = until?;
    let text = until.text(issues)?;
    if !text.contains("${") && Timestamp::parse(text).is_none() {
        let issue = Issue::rule(&until.pointer, format!("`{text}` is not a point in time"));
        issues.push(issue.label("not a time").hint("write RFC 3339: `2026-11-22T08:00:00Z`"));
        return None;
    }
    until.template(issues).map(Wait::Until)
}

fn read_emit(part: &Part<'_>, issues: &mut Issues) -> Option<String> {
    let text = part.text(issues)?;
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
    };
    if text.len() <= EVENT_CHARS_MAX && text.split('.').all(word) {
        return Some(text.to_owned());
    }
    let issue = Issue::rule(&part.pointer, format!("`{text}` is not a type of events"));
    issues.push(issue.label("not a type").hint(format!(
        "lower-case words that are joined by dots, such as `com.example.order.done`, {EVENT_CHARS_MAX} characters at most"
    )));
    None
}

impl Serialize for Act {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        match self {
            Self::Agent(Performer::Agent(agent)) => map.serialize_entry("agent", agent)?,
            Self::Agent(Performer::Capability(capability)) => map.serialize_entry("capability", capability)?,
            Self::Value(value) => map.serialize_entry("value", value.source())?,
            Self::Switch(cases) => map.serialize_entry("switch", cases)?,
            Self::Wait(Wait::For(time)) => map.serialize_entry("wait", time.source())?,
            Self::Wait(Wait::Until(time)) => {
                map.serialize_entry(
                    "wait",
                    &Value::Object([("until".to_owned(), time.source().clone())].into_iter().collect()),
                )?;
            }
            Self::Signal(name) => map.serialize_entry("signal", name)?,
            Self::Emit(kind) => map.serialize_entry("emit", kind)?,
            Self::Approval(approval) => map.serialize_entry("approval", approval)?,
            Self::Workflow(call) => {
                map.serialize_entry("workflow", &call.wanted)?;
                if call.detach {
                    map.serialize_entry("detach", &true)?;
                }
            }
        }
        map.end()
    }
}
