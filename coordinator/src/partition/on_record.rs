//! What a partition says to the audit trail.
//!
//! A record's id derives from the place of the report in the log, so that an owner who reads it again after a take-over
//! says the same again, and the broker drops it. What one owner counted together another one may count again.

use kapelle_types::{AuditWhat, AuditWho, Code, Partition};

use super::effect::Refused;
use crate::audit::{Fact, Trail};

/// Puts a refusal on record. `created` tells a log that was made anew from the one before.
pub(super) fn on_record(trail: &Trail, partition: Partition, created: i64, refused: Refused) {
    let Refused { run, place: (seq, nth), principal, step, code } = refused;
    let (component, verb, reason) = match code {
        None => ("partition", "bad-token", "The report's token is not that of the task; who reports is its own word."),
        Some(Code::AGENT_SANDBOX) => ("worker", "sandbox", "The sandbox cannot be what the agent's access needs."),
        Some(Code::SECRET_MISSING) => {
            ("worker", "secret-missing", "A secret that the agent needs is not there for it.")
        }
        Some(_) => ("worker", "secret-in-output", "The agent put a secret into its output."),
    };
    trail.denied_as(
        format!("{created}-{partition}-{seq}-{nth}"),
        Fact {
            component,
            verb,
            who: AuditWho { principal, ..AuditWho::default() },
            what: AuditWhat {
                kind: "step".into(),
                run: run.to_string(),
                step: step.to_string(),
                ..AuditWhat::default()
            },
            policy: String::new(),
            code,
            reason: reason.to_owned(),
        },
    );
}
