//! What becomes of registered workflows when more agents are there: steps that would get one of them, and break by it.
//!
//! A version number keeps a step from what it did not ask for, and `^1` never gets 2.0.0. A step that asks for any version,
//! or for a capability, has no such guard. `diff` shows what breaks, and the registry refuses by it. Runs are not affected:
//! they keep the versions that they were pinned to.

use kapelle_contract::Difference;
use kapelle_types::{AgentVersion, Code, Diagnosis, StepId, WorkflowVersion};

use crate::catalog::Catalog;
use crate::check::{Misfit, check, misfits};
use crate::{Manifest, Problem, Sourced, Workflow};

/// Breaks that one refusal names.
const NAMED_MAX: usize = 3;

/// Something that holds for a workflow now and would not any more.
#[derive(Debug, Clone, PartialEq)]
pub struct Broken {
    /// The workflow.
    pub workflow: WorkflowVersion,
    /// The step; none for the workflow's own output.
    pub step: Option<StepId>,
    /// How.
    pub how: Breakage,
}

/// How a step would break.
#[derive(Debug, Clone, PartialEq)]
pub enum Breakage {
    /// Some of what it may be given its new agent would refuse.
    Misfit(AgentVersion, Difference),
    /// It would be refused if it were registered anew: nobody would do it, or it names what is not there any more.
    Refused(String),
}

/// What these workflows would lose. `before` and `after` are the agents that there are, without and with the new ones.
pub fn broken<'w>(
    workflows: impl IntoIterator<Item = &'w Workflow>,
    before: &dyn Catalog,
    after: &dyn Catalog,
) -> Vec<Broken> {
    workflows.into_iter().filter(|it| moves(it, before, after)).flat_map(|it| of(it, before, after)).collect()
}

/// Whether any step would get another agent version. Nothing else can break it.
fn moves(workflow: &Workflow, before: &dyn Catalog, after: &dyn Catalog) -> bool {
    let who = |step: &crate::Step, catalog| -> Vec<_> {
        step.performers().map(|it| it.resolve(catalog).ok().map(|agent| agent.version())).collect()
    };
    workflow.every_step().any(|step| who(step, before) != who(step, after))
}

fn of(workflow: &Workflow, before: &dyn Catalog, after: &dyn Catalog) -> Vec<Broken> {
    let version = workflow.version();
    let sourced = Sourced::from(Manifest::Workflow(workflow.clone()));
    // What a step is given comes below, with examples.
    let problems = |catalog| -> Vec<Problem> {
        check(&sourced, catalog).into_iter().filter(|it| it.code() != Code::CONTRACT_MISFIT).collect()
    };
    let known = problems(before);
    let new = |it: &Problem| !known.iter().any(|old| (&old.pointer, &old.message) == (&it.pointer, &it.message));
    let refused = problems(after).into_iter().filter(new).map(|it| Broken {
        workflow: version.clone(),
        step: step_at(workflow, &it.pointer),
        how: Breakage::Refused(it.message),
    });
    let fitted = misfits(workflow, before);
    let new = |it: &Misfit| {
        let same = |old: &Misfit| {
            (&old.step, &old.difference.pointer, &old.difference.rule)
                == (&it.step, &it.difference.pointer, &it.difference.rule)
        };
        !fitted.iter().any(same)
    };
    let misfits = misfits(workflow, after).into_iter().filter(new).map(|it| Broken {
        workflow: version.clone(),
        step: Some(it.step),
        how: Breakage::Misfit(it.agent, it.difference),
    });
    refused.chain(misfits).collect()
}

/// The step that a pointer into the workflow's manifest lies in.
fn step_at(workflow: &Workflow, pointer: &str) -> Option<StepId> {
    let index = pointer.strip_prefix("/spec/steps/")?.split('/').next()?.parse::<usize>().ok()?;
    workflow.spec.steps.get(index).map(|step| step.id.clone())
}

/// Why new agents may not be registered: they break workflows that are there, which is proven.
///
/// # Errors
/// `BREAKS_WORKFLOWS`, with the first steps and what would break there.
pub fn keeps_workflows(broken: &[Broken]) -> Result<(), Diagnosis> {
    if broken.is_empty() {
        return Ok(());
    }
    let mut told: Vec<String> = broken.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    if broken.len() > NAMED_MAX {
        told.push(format!("and {} more", broken.len() - NAMED_MAX));
    }
    let message = format!("registered workflows would get what breaks them: {}", told.join("; "));
    Err(Diagnosis::new(Code::BREAKS_WORKFLOWS, message).hint(
        "let these steps name the versions that they can do with, for example `agent: NAME@^1`, and apply the workflows \
         first or together; `kapelle diff -f FILE` shows everything; `--force WHY` registers it all the same",
    ))
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.step {
            Some(step) => write!(f, "step {step} of {}: ", self.workflow)?,
            None => write!(f, "{}: ", self.workflow)?,
        }
        match &self.how {
            Breakage::Misfit(agent, difference) => write!(f, "{agent} would refuse what it is given, {difference}"),
            Breakage::Refused(why) => f.write_str(why),
        }
    }
}
