//! What a submission gets of the registered manifests: its workflow version, and the version of each agent and workflow that
//! its steps ask for.

use std::sync::{Arc, PoisonError};

use kapelle_bus::registry::Subject;
use kapelle_engine::{Pin, RunSubmitted, WorkflowPin};
use kapelle_expression::nearest;
use kapelle_manifest::{Agent, Checker, Nobody, Workflow};
use kapelle_types::{Code, Diagnosis, RunId, Sha256, WorkflowName, WorkflowVersion};
use semver::VersionReq;

use super::choice::{Choice, Draws, same_draws};
use super::resolved::Outgoing;
use super::snapshot::Entry;
use super::{Resolved, Snapshot};
use crate::plans::{Parts, PlanStore, pin};

/// Of one workflow, the most that is remembered of what it resolved to: there are twice as many for each agent that is being
/// brought in.
const DRAWS_MAX: usize = 256;

/// What runs get that were drawn like this.
pub(super) type Drawn = (Draws, Arc<Resolved>);

impl Snapshot {
    /// The digest of an agent's manifest, as it is registered.
    ///
    /// # Errors
    /// `UNKNOWN_AGENT`: the agent is of another catalog.
    fn agent_digest(&self, agent: &Agent) -> Result<Sha256, Diagnosis> {
        let registered = self.agents.get(&agent.metadata.name).and_then(|all| all.get(&agent.metadata.version));
        let foreign = || Diagnosis::new(Code::UNKNOWN_AGENT, format!("{} is not registered", agent.version()));
        registered.map(|entry| entry.record.digest).ok_or_else(foreign)
    }

    /// The digest of a workflow's manifest, as it is registered.
    ///
    /// # Errors
    /// `UNKNOWN_WORKFLOW`: the workflow is of another catalog.
    fn workflow_digest(&self, workflow: &Workflow) -> Result<Sha256, Diagnosis> {
        let registered =
            self.workflows.get(&workflow.metadata.name).and_then(|all| all.get(&workflow.metadata.version));
        let foreign = || Diagnosis::new(Code::UNKNOWN_WORKFLOW, format!("{} is not registered", workflow.version()));
        registered.map(|entry| entry.record.digest).ok_or_else(foreign)
    }

