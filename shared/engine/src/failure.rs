//! The sentences that people read when the engine itself has to say why a run stands still or ended.

use kapelle_types::{Attempt, Code, Principal, StepRef, duration};

use crate::entry::{Failure, FailureKind};
use crate::plan::{Approval, AwaitSignal};

/// The code of a run that ended because somebody cancelled it.
const CANCELED: &str = "canceled";
/// The code of a run that ended because somebody terminated it.
const TERMINATED: &str = "terminated";

impl Failure {
    /// Something is wrong with a run as a whole.
    pub(crate) fn of_run(code: Code, message: String) -> Self {
        Self::plain(code.as_str(), message)
    }

    /// An expression of a step failed; `field` is where it stands in the manifest.
    pub(crate) fn of_expression(step: &StepRef, field: &str, error: &kapelle_expression::Error) -> Self {
        Self::of_run(error.code(), format!("step `{step}`: `{field}`: {error}"))
    }

    /// The workflow's output failed.
    pub(crate) fn of_output(error: &kapelle_expression::Error) -> Self {
        Self::of_run(error.code(), format!("the workflow's `output`: {error}"))
    }

    /// The list of a `foreach` is none, or is too long.
    pub(crate) fn of_list(step: &StepRef, what: &str) -> Self {
        Self::of_run(Code::FAN_OUT, format!("step `{step}`: `foreach`: {what}"))
    }

    /// A step exhausted its budget; the cause's evidence stays with it.
    pub(crate) fn gave_up(step: &StepRef, attempts: Attempt, cause: &Self) -> Self {
        let plural = if attempts == 1 { "" } else { "s" };
        let message =
            format!("step `{step}` gave up after {attempts} attempt{plural}: {}: {}", cause.code, cause.message);
        Self { kind: cause.kind, evidence: cause.evidence.clone(), ..Self::of_run(Code::STEP_GAVE_UP, message) }
    }

    /// A signal did not come.
    pub(crate) fn signal_timeout(signal: &AwaitSignal) -> Self {
        let within = signal.timeout.map(|it| format!(" within {}", duration::format(it))).unwrap_or_default();
        Self::of_run(Code::SIGNAL_TIMEOUT, format!("the signal `{}` did not come{within}", signal.name))
    }

    /// Somebody said no to what a step would do.
    pub(crate) fn rejected(person: &str, comment: &str) -> Self {
        let words = if comment.is_empty() { String::new() } else { format!(": {comment}") };
        Self::of_run(Code::APPROVAL_REJECTED, format!("{person} rejected it{words}"))
    }

    /// Too few persons agreed in time.
    pub(crate) fn approval_expired(approval: &Approval) -> Self {
        let (persons, within) = (approval.quorum, duration::format(approval.expires));
        let plural = if persons == 1 { "" } else { "s" };
        Self::of_run(Code::APPROVAL_EXPIRED, format!("{persons} person{plural} did not agree within {within}"))
    }

    /// Somebody decided that a stalled run ends FAILED.
    pub(crate) fn failed_by(self, who: &Principal, reason: &str) -> Self {
        Self { message: format!("{}; failed by {}", self.message, by(who, reason)), ..self }
    }

    pub(crate) fn canceled(who: &Principal, reason: &str) -> Self {
        Self::plain(CANCELED, format!("canceled by {}", by(who, reason)))
    }

    pub(crate) fn terminated(who: &Principal, reason: &str) -> Self {
        Self::plain(TERMINATED, format!("terminated by {}", by(who, reason)))
    }

    /// The kind is of no meaning where no attempt is burnt.
    fn plain(code: &str, message: String) -> Self {
        Self {
            kind: FailureKind::Agent,
            code: code.to_owned(),
            message,
            retryable: false,
            retry_after: None,
            evidence: String::new(),
        }
    }
}

fn by(who: &Principal, reason: &str) -> String {
    let who = if who.0.is_empty() { "somebody" } else { &who.0 };
    if reason.is_empty() { who.to_owned() } else { format!("{who}: {reason}") }
}
