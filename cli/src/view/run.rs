//! Runs and their steps.

use std::collections::BTreeMap;

use kapelle_proto::v1;
use serde::Serialize;
use serde_json::Value;

use super::payload;
use crate::output::moment;

/// One run. Scripts rely on `run_id`, `status`, `output` and `error`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Run {
    pub(crate) run_id: String,
    pub(crate) workflow: String,
    pub(crate) status: String,
    /// Null until it is COMPLETED.
    pub(crate) output: Value,
    /// Null unless it is STALLED, FAILED or TIMED_OUT.
    pub(crate) error: Option<Error>,
    pub(crate) steps: Vec<Step>,
    pub(crate) submitted_at: Option<String>,
    pub(crate) submitted_by: String,
    pub(crate) finished_at: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// The priority that it was submitted with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) priority: Option<u32>,
    /// The run that it goes on in the place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) continued_from: Option<String>,
    /// The run that goes on in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) continued_as: Option<String>,
    /// The run that it is a fork of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) forked_from: Option<String>,
    /// What it waits for; only where one run was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<Why>,
    /// How it is to end, while its last steps are done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) closing: Option<String>,
}

/// What a run waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Why {
    /// One sentence.
    pub(crate) because: String,
    pub(crate) since: Option<String>,
    /// What somebody can do about it; empty if nothing has to be done.
    pub(crate) advice: String,
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Error {
    pub(crate) code: String,
    pub(crate) message: String,
    /// `agent`, `timeout`, `lease_lost` or `returned`.
    pub(crate) kind: String,
    pub(crate) retryable: bool,
    /// The last lines that the agent wrote to stderr, if any.
    pub(crate) evidence: String,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    pub(crate) step: String,
    pub(crate) status: String,
    /// What it does: `agent`, `wait`, `signal`, …
    pub(crate) kind: String,
    /// Who does it, if an agent does; who did it last if it was handed on.
    pub(crate) agent: String,
    /// Who did it before, the first first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) chain: Vec<String>,
    /// The signal that it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signal: Option<String>,
    /// When what it waits for is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) due: Option<String>,
    pub(crate) attempts: u32,
    /// Only of a `foreach` whose list is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) members: Option<Members>,
    pub(crate) error: Option<Error>,
    /// The run that its latest attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run_id: Option<String>,
    /// How it stands among others that wait for its agent, if anything is said of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flow: Option<Flow>,
}

/// How a step stands among others that wait for its agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Flow {
    pub(crate) priority: u32,
    /// Whose share it takes.
    pub(crate) fairness_key: Option<String>,
    pub(crate) fairness_weight: u32,
    /// With whom it shares a limit of its agent's.
    pub(crate) limit_key: Option<String>,
}

/// How far a `foreach` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Members {
    pub(crate) total: u32,
    pub(crate) done: u32,
    pub(crate) running: u32,
}

/// One run in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RunRow {
    pub(crate) run_id: String,
    pub(crate) workflow: String,
    pub(crate) status: String,
    pub(crate) submitted_at: Option<String>,
    pub(crate) last_progress_at: Option<String>,
}

/// A status as people and scripts know it: `COMPLETED`.
pub(crate) fn status_name(number: i32) -> String {
    v1::RunStatus::try_from(number).map_or_else(
        // A newer coordinator's status.
        |_| format!("UNKNOWN_{number}"),
        |known| known.as_str_name().trim_start_matches("RUN_STATUS_").to_owned(),
    )
}

/// Whether a run with this status is over.
pub(crate) fn is_final(number: i32) -> bool {
    use v1::RunStatus::{Canceled, Completed, Failed, Terminated, TimedOut};
    v1::RunStatus::try_from(number).is_ok_and(|s| matches!(s, Completed | Failed | Canceled | Terminated | TimedOut))
}

/// Whether a run with this status moves on by itself no more: it is over, or it is STALLED.
pub(crate) fn is_settled(number: i32) -> bool {
    is_final(number) || number == v1::RunStatus::Stalled as i32
}

impl From<v1::RunView> for Run {
    fn from(wire: v1::RunView) -> Self {
        Self {
            run_id: wire.run_id,
            workflow: wire.workflow,
            status: status_name(wire.status),
            output: payload(&wire.output),
            error: wire.error.map(Error::from),
            steps: wire.steps.into_iter().map(Step::from).collect(),
            submitted_at: moment(wire.submitted_at_unix_nanos),
            submitted_by: wire.submitted_by,
            finished_at: moment(wire.finished_at_unix_nanos),
            key: wire.idempotency_key,
            priority: (wire.priority > 0).then_some(wire.priority),
            labels: wire.labels.into_iter().collect(),
            continued_from: (!wire.continued_from.is_empty()).then_some(wire.continued_from),
            continued_as: (!wire.continued_as.is_empty()).then_some(wire.continued_as),
            forked_from: (!wire.forked_from.is_empty()).then_some(wire.forked_from),
            why: wire.why.map(Why::from),
            closing: (wire.closing != v1::RunStatus::Unspecified as i32).then(|| status_name(wire.closing)),
        }
    }
}

