//! What somebody who decides is shown beside the arguments: what follows each answer, who would do it, what the run has cost,
//! where the arguments come from, and what is different from the last time.

use std::collections::{BTreeMap, BTreeSet};

use kapelle_bus::approvals::{Approvals, Used};
use kapelle_engine::{Act, Body, Held, OnGiveUp, Phase, Plan, PlanStep, Run, StepStatus};
use kapelle_expression::Root;
use kapelle_manifest::Catalog;
use kapelle_proto::v1::{ApprovalAgent, ApprovalAlternative, ApprovalSource, ApprovalView};
use kapelle_types::{AgentVersion, Code, StepId, TaskId, printed};

use super::diff::diff;
use super::ending::agreed_to;
use crate::catalog::Snapshot;
use crate::plans::PlanStore;
use crate::runs::{Rebuilt, rebuild};

/// Steps that a sentence names before it counts the rest.
const NAMED_MAX: usize = 5;

/// Completes the view of one question.
pub(crate) async fn fill(
    view: &mut ApprovalView,
    (rebuilt, held): (&Rebuilt, &Held<'_>),
    snapshot: &Snapshot,
    (store, plans, bus): (&Approvals, &PlanStore, &kapelle_bus::Bus),
) {
    let plan = rebuilt.run.plan();
    let Some((place, planned)) = plan.steps.iter().enumerate().find(|(_, it)| it.id == held.step.step) else { return };
    view.on_approve = on_approve(plan, place, held);
    view.on_reject = on_no(&rebuilt.run, place, Code::APPROVAL_REJECTED);
    view.on_expiry = on_no(&rebuilt.run, place, Code::APPROVAL_EXPIRED);
    view.performer = held.agent.and_then(|it| snapshot.agent(it)).map(|agent| ApprovalAgent {
        purpose: agent.spec.role.purpose.clone(),
        owner: agent.metadata.owner.clone(),
        risk: agent.spec.risk.map(|risk| risk.name().to_owned()).unwrap_or_default(),
        limits: serde_json::to_vec(&agent.spec.role.limits).unwrap_or_default().into(),
    });
    view.alternatives = held.agent.map(|it| alternatives(it, snapshot)).unwrap_or_default();
    view.run_cost_usd = cost_usd(rebuilt);
    view.sources = sources(plan, planned);
    view.reminds_at_unix_nanos = held.approval.remind.iter().map(|it| held.asked_at.plus(*it).nanos()).collect();
    // Without it people decide all the same: they are shown everything that would be done.
    let Ok(Some(used)) = store.used(&plan.workflow.name, &held.step.step).await else { return };
    let Ok(last) = rebuild(bus, plans, used.run).await else { return };
    compare(view, &last, &used, held);
}

/// Whoever else declares what this agent declares, by name.
fn alternatives(agent: &AgentVersion, snapshot: &Snapshot) -> Vec<ApprovalAlternative> {
    let capabilities = snapshot.agent(agent).map(|it| it.spec.role.capabilities.as_slice()).unwrap_or_default();
    let mut found: BTreeMap<AgentVersion, ApprovalAlternative> = BTreeMap::new();
    for capability in capabilities {
        for other in Catalog::capable(&snapshot, capability).iter().filter(|it| it.version() != *agent) {
            let blank = || ApprovalAlternative {
                agent: printed(&other.version()),
                purpose: other.spec.role.purpose.clone(),
                risk: other.spec.risk.map(|risk| risk.name().to_owned()).unwrap_or_default(),
                capabilities: vec![],
            };
            found.entry(other.version()).or_insert_with(blank).capabilities.push(capability.clone());
        }
    }
    found.into_values().collect()
}

fn compare(view: &mut ApprovalView, last: &Rebuilt, used: &Used, held: &Held<'_>) {
    let Some(before) = agreed_to(last, &used.step, used.agreed) else { return };
    let (Some(before), Some(after)) = (before.value, &held.arguments.value) else { return };
    view.changes = diff(&before, after);
    view.compared_with = printed(&used.run);
    view.compared_at_unix_nanos = used.at.nanos();
}

fn on_approve(plan: &Plan, place: usize, held: &Held<'_>) -> String {
    let done = match (held.agent, &plan.steps[place].act) {
        (Some(agent), _) => format!("{agent} is called with exactly this"),
        (None, Act::Approval(_)) => "the step succeeds, with the answer as its output".to_owned(),
        (None, _) => "the step is done with exactly this".to_owned(),
    };
    format!("{done}{}", then(plan, place))
}

/// What follows if it is not done: what the step's `on_give_up` says.
fn on_no(run: &Run, place: usize, code: Code) -> String {
    let plan = run.plan();
    match plan.steps[place].on_give_up {
        OnGiveUp::Stall => format!(
            "it is not done ({code}), and the run is STALLED: nothing behind the step is done until somebody retries it, \
             which asks again, or discards it"
        ),
        OnGiveUp::Continue => {
            format!("it is not done ({code}), and the run goes on with null as its result{}", then(plan, place))
        }
        OnGiveUp::Fail => match closing(run) {
            steps if steps.is_empty() => format!("it is not done ({code}), and the run ends FAILED"),
            steps => {
                format!("it is not done ({code}), and the run ends FAILED after its last steps: {}", named(&steps))
            }
        },
    }
}

/// The steps that wait for this one.
fn then(plan: &Plan, place: usize) -> String {
    let next: Vec<&StepId> = plan.steps.iter().filter(|it| it.needs.contains(&place)).map(|it| &it.id).collect();
    if next.is_empty() { String::new() } else { format!("; then comes {}", named(&next)) }
}

/// What the run does last if it fails now: what undoes its steps, what is done on failure, what is done in any case.
fn closing(run: &Run) -> Vec<&StepId> {
    let plan = run.plan();
    let done: BTreeSet<&StepId> = run.steps().filter(|it| it.status == StepStatus::Succeeded).map(|it| it.id).collect();
    let undone = |step: usize| plan.steps.get(step).is_some_and(|it| done.contains(&it.id));
    let wanted = |it: &&PlanStep| match it.phase {
        Phase::Work => false,
        Phase::Compensation(step) => undone(step),
        Phase::OnFailure | Phase::Finally => true,
    };
    plan.steps.iter().filter(wanted).map(|it| &it.id).collect()
}

fn named(steps: &[&StepId]) -> String {
    let names: Vec<&str> = steps.iter().take(NAMED_MAX).map(|it| it.as_str()).collect();
    let more = steps.len().saturating_sub(NAMED_MAX);
    if more == 0 { names.join(", ") } else { format!("{} and {more} more", names.join(", ")) }
}

/// What the attempts of a run have cost so far: of each the dearest of its reports, as budgets count it.
pub(super) fn cost_usd(rebuilt: &Rebuilt) -> f64 {
    let mut costs: BTreeMap<&TaskId, f64> = BTreeMap::new();
    for entry in rebuilt.records.iter().flat_map(|record| &record.entries) {
        let (task, usage) = match &entry.body {
            Body::StepSucceeded(report) => (&report.task, report.usage),
            Body::StepFailed(report) => (&report.task, report.usage),
            _ => continue,
        };
        let known = costs.entry(task).or_default();
        *known = known.max(usage.cost_usd);
    }
    costs.values().filter(|cost| cost.is_finite()).sum()
}

/// What a step's arguments are made of, each once.
fn sources(plan: &Plan, planned: &PlanStep) -> Vec<ApprovalSource> {
    let mut references = planned.with.references();
    if references.iter().any(|it| it.root == Root::Item) {
        references.extend(planned.foreach.iter().flat_map(|it| it.references().iter().cloned()));
    }
    let mut told = BTreeSet::new();
    let mut sources = Vec::new();
    for reference in references {
        let text = reference.prefix(usize::MAX);
        if told.insert(text.clone()) {
            let giver = reference.root.step().and_then(|id| plan.steps.iter().find(|it| it.id == *id));
            let agent = giver.and_then(PlanStep::agent).map(printed).unwrap_or_default();
            sources.push(ApprovalSource { reference: text, agent });
        }
    }
    sources
}
