//! What steps do, as plans have it.

use std::collections::HashMap;
use std::time::Duration;

use kapelle_engine::{
    Act, Actor, AgentAct, Approval, AwaitSignal, Bond, ByKey, Case, Flowing, Handoff, Join, MaxFailures, OnGiveUp, Pin,
    Repeat, Rung, Sharing, TaskLimits, Wait, WorkflowAct, WorkflowPin,
};
use kapelle_manifest::{Agent, Step, Workflow};
use kapelle_types::{RetryPolicy, StepId};

use super::contracts::{given, taken};
use super::{PlanError, missing};

/// What a step does; `pinned` is the agent version that does it, `called` the workflow version that it runs.
pub(super) fn act(
    step: &Step,
    pinned: Option<(&Pin, &Agent)>,
    called: Option<(&WorkflowPin, &Workflow)>,
) -> Result<Act, PlanError> {
    use kapelle_manifest::Act as Declared;
    Ok(match &step.act {
        Declared::Agent(_) => {
            let (pin, agent) = pinned.ok_or_else(|| missing(&step.id))?;
            Act::Agent(Box::new(agent_act(pin, agent)))
        }
        Declared::Value(_) => Act::Value,
        Declared::Switch(cases) => {
            Act::Switch(cases.iter().map(|it| Case { name: it.name.clone(), when: it.when.clone() }).collect())
        }
        Declared::Wait(kapelle_manifest::Wait::For(_)) => Act::Wait(Wait::For),
        Declared::Wait(kapelle_manifest::Wait::Until(_)) => Act::Wait(Wait::Until),
        Declared::Signal(name) => Act::Signal(AwaitSignal { name: name.clone(), timeout: step.timeout }),
        Declared::Emit(kind) => Act::Emit(kind.clone()),
        Declared::Approval(declared) => Act::Approval(Box::new(approval(declared))),
        Declared::Workflow(call) => {
            let (pin, _) = called.ok_or_else(|| missing(&step.id))?;
            let bond = if call.detach { Bond::Detached } else { Bond::Awaited };
            Act::Workflow(Box::new(WorkflowAct { version: pin.workflow.clone(), bond }))
        }
    })
}

fn agent_act(pin: &Pin, agent: &Agent) -> AgentAct {
    let limits = &agent.spec.role.limits;
    AgentAct {
        version: pin.agent.clone(),
        limits: TaskLimits {
            payload_bytes: limits.payload_bytes,
            tokens: limits.tokens.map(u64::from),
            tool_calls: limits.tool_calls.map(u64::from),
        },
        cost_per_run: limits.cost_per_run,
        by_key: limits.by_key.as_ref().map(|it| Box::new(by_key(it))),
    }
}

/// How many members may fail.
pub(super) const fn max_failures(declared: kapelle_manifest::MaxFailures) -> MaxFailures {
    match declared {
        kapelle_manifest::MaxFailures::Count(count) => MaxFailures::Count(count),
        kapelle_manifest::MaxFailures::Percent(percent) => MaxFailures::Percent(percent),
    }
}

/// What becomes of a run when this step gives up.
pub(super) const fn on_give_up(step: &Step) -> OnGiveUp {
    match step.on_give_up {
        Some(kapelle_manifest::OnGiveUp::Stall) | None => OnGiveUp::Stall,
        Some(kapelle_manifest::OnGiveUp::Fail) => OnGiveUp::Fail,
        Some(kapelle_manifest::OnGiveUp::Continue) => OnGiveUp::Continue,
    }
}

/// How failures of a step are retried that this agent does.
pub(super) fn retry(step: &Step, pinned: Option<(&Pin, &Agent)>) -> RetryPolicy {
    step.retry.clone().or_else(|| Some(pinned?.1.spec.retry.clone())).unwrap_or_default()
}

/// How long an attempt of a step may take that this agent does.
pub(super) fn timeout(step: &Step, pinned: Option<(&Pin, &Agent)>) -> Duration {
    step.timeout.or_else(|| Some(pinned?.1.spec.role.limits.timeout)).unwrap_or_default()
}

/// Whom a step may be handed to; `pinned` are those that it was pinned to, in the order of `to`.
pub(super) fn handoff(step: &Step, pinned: &[(&Pin, &Agent)]) -> Result<Option<Box<Handoff>>, PlanError> {
    let Some(declared) = &step.handoff else { return Ok(None) };
    if declared.to.len() != pinned.len() {
        return Err(missing(&step.id));
    }
    let mut to = Vec::with_capacity(pinned.len());
    for (pin, agent) in pinned.iter().copied() {
        let who = Some((pin, agent));
        to.push(Actor {
            act: agent_act(pin, agent),
            input: taken(who, None)?,
            output: given(step, who, None)?,
            retry: retry(step, who),
            timeout: timeout(step, who),
        });
    }
    let (next, with) = (declared.next.clone(), declared.with.clone());
    Ok(Some(Box::new(Handoff { to, next, with, max: declared.max })))
}

pub(super) fn approval(declared: &kapelle_manifest::Approval) -> Approval {
    let kapelle_manifest::Approval { title, reason, groups, quorum, expires, remind, escalate, self_approval } =
        declared.clone();
    let escalate = escalate.into_iter().map(|kapelle_manifest::Rung { after, to }| Rung { after, to }).collect();
    let reason = reason.unwrap_or_default();
    Approval { title, reason, groups, quorum, expires, remind, escalate, self_approval }
}

fn by_key(declared: &kapelle_manifest::ByKey) -> ByKey {
    let kapelle_manifest::ByKey { key, concurrency, rate } = declared.clone();
    ByKey { key, concurrency, rate }
}

/// What a workflow says of how its tasks stand among others.
pub(super) fn flowing(workflow: &Workflow) -> Option<Box<Flowing>> {
    let (priority, fairness) = (workflow.spec.priority.clone(), workflow.spec.fairness.clone());
    let sharing = |it| {
        let kapelle_manifest::Fairness { key, weight, weights } = it;
        Sharing { key, weight, weights }
    };
    let fairness = fairness.map(sharing);
    (priority.is_some() || fairness.is_some()).then(|| Box::new(Flowing { priority, fairness }))
}

pub(super) fn join(declared: &kapelle_manifest::Join, place: &HashMap<&StepId, usize>) -> Join {
    let of = declared.of.iter().filter_map(|step| place.get(step).copied()).collect();
    Join { of, quorum: declared.quorum as usize }
}

pub(super) fn repeat(declared: &kapelle_manifest::Repeat) -> Repeat {
    let accept = declared.on_max == kapelle_manifest::OnMax::Accept;
    Repeat { until: declared.until.clone(), max: declared.max, accept }
}
