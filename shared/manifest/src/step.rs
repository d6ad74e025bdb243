//! One step of a workflow.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use kapelle_expression::{Expression, Reference, Template};
use kapelle_types::limits::FAN_OUT_MAX;
use kapelle_types::{CaseName, InvalidName, RetryPolicy, StepId};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::act::Act;
use crate::approval::Approval;
use crate::handoff::Handoff;
use crate::issue::Issue;
use crate::join::{Join, MaxFailures};
use crate::performer::Performer;
use crate::read::{Fields, Issues, Part};
use crate::repeat::Repeat;
use crate::{flow, handoff, last, retry, write};

/// A step: one thing that is done, once or for each item of a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Its name in the workflow and in expressions.
    pub id: StepId,
    /// What is done.
    #[serde(flatten)]
    pub act: Act,
    /// The case of a switch in which it is done; in every other it is SKIPPED.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case: Option<InCase>,
    /// The steps that have to end before it: those that are written down, then those that its expressions refer to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<StepId>,
    /// Which of these it waits for; all if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
    /// The agent's or the workflow's input, or the event's data; `None` for steps that take neither.
    #[serde(serialize_with = "write::optional_template", skip_serializing_if = "Option::is_none")]
    pub with: Option<Template>,
    /// Whether it is done at all; evaluated once, before `foreach`. A step that is not done is SKIPPED.
    #[serde(serialize_with = "write::optional_expression", skip_serializing_if = "Option::is_none")]
    pub when: Option<Expression>,
    /// The list of which each item is worked on.
    #[serde(serialize_with = "write::optional_expression", skip_serializing_if = "Option::is_none")]
    pub foreach: Option<Expression>,
    /// Items worked on at a time; all if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// Items that a member works on, as a list, if they are more than one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// Members that may give up before the step does; their output is null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<MaxFailures>,
    /// When it is done again after it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Repeat>,
    /// Which agents may go on with it after it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handoff: Option<Handoff>,
    /// How it is retried, instead of how the agent says.
    #[serde(serialize_with = "write::optional_retry", skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// How long one attempt may take, instead of what the agent says; how long a signal is waited for.
    #[serde(serialize_with = "write::optional_duration", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What happens to the run when the step gives up; `None` for steps that cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_give_up: Option<OnGiveUp>,
    /// What undoes it if it succeeded and the run then ends otherwise than COMPLETED.
    #[serde(serialize_with = "last::write_compensation", skip_serializing_if = "Option::is_none")]
    pub compensate: Option<Box<Self>>,
    /// Who has to agree before the agent is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approve: Option<Approval>,
    /// How soon its tasks are served, instead of how soon the run's are.
    #[serde(serialize_with = "write::optional_template", skip_serializing_if = "Option::is_none")]
    pub priority: Option<Template>,
}

/// A case of a switch, as a step names it: `route.big`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InCase {
    /// The step that is the switch.
    pub switch: StepId,
    /// Its case.
    pub case: CaseName,
}

impl fmt::Display for InCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.switch, self.case)
    }
}

impl FromStr for InCase {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let rule = "the switch and its case, joined by a dot: `route.big`";
        let invalid = || InvalidName { what: "case of a switch", value: text.chars().take(80).collect(), rule };
        let (switch, case) = text.split_once('.').ok_or_else(invalid)?;
        Ok(Self { switch: switch.parse()?, case: case.parse()? })
    }
}

impl Serialize for InCase {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// What happens to a run when a step gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnGiveUp {
    /// It is STALLED and waits for a person or a rule.
    #[default]
    Stall,
    /// It ends FAILED.
    Fail,
    /// It goes on: the step, or the member of a `foreach`, gives null.
    Continue,
}

impl Step {
    /// What DESIGN knows and this version does not.
    const LATER: &[&str] = &["degraded", "fallback", "loop", "parallel"];

