//! How an attempt stands among others that wait for the same agent version: its priority, whose share it takes, what limits it.
//!
//! | | said by, the first that says something |
//! |---|---|
//! | priority | the step; the submission; the workflow. In a run below another: the step; the workflow; the run above |
//! | share | the workflow; the run above |
//! | limit | the agent, over its own input |
//!
//! What a run does last has the run's priority. All of it is a function of the plan, the submission and the attempt's input: it
//! is the same whenever an attempt is dispatched again.

use std::collections::BTreeMap;

use kapelle_expression::{Error, Scope, Template};
use kapelle_types::limits::FLOW_KEY_BYTES_MAX;
use kapelle_types::{Code, Fairness, Flow, KeyLimit, Payload, Priority, Rate, StepId, Timestamp, limits};
use serde_json::Value;

use crate::approval;
use crate::entry::Failure;
use crate::plan::{Phase, PlanStep};
use crate::scope::View;
use crate::state::{Place, Run, StepState};

/// What a workflow says of the flow of its runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Flowing {
    /// Their priority, over the run's input.
    pub priority: Option<Template>,
    /// Whose share they take.
    pub fairness: Option<Sharing>,
}

/// Whose share of an agent version the runs of a workflow take.
#[derive(Debug, Clone, PartialEq)]
pub struct Sharing {
    /// The key, over the run's input.
    pub key: Template,
    /// How large the key's share is, over the run's input; 1 if nothing says more.
    pub weight: Option<Template>,
    /// The same by key.
    pub weights: BTreeMap<String, u32>,
}

/// A limit that an agent's tasks with the same key have together.
#[derive(Debug, Clone, PartialEq)]
pub struct ByKey {
    /// The key, over the agent's input.
    pub key: Template,
    /// How many may be queued or run at a time.
    pub concurrency: Option<u32>,
    /// How often one may start.
    pub rate: Option<Rate>,
}

/// How an attempt stands; `None` if nothing is said of it.
pub(crate) fn of(run: &Run, place: Place, planned: &PlanStep, input: &Payload) -> Result<Option<Box<Flow>>, Failure> {
    given(run, place, planned, Some(input))
}

/// What people see of it while it is worked on; of a `foreach` what its members have in common.
pub(crate) fn shown(run: &Run, place: Place, planned: &PlanStep) -> Option<Flow> {
    let begun = matches!(run.state(place.step), Some(StepState::Single(_) | StepState::FanOut(_)));
    if planned.agent().is_none() || !begun || run.is_finished() || run.is_off(place.step) {
        return None;
    }
    let limited = run.doing(place, planned).by_key().is_some() && run.slot(place).is_some();
    let input = limited.then(|| approval::arguments(run, place, planned).ok()).flatten();
    given(run, place, planned, input.as_ref()).ok().flatten().map(|flow| *flow)
}

/// The same, without the limit where it is not known what the agent is given.
fn given(run: &Run, place: Place, planned: &PlanStep, input: Option<&Payload>) -> Result<Option<Box<Flow>>, Failure> {
    let said = said(run)?;
    let doing = run.doing(place, planned);
    let own = planned.priority.as_ref().filter(|_| planned.phase == Phase::Work);
    let by_key = doing.by_key().zip(input);
    if said.is_plain() && own.is_none() && by_key.is_none() {
        return Ok(None);
    }
    let name = place.name(&run.plan);
    let at = |field: &str| name.as_ref().map_or_else(String::new, |name| format!("step `{name}`: `{field}`"));
    let mut flow = said;
    if let Some(template) = own {
        flow.priority = priority(template, &View::from(run, place), &at("priority"))?;
    }
    if let Some((by_key, input)) = by_key {
        let whose = at(&format!("limits.by_key of {}", doing.whose()));
        let key = key(&by_key.key, &OfInput(input), &whose)?;
        flow.limit = Some(KeyLimit { key, concurrency: by_key.concurrency, rate: by_key.rate });
    }
    Ok((!flow.is_plain()).then(|| Box::new(flow)))
}

