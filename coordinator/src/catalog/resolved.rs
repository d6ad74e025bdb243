//! A workflow version with its agents pinned and its contract compiled: all that a submission needs.

use jsonschema::Validator;
use kapelle_engine::Pin;
use kapelle_types::{Code, Diagnosis, Sha256, WorkflowVersion};
use serde_json::Value;

/// Violations that one refusal names.
const VIOLATIONS_MAX: usize = 5;
/// Characters of an offending value that are shown.
const VALUE_CHARS_MAX: usize = 60;

/// What a job resolves to.
pub struct Resolved {
    /// The workflow version.
    pub workflow: WorkflowVersion,
    /// Digest of its manifest.
    pub digest: Sha256,
    /// The agent version of each step, in the order of the steps.
    pub pins: Vec<Pin>,
    pub(super) contract: Option<Validator>,
}

impl Resolved {
    /// Whether the input keeps the workflow's contract.
    ///
    /// # Errors
    /// `INPUT_INVALID` with the path of each violation.
    pub fn check_input(&self, input: &Value) -> Result<(), Diagnosis> {
        let Some(contract) = &self.contract else { return Ok(()) };
        let violations: Vec<String> = contract.iter_errors(input).take(VIOLATIONS_MAX).map(|e| violation(&e)).collect();
        if violations.is_empty() {
            return Ok(());
        }
        let message = format!("the input does not match the contract of {}: {}", self.workflow, violations.join("; "));
        Err(Diagnosis::new(Code::INPUT_INVALID, message)
            .hint(format!("`kapelle workflow describe {}` shows the contract", self.workflow.name)))
    }
}

fn violation(error: &jsonschema::ValidationError<'_>) -> String {
    let path = error.instance_path().to_string();
    let place = if path.is_empty() { "at the top".to_owned() } else { format!("at {path}") };
    let said = error.masked().to_string();
    format!("{place}: {}", said.chars().take(VALUE_CHARS_MAX * 4).collect::<String>())
}
