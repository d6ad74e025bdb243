//! Everything about a manifest that can be known before it runs.

mod given;
mod handoffs;
mod misfits;
mod models;
mod outputs;
mod references;
mod steps;

pub use misfits::{Misfit, misfits};

use kapelle_contract::Pointer;
use kapelle_expression::Reference;
use kapelle_types::Code;

use crate::catalog::Catalog;
use crate::contracts;
use crate::issue::Issue;
use crate::manifest::Manifest;
use crate::problem::Problem;
use crate::sourced::{PROBLEMS_MAX, Sourced};
use crate::{Agent, Runtime, Workflow};

/// Checks a manifest against itself and against the agents that there are.
#[must_use]
pub fn check(sourced: &Sourced, catalog: &dyn Catalog) -> Vec<Problem> {
    located(
        sourced,
        match &sourced.manifest {
            Manifest::Agent(agent) => check_agent(agent),
            Manifest::Workflow(workflow) => check_workflow(workflow, catalog),
        },
    )
}

/// What is not wrong in a manifest without errors and may go wrong when it runs: what steps are given that their agents
/// need not take. It takes longer than [`check`] and stops nobody.
#[must_use]
pub fn warnings(sourced: &Sourced, catalog: &dyn Catalog) -> Vec<Problem> {
    let issues = match &sourced.manifest {
        Manifest::Agent(_) => vec![],
        Manifest::Workflow(workflow) => misfits::warnings(workflow, catalog),
    };
    located(sourced, issues.into_iter().map(Issue::warning).collect())
}

fn located(sourced: &Sourced, issues: Vec<Issue>) -> Vec<Problem> {
    let mut problems: Vec<Problem> =
        issues.into_iter().take(PROBLEMS_MAX).map(|issue| sourced.problem(issue)).collect();
    problems.sort_by_key(|problem| (problem.line, problem.column));
    problems
}

fn spec() -> Pointer {
    Pointer::root().field("spec")
}

fn check_agent(agent: &Agent) -> Vec<Issue> {
    let schema = |side: &str| spec().field(side).field("schema");
    let mut issues = contracts::issues(&agent.spec.input, &schema("input"));
    issues.extend(contracts::issues(&agent.spec.output, &schema("output")));
    if let Some(by_key) = &agent.spec.role.limits.by_key {
        let pointer = spec().field("role").field("limits").field("by_key").field("key");
        let of_agent = |it: &Reference| references::of_agent(it, &agent.spec.input, &pointer);
        issues.extend(by_key.key.references().iter().filter_map(of_agent));
    }
    if let Runtime::Model(model) = &agent.spec.runtime {
        issues.extend(models::check(&agent.spec, model));
    }
    issues
}

fn check_workflow(workflow: &Workflow, catalog: &dyn Catalog) -> Vec<Issue> {
    let mut issues = contracts::issues(&workflow.spec.input, &spec().field("input").field("schema"));
    issues.extend(contracts::issues(&workflow.spec.result, &spec().field("result").field("schema")));
    for (name, signal) in &workflow.spec.signals {
        issues
            .extend(contracts::issues(&signal.contract, &spec().field("signals").field(name.as_str()).field("schema")));
    }
    issues.extend(steps::check(workflow, catalog));
    issues.extend(references::check(workflow, catalog));
    issues.extend(handoffs::check(workflow, catalog));
    issues.extend(misfits::check(workflow, catalog));
    if let Err(cycle) = workflow.order() {
        let first = cycle.steps.first().and_then(|id| workflow.spec.steps.iter().position(|step| step.id == *id));
        let pointer = first.map_or(spec().field("steps"), |index| steps::pointer(index).field("id"));
        let issue = Issue::new(Code::MANIFEST_CYCLE, &pointer, format!("the steps need each other: {cycle}"));
        issues.push(issue.label("the circle goes through this step").hint(match cycle.steps.as_slice() {
            [only] => format!("a step cannot use its own result; remove `{only}` from its `needs` and its expressions"),
            _ => "an arrow means needs, by `needs` or by an expression; take one of them out".to_owned(),
        }));
    }
    issues
}
