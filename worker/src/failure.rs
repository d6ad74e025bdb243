//! The failures that the platform itself names, each with its code and whose fault it is.

use std::time::Duration;

use kapelle_engine::{Failure, FailureKind};
use kapelle_types::{Code, limits};

/// Characters of an agent's own error code that are kept.
const CODE_CHARS_MAX: usize = 100;
/// Bytes of an agent's own error message that are kept.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// A failure that another attempt may cure.
pub(crate) fn transient(code: Code, message: impl Into<String>) -> Failure {
    Failure { retryable: true, ..permanent(code, message) }
}

/// A failure that another attempt would only repeat.
pub(crate) fn permanent(code: Code, message: impl Into<String>) -> Failure {
    Failure {
        kind: FailureKind::Agent,
        code: code.to_string(),
        message: message.into(),
        retryable: false,
        retry_after: None,
        evidence: String::new(),
    }
}

/// The agent did not answer in time.
pub(crate) fn timeout(limit: Duration) -> Failure {
    let message = format!("the agent did not answer within {:.3} s", limit.as_secs_f64());
    Failure { kind: FailureKind::Timeout, ..transient(Code::AGENT_TIMEOUT, message) }
}

/// The attempt is gone with the worker that had it.
pub(crate) fn lost(message: impl Into<String>) -> Failure {
    Failure { kind: FailureKind::LeaseLost, ..transient(Code::LEASE_LOST, message) }
}

/// The attempt was stopped with its agent: another one is to be made when that goes on.
pub(crate) fn stopped() -> Failure {
    let message = "the agent version was stopped; whatever the attempt had done by then may be done again";
    Failure { kind: FailureKind::Returned, ..transient(Code::TASK_RETURNED, message) }
}

/// The task is given back as it came.
pub(crate) fn returned(worker: &str) -> Failure {
    let message = format!("worker {worker} is draining and had not started the task");
    Failure { kind: FailureKind::Returned, ..transient(Code::TASK_RETURNED, message) }
}

/// What the agent says went wrong. Codes of ours are not the agent's to use: readers take their messages for ours.
pub(crate) fn by_agent(code: &str, message: &str, retryable: bool, retry_after: Option<Duration>) -> Failure {
    let code = if code.trim().is_empty() || Code::parse(code.trim()).is_some() { "agent_error" } else { code };
    Failure {
        kind: FailureKind::Agent,
        code: code.chars().take(CODE_CHARS_MAX).collect(),
        message: head(message, MESSAGE_BYTES_MAX).to_owned(),
        retryable,
        retry_after,
        evidence: String::new(),
    }
}

/// The same failure with what was kept to understand it.
pub(crate) fn with_evidence(failure: Failure, evidence: &str) -> Failure {
    Failure { evidence: tail(evidence, limits::EVIDENCE_BYTES_MAX).to_owned(), ..failure }
}

/// The first bytes of a text, cut between characters.
pub(crate) fn head(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// The last bytes of a text, cut between characters.
fn tail(text: &str, bytes_max: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(bytes_max))..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_agents_say_is_bounded() {
        let failure = by_agent(&"c".repeat(1_000), &"ä".repeat(10_000), true, None);
        assert_eq!(failure.code.len(), CODE_CHARS_MAX);
        assert_eq!(failure.message.len(), MESSAGE_BYTES_MAX);
        assert_eq!(by_agent(" ", "", false, None).code, "agent_error");
        let evidence = with_evidence(failure, &format!("{}end", "ä".repeat(10_000))).evidence;
        assert!(evidence.ends_with("end") && evidence.len() <= limits::EVIDENCE_BYTES_MAX);
    }
}