    /// What a run of a workflow gets.
    pub(super) fn resolve(
        &self,
        (name, requirement): (&str, &str),
        run: Option<RunId>,
        plans: &PlanStore,
    ) -> Result<Arc<Resolved>, Diagnosis> {
        let key = (name.to_owned(), requirement.to_owned());
        let alike = |known: &&Drawn| same_draws(self, &known.0, run);
        let known = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, resolved)) = known.get(&key).and_then(|known| known.iter().find(alike)) {
            return Ok(Arc::clone(resolved));
        }
        drop(known);
        let choice = Choice::new(self, run);
        let resolved = Arc::new(self.resolve_anew(name, requirement, &choice, plans)?);
        let mut known = self.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.entry(key).or_default();
        if known.len() >= DRAWS_MAX {
            known.clear();
        }
        known.push((choice.into_draws(), Arc::clone(&resolved)));
        Ok(resolved)
    }

    fn resolve_anew(
        &self,
        name: &str,
        requirement: &str,
        choice: &Choice<'_>,
        plans: &PlanStore,
    ) -> Result<Resolved, Diagnosis> {
        let entry = self.workflow_entry(name, requirement, choice)?;
        let workflow = &entry.manifest;
        let version = WorkflowVersion { name: workflow.metadata.name.clone(), version: entry.record.version.clone() };
        let mut pins = Vec::new();
        let (mut agents, mut workflow_pins, mut workflows) = (Vec::new(), Vec::new(), Vec::new());
        for step in workflow.every_step() {
            let unknown = |nobody: Nobody| {
                Diagnosis::new(nobody.code, format!("step {} of {version}: {nobody}", step.id)).hint(nobody.hint)
            };
            if let Some(call) = step.act.call() {
                let below = call.resolve(choice).map_err(unknown)?;
                let (workflow, digest) = (below.version(), self.workflow_digest(&below)?);
                workflow_pins.push(WorkflowPin { step: step.id.clone(), workflow, digest });
                workflows.push(below);
            }
            for performer in step.performers() {
                let agent = performer.resolve(choice).map_err(unknown)?;
                pins.push(pin(&step.id, &agent, self.agent_digest(&agent)?));
                agents.push(agent);
            }
        }
        let digest: Sha256 = entry.record.digest;
        let parts = Parts { pins: &pins, agents: &agents, workflow_pins: &workflow_pins, workflows: &workflows };
        plans
            .compile(&version, digest, workflow, parts)
            .map_err(|e| Diagnosis::new(Code::PLAN_MISSING, e.to_string()))?;
        let contract = compiled(workflow, &version)?;
        let outgoing = self.outgoing(&pins);
        Ok(Resolved { workflow: version, digest, pins, workflow_pins, outgoing, contract })
    }

    /// The versions of an earlier submission, if none of its agents is on its way out.
    pub(super) fn resolve_as(&self, submitted: &RunSubmitted) -> Result<Resolved, Diagnosis> {
        if let Some(gone) = submitted.pins.iter().find(|pin| self.is_out(&pin.agent)) {
            let message = format!("step {} was done by {}, which is out of use", gone.step, gone.agent);
            return Err(Diagnosis::new(Code::AGENT_RETIRED, message)
                .hint("take what would be pinned now with --latest, or put the version back into use"));
        }
        let version = submitted.workflow.clone();
        let missing = || Diagnosis::new(Code::PLAN_MISSING, format!("{version} is not registered as it was"));
        let workflow = self.workflow(&version).ok_or_else(missing)?;
        let contract = compiled(&workflow, &version)?;
        let (digest, pins) = (submitted.workflow_digest, submitted.pins.clone());
        let (workflow_pins, outgoing) = (submitted.workflow_pins.clone(), self.outgoing(&pins));
        Ok(Resolved { workflow: version, digest, pins, workflow_pins, outgoing, contract })
    }

    /// Which of these are to be used no more.
    fn outgoing(&self, pins: &[Pin]) -> Vec<Outgoing> {
        let outgoing = |pin: &Pin| {
            self.deprecation(&pin.agent).map(|deprecation| Outgoing::new(&pin.step, pin.agent.clone(), deprecation))
        };
        pins.iter().filter_map(outgoing).collect()
    }

    fn workflow_entry(
        &self,
        name: &str,
        requirement: &str,
        choice: &Choice<'_>,
    ) -> Result<&Entry<Workflow>, Diagnosis> {
        let invalid = |what: String| Diagnosis::new(Code::REQUEST_INVALID, what);
        let parsed: WorkflowName = name.parse().map_err(|e: kapelle_types::InvalidName| invalid(e.to_string()))?;
        let requirement: VersionReq = match requirement {
            "" => VersionReq::STAR,
            text => text.parse().map_err(|e| invalid(format!("`{text}` is not a version requirement: {e}")))?,
        };
        let unknown = |message: String| Diagnosis::new(Code::UNKNOWN_WORKFLOW, message);
        if !self.workflows.contains_key(&parsed) {
            let names: Vec<&str> = self.workflows.keys().map(WorkflowName::as_str).collect();
            let hint = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`kapelle workflow list` shows what is registered".to_owned(),
            };
            return Err(unknown(format!("there is no workflow {name}")).hint(hint));
        }
        let ramps = choice.ramps(&Subject::workflow(&parsed));
        self.workflow_entry_for(&parsed, &requirement, ramps)
            .ok_or_else(|| unknown(format!("no registered version of workflow {name} matches {requirement}")))
    }
}

/// What a workflow takes.
fn compiled(workflow: &Workflow, version: &WorkflowVersion) -> Result<Checker, Diagnosis> {
    let invalid = |e| Diagnosis::new(Code::SCHEMA_INVALID, format!("the input schema of {version}: {e}"));
    workflow.spec.input.compile().map_err(invalid)
}