/// What the run as a whole says of its attempts.
pub(crate) fn said(run: &Run) -> Result<Flow, Failure> {
    let Some(origin) = &run.origin else { return Ok(Flow::default()) };
    let declared = run.plan.flow.as_deref();
    let below = origin.parent.is_some();
    let own = |which: fn(&Flowing) -> Option<&Template>| declared.and_then(which);
    let template = own(|it| it.priority.as_ref()).filter(|_| below || origin.priority.is_none());
    let priority = match template {
        Some(template) => priority(template, &View::of_run(run), "the workflow's `priority`")?,
        None => origin.priority.unwrap_or_default(),
    };
    let fairness = match declared.and_then(|it| it.fairness.as_ref()) {
        Some(sharing) => Some(share(sharing, &View::of_run(run))?),
        None => origin.fairness.clone(),
    };
    Ok(Flow { priority, fairness, limit: None })
}

fn share(sharing: &Sharing, scope: &dyn Scope) -> Result<Fairness, Failure> {
    let key = key(&sharing.key, scope, "the workflow's `fairness.key`")?;
    let weight = match (sharing.weights.get(&key), &sharing.weight) {
        (Some(weight), _) => *weight,
        (None, None) => 1,
        (None, Some(template)) => {
            let at = "the workflow's `fairness.weight`";
            let most = limits::FAIRNESS_WEIGHT_MAX;
            let number = number(template, scope, at)?.filter(|it| (1..=u64::from(most)).contains(it));
            let number = number.and_then(|it| u32::try_from(it).ok());
            number.ok_or_else(|| invalid(format!("{at} is a whole number from 1 to {most}, and this is none")))?
        }
    };
    Ok(Fairness { key, weight })
}

fn priority(template: &Template, scope: &dyn Scope, at: &str) -> Result<Priority, Failure> {
    let number = number(template, scope, at)?.and_then(|it| u8::try_from(it).ok());
    let priority = number.and_then(Priority::new);
    priority.ok_or_else(|| invalid(format!("{at} is a whole number from 1, served first, to 5, and this is none")))
}

/// A whole number; `None` for anything else.
fn number(template: &Template, scope: &dyn Scope, at: &str) -> Result<Option<u64>, Failure> {
    let payload = template.evaluate(scope).map_err(|error| broken(at, &error))?;
    let value = payload.value.as_deref();
    let whole = |number: f64| (number.fract() == 0.0 && (0.0..1e6).contains(&number)).then_some(number);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and far below 2^53")]
    Ok(value.and_then(|it| it.as_u64().or_else(|| it.as_f64().and_then(whole).map(|it| it as u64))))
}

fn key(template: &Template, scope: &dyn Scope, at: &str) -> Result<String, Failure> {
    let payload = template.evaluate(scope).map_err(|error| broken(at, &error))?;
    let key = match payload.value.as_deref() {
        Some(Value::String(text)) => text.clone(),
        Some(number @ (Value::Number(_) | Value::Bool(_))) => number.to_string(),
        Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => {
            return Err(invalid(format!("{at} is a text, a number, true or false, and this is none")));
        }
    };
    if key.is_empty() || key.len() > FLOW_KEY_BYTES_MAX {
        return Err(invalid(format!("{at} has {} bytes; a key has 1 to {FLOW_KEY_BYTES_MAX}", key.len())));
    }
    Ok(key)
}

fn broken(at: &str, error: &Error) -> Failure {
    Failure::of_run(error.code(), format!("{at}: {error}"))
}

fn invalid(message: String) -> Failure {
    Failure::of_run(Code::FLOW_INVALID, message)
}

/// What an agent's own expressions see: its input, and nothing of the run.
struct OfInput<'p>(&'p Payload);

impl Scope for OfInput<'_> {
    fn input(&self) -> Payload {
        self.0.clone()
    }

    fn output(&self, _: &StepId) -> Option<Payload> {
        None
    }

    fn outputs(&self, _: &StepId) -> Option<Payload> {
        None
    }

    fn status(&self, _: &StepId) -> Option<&'static str> {
        None
    }

    fn item(&self) -> Option<Payload> {
        None
    }

    fn index(&self) -> Option<u32> {
        None
    }

    fn given(&self) -> Option<Payload> {
        None
    }

    fn last(&self) -> Option<Payload> {
        None
    }

    fn round(&self) -> Option<u32> {
        None
    }

    fn error(&self) -> Option<(&str, &str)> {
        None
    }

    fn run_id(&self) -> String {
        String::new()
    }

    fn started_at(&self) -> Timestamp {
        Timestamp::default()
    }
}

#[cfg(test)]
mod tests;
