//! What the coordinator answers, as programs get it from `-o json` and `-o yaml`: snake_case names, times in RFC 3339,
//! payloads as JSON values. The names here are a contract; tables for people are made elsewhere.

mod approval;
mod audit;
mod dead_letter;
mod entry;
mod fleet;
mod manifest;
mod policy;
mod release;
mod run;
mod schedule;
mod text;
mod token;

use serde_json::Value;

pub(crate) use approval::{Approval, Change, Delegation};
pub(crate) use audit::AuditEntry;
pub(crate) use dead_letter::{DeadLetter, DeadLetterCount, DeadLetterGroup};
pub(crate) use entry::Entry;
#[cfg(test)]
pub(crate) use fleet::Held;
pub(crate) use fleet::{Coordinator, Queue, Worker};
pub(crate) use manifest::{Deprecation, Manifest, Standing};
pub(crate) use policy::{PolicyChange, PolicySet, Proposal};
pub(crate) use release::{Outcomes, Release, ReleaseChanged, Rollout, RolloutStage};
pub(crate) use run::{Error, Flow, Run, RunRow, Step, Why, is_final, is_settled, status_name};
pub(crate) use schedule::{AppliedSchedule, Backfilled, Deleted, Schedule};
pub(crate) use text::Text;
pub(crate) use token::{MadeToken, Token};

/// A payload as a value; null where there is none. What is not JSON (it never should be) is shown as text.
fn payload(json: &[u8]) -> Value {
    if json.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(json).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(json).into_owned()))
}
