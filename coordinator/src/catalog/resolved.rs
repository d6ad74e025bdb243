//! A workflow version with its agents pinned and its contract compiled: all that a submission needs.

use kapelle_engine::{Pin, WorkflowPin};
use kapelle_manifest::Checker;
use kapelle_types::{Code, Diagnosis, Sha256, WorkflowVersion};
use serde_json::Value;

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
