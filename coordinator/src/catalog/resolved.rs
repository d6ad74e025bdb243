//! A workflow version with its agents pinned and its contract compiled: all that a submission needs.

use std::fmt;

use kapelle_bus::registry::Deprecation;
use kapelle_engine::{Pin, WorkflowPin};
use kapelle_manifest::Checker;
use kapelle_types::{AgentVersion, Code, Diagnosis, Sha256, StepId, Timestamp, Version, WorkflowVersion};
use serde_json::Value;

/// A step that gets an agent version which is to be used no more. Its text is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The step.
    pub step: StepId,
    /// The agent version.
    pub agent: AgentVersion,
    /// From when on no new run gets it.
    pub sunset: Timestamp,
    /// What takes its place, if something does.
    pub successor: Option<Version>,
}

impl Outgoing {
    pub(crate) fn new(step: &StepId, agent: AgentVersion, deprecation: &Deprecation) -> Self {
        let Deprecation { sunset, successor, .. } = deprecation;
        Self { step: step.clone(), agent, sunset: *sunset, successor: successor.clone() }
    }
}

impl fmt::Display for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, agent, sunset, successor } = self;
        write!(f, "step {step} gets {agent}, which no new run gets from {} on", sunset.rfc3339())?;
        match successor {
            Some(successor) => write!(f, "; {}@{successor} takes its place", agent.name),
            None => Ok(()),
        }
    }
}

/// What a job resolves to.
pub struct Resolved {
    /// The workflow version.
    pub workflow: WorkflowVersion,
    /// Digest of its manifest.
    pub digest: Sha256,
    /// The agent version of each step, and behind it those that the step may be handed to, in the order of the steps.
    pub pins: Vec<Pin>,
    /// The workflow version of each step that runs one, in the order of the steps.
    pub workflow_pins: Vec<WorkflowPin>,
    /// What of it is to be used no more.
    pub outgoing: Vec<Outgoing>,
    pub(super) contract: Checker,
}

impl Resolved {
    /// Whether the input keeps the workflow's contract.
    ///
    /// # Errors
    /// `INPUT_INVALID` with the path of each violation; if others than its sender hear of it, without the names of the input.
    pub fn check_input(&self, input: &Value, heard_by_others: bool) -> Result<(), Diagnosis> {
        if self.contract.accepts(input) {
            return Ok(());
        }
        let violations =
            if heard_by_others { self.contract.violations_hidden(input) } else { self.contract.violations(input) };
        let violations: Vec<String> = violations.iter().map(ToString::to_string).collect();
        let message = format!("the input does not match the contract of {}: {}", self.workflow, violations.join("; "));
        Err(Diagnosis::new(Code::INPUT_INVALID, message)
            .hint(format!("`kapelle workflow describe {}` shows the contract", self.workflow.name)))
    }
}
