//! One step of a workflow.

use std::time::Duration;

use kapelle_expression::{Expression, Reference, Template};
use kapelle_types::limits::FAN_OUT_MAX;
use kapelle_types::{RetryPolicy, StepId};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::issue::Issue;
use crate::performer::Performer;
use crate::read::{Issues, Part};
use crate::{retry, write};

/// A step: one agent's work on one input, or on each item of a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Its name in the workflow and in expressions.
    pub id: StepId,
    /// Who does it.
    #[serde(flatten)]
    pub performer: Performer,
    /// The steps that have to end before it: those that are written down, then those that its expressions refer to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<StepId>,
    /// The agent's input.
    #[serde(serialize_with = "write::template")]
    pub with: Template,
    /// Whether it is done at all; evaluated once, before `foreach`. A step that is not done is SKIPPED.
    #[serde(serialize_with = "write::optional_expression", skip_serializing_if = "Option::is_none")]
    pub when: Option<Expression>,
    /// The list of which each item is worked on.
    #[serde(serialize_with = "write::optional_expression", skip_serializing_if = "Option::is_none")]
    pub foreach: Option<Expression>,
    /// Items worked on at a time; all if it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// How it is retried, instead of how the agent says.
    #[serde(serialize_with = "write::optional_retry", skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// How long one attempt may take, instead of what the agent says.
    #[serde(serialize_with = "write::optional_duration", skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What happens to the run when the step gives up.
    pub on_give_up: OnGiveUp,
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
}

impl Step {
    /// What DESIGN knows and this version does not.
    const LATER: &[&str] = &[
        "approval",
        "compensate",
        "degraded",
        "fallback",
        "handoff",
        "loop",
        "parallel",
        "priority",
        "repeat",
        "signal",
        "switch",
        "timer",
        "wait",
        "workflow",
    ];

    /// Everything that the step's expressions refer to.
    #[must_use]
    pub fn references(&self) -> Vec<Reference> {
        let mut references = self.with.references();
        for expression in [&self.when, &self.foreach].into_iter().flatten() {
            references.extend(expression.references().iter().cloned());
        }
        references
    }

    pub(crate) fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let id = fields.required("id", issues).and_then(|it| it.name(issues));
        let performer = Performer::read(&mut fields, Self::LATER, issues);
        let needs = fields.optional("needs").map_or(Some(vec![]), |it| read_needs(&it, issues));
        let with = match fields.optional("with") {
            Some(part) => part.template(issues),
            None => Template::compile(&Value::Object(Map::new())).ok(),
        };
        let when = fields.optional("when").map(|it| it.expression(issues));
        let foreach = fields.optional("foreach").map(|it| it.expression(issues));
        let parallel_part = fields.optional("max_parallel");
        let fan_out_max = u32::try_from(FAN_OUT_MAX).unwrap_or(u32::MAX);
        let max_parallel = parallel_part.as_ref().map(|it| it.count(1, fan_out_max, issues));
        let retry = fields.optional("retry").map(|it| retry::read(&it, issues));
        let timeout = fields.optional("timeout").map(|it| it.duration(issues));
        let words = [("stall", OnGiveUp::Stall), ("fail", OnGiveUp::Fail)];
        let on_give_up = fields.optional("on_give_up").map_or(Some(OnGiveUp::Stall), |it| it.word(&words, issues));
        fields.close(Self::LATER, issues);
        if let Some(part) = parallel_part.filter(|_| foreach.is_none()) {
            let issue = Issue::rule(&part.pointer, "`max_parallel` means nothing without `foreach`");
            issues.push(issue.on_key().hint("remove it, or say what list the step works on: `foreach: ${…}`"));
        }
        Some(Self {
            id: id?,
            performer: performer?,
            needs: needs?,
            with: with?,
            when: transpose(when)?,
            foreach: transpose(foreach)?,
            max_parallel: transpose(max_parallel)?,
            retry: transpose(retry)?,
            timeout: transpose(timeout)?,
            on_give_up: on_give_up?,
        })
    }

    /// Adds the steps that the expressions refer to. One that refers to its own step makes a circle of one.
    pub(crate) fn add_implied_needs(&mut self) {
        for reference in self.references() {
            if let Some(step) = reference.root.step()
                && !self.needs.contains(step)
            {
                self.needs.push(step.clone());
            }
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

fn read_needs(part: &Part<'_>, issues: &mut Issues) -> Option<Vec<StepId>> {
    let needs: Vec<Option<StepId>> = part.items(issues)?.iter().map(|it| it.name(issues)).collect();
    let mut unique = Vec::with_capacity(needs.len());
    for step in needs.into_iter().collect::<Option<Vec<_>>>()? {
        if !unique.contains(&step) {
            unique.push(step);
        }
    }
    Some(unique)
}