    /// Everything that the step's expressions refer to.
    #[must_use]
    pub fn references(&self) -> Vec<Reference> {
        let mut references: Vec<Reference> = self.with.iter().flat_map(Template::references).collect();
        references.extend(self.priority.iter().flat_map(Template::references));
        references.extend(self.act.references());
        references.extend(self.handoff.iter().flat_map(Handoff::references));
        let until = self.repeat.as_ref().map(|it| &it.until);
        for expression in [&self.when, &self.foreach].into_iter().flatten().chain(until) {
            references.extend(expression.references().iter().cloned());
        }
        references
    }

    pub(crate) fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let id: Option<StepId> = fields.required("id", issues).and_then(|it| it.name(issues));
        let compensate = fields.optional("compensate");
        if let Some(part) = compensate.as_ref().filter(|_| fields.optional("foreach").is_some()) {
            let issue = Issue::rule(&part.pointer, "a step that works on a list cannot be compensated");
            issues.push(issue.on_key().label("not with `foreach`").hint(
                "compensate the step that makes use of the list, or undo its items in a step of `on_failure` with `foreach`",
            ));
        }
        if let Some(part) = compensate.as_ref().filter(|_| fields.optional("repeat").is_some()) {
            let issue = Issue::rule(&part.pointer, "a step that is repeated cannot be compensated");
            issues.push(issue.on_key().label("not with `repeat`").hint(
                "its rounds would have to be undone one by one; let one step find out and the next do what can be undone",
            ));
        }
        let compensate = match (&compensate, &id) {
            (Some(part), Some(id)) => Some(last::read_compensation(part, id, issues)),
            (Some(_), None) | (None, _) => None, // without a name the step is refused
        };
        let step = Self::read_called(fields, id, issues);
        Some(Self { compensate: transpose(compensate)?, ..step? })
    }

    /// Reads a step of this name, but for what undoes it.
    pub(crate) fn read_called(mut fields: Fields<'_>, id: Option<StepId>, issues: &mut Issues) -> Option<Self> {
        let act = Act::read(&mut fields, Self::LATER, issues);
        let case = fields.optional("case").map(|it| it.name(issues));
        let needs = fields.optional("needs").map_or(Some(vec![]), |it| read_needs(&it, issues));
        let join = match fields.optional("join") {
            Some(part) => Join::read(&part, needs.as_deref().unwrap_or_default(), issues),
            None => Some(None),
        };
        let means = |field| act.as_ref().is_none_or(|act| act.means(field));
        let with = match fields.optional("with") {
            Some(part) => part.template(issues).map(Some),
            None if means("with") => Template::compile(&Value::Object(Map::new())).ok().map(Some),
            None => Some(None),
        };
        let when = fields.optional("when").map(|it| it.expression(issues));
        let foreach = fields.optional("foreach").map(|it| it.expression(issues));
        let parallel_part = fields.optional("max_parallel");
        let fan_out_max = u32::try_from(FAN_OUT_MAX).unwrap_or(u32::MAX);
        let max_parallel = parallel_part.as_ref().map(|it| it.count(1, fan_out_max, issues));
        let (batch_part, failures_part) = (fields.optional("batch"), fields.optional("max_failures"));
        let batch = batch_part.as_ref().map(|it| it.count(2, fan_out_max, issues));
        let max_failures = failures_part.as_ref().map(|it| MaxFailures::read(it, fan_out_max, issues));
        let repeat = fields.optional("repeat").map(|it| Repeat::read(&it, issues));
        let handoff = fields.optional("handoff").map(|it| Handoff::read(&it, issues));
        handoff::alone(&mut fields, issues);
        let retry = fields.optional("retry").map(|it| retry::read(&it, issues));
        let timeout = fields.optional("timeout").map(|it| it.duration(issues));
        let words = [("stall", OnGiveUp::Stall), ("fail", OnGiveUp::Fail), ("continue", OnGiveUp::Continue)];
        let on_give_up = match fields.optional("on_give_up") {
            Some(part) => part.word(&words, issues).map(Some),
            None => Some(means("on_give_up").then_some(OnGiveUp::Stall)),
        };
        let approve = fields.optional("approve").map(|it| Approval::read(&it, issues));
        let priority = fields.optional("priority").map(|it| flow::priority(&it, issues));
        fields.close(Self::LATER, issues);
        let of_lists = [("max_parallel", parallel_part), ("batch", batch_part), ("max_failures", failures_part)];
        for (field, part) in of_lists.into_iter().filter(|_| foreach.is_none()) {
            let Some(part) = part else { continue };
            let issue = Issue::rule(&part.pointer, format!("`{field}` means nothing without `foreach`"));
            issues.push(issue.on_key().hint("remove it, or say what list the step works on: `foreach: ${…}`"));
        }
        Some(Self {
            id: id?,
            act: act?,
            case: transpose(case)?,
            needs: needs?,
            join: join?,
            with: with?,
            when: transpose(when)?,
            foreach: transpose(foreach)?,
            max_parallel: transpose(max_parallel)?,
            batch: transpose(batch)?,
            max_failures: transpose(max_failures)?,
            repeat: transpose(repeat)?,
            handoff: transpose(handoff)?,
            retry: transpose(retry)?,
            timeout: transpose(timeout)?,
            on_give_up: on_give_up?,
            compensate: None,
            approve: transpose(approve)?,
            priority: transpose(priority)?,
        })
    }

    /// Who may do it: the agent that it asks for, then those that it may be handed to.
    pub fn performers(&self) -> impl Iterator<Item = Performer> {
        let others = self.handoff.iter().flat_map(|it| &it.to).cloned().map(Performer::Agent);
        self.act.performer().cloned().into_iter().chain(others)
    }

    /// The template that it works on, and where in the step it stands: `with`, or what its act says.
    #[must_use]
    pub fn template(&self) -> Option<(&'static [&'static str], &Template)> {
        self.act.template().or_else(|| self.with.as_ref().map(|with| (&["with"][..], with)))
    }

    /// Whether its output may be null though nothing says so: it may be skipped, or gone on without.
    #[must_use]
    pub fn is_optional(&self) -> bool {
        self.is_conditional() || self.on_give_up == Some(OnGiveUp::Continue)
    }

    /// Whether some of its members may give null because they gave up.
    #[must_use]
    pub fn has_null_members(&self) -> bool {
        self.max_failures.is_some() || self.on_give_up == Some(OnGiveUp::Continue)
    }

    /// Whether it is done only sometimes.
    #[must_use]
    pub const fn is_conditional(&self) -> bool {
        self.when.is_some() || self.case.is_some()
    }

    /// Adds the switch that it is a case of, and the steps that the expressions refer to. One that refers to its own step makes a circle of one.
    pub(crate) fn add_implied_needs(&mut self) {
        for reference in self.references() {
            if let Some(step) = reference.root.step()
                && !self.needs.contains(step)
            {
                self.needs.push(step.clone());
            }
        }
        if let Some(InCase { switch, .. }) = &self.case
            && !self.needs.contains(switch)
        {
            self.needs.push(switch.clone());
        }
    }
}

/// `None` if a field is there and is not right; `Some(None)` if it is not there.
#[allow(clippy::option_option)] // that is the point
fn transpose<T>(field: Option<Option<T>>) -> Option<Option<T>> {
    match field {
        Some(value) => value.map(Some),
        None => Some(None),
    }
}

pub(crate) fn read_needs(part: &Part<'_>, issues: &mut Issues) -> Option<Vec<StepId>> {
    let needs: Vec<Option<StepId>> = part.items(issues)?.iter().map(|it| it.name(issues)).collect();
    let mut unique = Vec::with_capacity(needs.len());
    for step in needs.into_iter().collect::<Option<Vec<_>>>()? {
        if !unique.contains(&step) {
            unique.push(step);
        }
    }
    Some(unique)
}