impl From<v1::Why> for Why {
    fn from(wire: v1::Why) -> Self {
        Self { because: wire.because, since: moment(wire.since_unix_nanos), advice: wire.advice }
    }
}

impl From<v1::StepFailure> for Error {
    fn from(wire: v1::StepFailure) -> Self {
        let kind = wire.kind().as_str_name().trim_start_matches("KIND_").to_lowercase();
        let v1::StepFailure { code, message, retryable, evidence, .. } = wire;
        Self { code, message, kind, retryable, evidence }
    }
}

impl From<v1::StepView> for Step {
    fn from(wire: v1::StepView) -> Self {
        let members = Members { total: wire.members_total, done: wire.members_done, running: wire.members_running };
        Self {
            step: wire.step,
            status: wire.status,
            kind: if wire.kind.is_empty() { "agent".to_owned() } else { wire.kind },
            agent: wire.agent,
            chain: wire.chain,
            signal: Some(wire.signal).filter(|it| !it.is_empty()),
            due: wire.due_unix_millis.and_then(|it| moment(it.saturating_mul(1_000_000))),
            attempts: wire.attempts,
            members: (members.total > 0).then_some(members),
            error: wire.failure.map(Error::from),
            run_id: (!wire.run_id.is_empty()).then_some(wire.run_id),
            flow: wire.flow.map(Flow::from),
        }
    }
}

impl From<v1::FlowView> for Flow {
    fn from(wire: v1::FlowView) -> Self {
        let v1::FlowView { priority, fairness_key, fairness_weight, limit_key } = wire;
        Self { priority, fairness_key, fairness_weight, limit_key }
    }
}

impl Step {
    /// Attempts that failed: all that neither succeeded nor are in flight. Each is followed by a retry unless the step gives
    /// up.
    pub(crate) fn failed_attempts(&self) -> u32 {
        let good = match self.members {
            Some(members) => members.done + members.running,
            None => u32::from(matches!(self.status.as_str(), "SUCCEEDED" | "RUNNING" | "AWAITING")),
        };
        // Whoever handed it on had succeeded.
        let handed_on = u32::try_from(self.chain.len()).unwrap_or(u32::MAX);
        self.attempts.saturating_sub(good).saturating_sub(handed_on)
    }
}

impl From<v1::RunSummary> for RunRow {
    fn from(wire: v1::RunSummary) -> Self {
        Self {
            run_id: wire.run_id,
            workflow: wire.workflow,
            status: status_name(wire.status),
            submitted_at: moment(wire.submitted_at_unix_nanos),
            last_progress_at: moment(wire.last_progress_unix_nanos),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scripts_rely_on_is_there() {
        let wire = v1::RunView {
            run_id: "r".into(),
            workflow: "w@1.0.0".into(),
            status: v1::RunStatus::Completed as i32,
            output: br#"{"n":1}"#.to_vec().into(),
            ..Default::default()
        };
        let json = serde_json::to_value(Run::from(wire)).unwrap();
        assert_eq!(json["run_id"], "r");
        assert_eq!(json["status"], "COMPLETED");
        assert_eq!(json["output"]["n"], 1);
        assert!(json["error"].is_null() && json.as_object().unwrap().contains_key("error"));
        let stalled = Run::from(v1::RunView {
            status: v1::RunStatus::Stalled as i32,
            error: Some(v1::StepFailure { code: "K0301".into(), kind: 4, ..Default::default() }),
            ..Default::default()
        });
        assert!(stalled.output.is_null());
        assert_eq!(stalled.error.map(|e| (e.code, e.kind)), Some(("K0301".into(), "returned".into())));
    }

    #[test]
    fn statuses_have_their_words() {
        let settled: Vec<_> = (1..=10).filter(|n| is_settled(*n)).map(status_name).collect();
        assert_eq!(settled, ["COMPLETED", "FAILED", "CANCELED", "TERMINATED", "TIMED_OUT", "STALLED"]);
        assert!(!is_final(v1::RunStatus::Stalled as i32) && is_final(v1::RunStatus::TimedOut as i32));
        assert_eq!((status_name(99).as_str(), is_settled(99)), ("UNKNOWN_99", false));
    }

    #[test]
    fn what_neither_succeeded_nor_runs_has_failed() {
        let step = |status: &str, attempts, members_total, members_done, members_running| {
            let status = status.to_owned();
            Step::from(v1::StepView {
                status,
                attempts,
                members_total,
                members_done,
                members_running,
                ..Default::default()
            })
        };
        assert_eq!(step("WAITING", 0, 0, 0, 0).failed_attempts(), 0);
        assert_eq!(step("RUNNING", 3, 0, 0, 0).failed_attempts(), 2);
        assert_eq!(step("GAVE_UP", 3, 0, 0, 0).failed_attempts(), 3);
        assert_eq!(step("RUNNING", 12, 100, 4, 6).failed_attempts(), 2);
    }
}
