//! What agents answer: a function of the seed, the run, the step and the attempt, so that whoever executes a task gets the
//! same. The output does not depend on the attempt: an agent's work is the same whichever attempt did it.

use std::time::Duration;

use kapelle_engine::{Body, Failure, FailureKind, RunKey, SigningKey, StepFailed, StepSucceeded, Usage, Work};
use kapelle_types::{RunId, StepRef, TaskId};
use serde_json::{Value, json};

/// The agents of a simulation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Agents {
    pub(crate) seed: u64,
    /// Attempts that do not succeed, per mille.
    pub(crate) trouble: u64,
    /// Steps and members that kill every worker that tries them, per mille.
    pub(crate) poison: u64,
}

/// How an attempt ends if nothing disturbs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Success,
    /// A failure that another attempt may mend.
    Failure,
    /// A failure that another attempt may mend, with a wish for patience.
    NotNow,
    /// A failure that no other attempt mends.
    Final,
    /// No answer: the worker's timeout ends it.
    Hang,
    /// The worker dies of it.
    Poison,
}

impl Agents {
    pub(crate) fn answer(&self, run: RunId, task: &TaskId) -> Answer {
        if self.poison > 0 && self.number(run, &format!("{} poison", task.step)) % 1_000 < self.poison {
            return Answer::Poison;
        }
        let roll = self.number(run, &format!("{task}"));
        match (roll % 1_000 < self.trouble, roll >> 20 & 15) {
            (false, _) => Answer::Success,
            (true, 0..8) => Answer::Failure,
            (true, 8..10) => Answer::NotNow,
            (true, 10..12) => Answer::Final,
            (true, _) => Answer::Hang,
        }
    }

    /// What a step or member returns when it succeeds; shaped as random plans expect it.
    pub(crate) fn output(&self, run: RunId, step: &StepRef) -> Value {
        let roll = self.number(run, &format!("{step}"));
        let list: Vec<_> = (0..roll >> 8 & 3).map(|i| (roll >> (16 + 4 * i)) & 7).collect();
        json!({"n": roll % 10, "list": list, "of": format!("{step}")})
    }

    fn number(&self, run: RunId, text: &str) -> u64 {
        let start = self.seed ^ run.seed();
        let folded = text.bytes().fold(start, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        // FNV leaves its low bits close together for short texts.
        let mixed = (folded ^ (folded >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    }
}

/// What the tokens of a run derive from.
pub(crate) fn key(run: RunId) -> RunKey {
    SigningKey::new([42; 32]).of_run(run)
}

/// What an attempt used up: up to a dollar, in quarters, the same whoever reports it.
fn usage(task: &TaskId) -> Usage {
    let hash = task.to_string().bytes().fold(0xc057_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    Usage { cost_usd: f64::from(hash >> 16 & 3) / 4.0, ..Usage::default() }
}

/// A report that the attempt ended well.
pub(crate) fn succeeded(run: RunId, task: &TaskId, output: Value) -> Body {
    let (work, usage, token) = (Work::default(), usage(task), Some(key(run).token(task)));
    Body::StepSucceeded(StepSucceeded { task: task.clone(), output: output.into(), work, usage, token })
}

/// A report that it did not, as workers write it.
pub(crate) fn failed(
    run: RunId,
    task: &TaskId,
    kind: FailureKind,
    retryable: bool,
    retry_after: Option<Duration>,
) -> Body {
    let code = match kind {
        FailureKind::Agent => "oops",
        FailureKind::Timeout => "K0401",
        FailureKind::LeaseLost => "K0405",
        FailureKind::Returned => "K0406",
    };
    let failure = Failure {
        kind,
        code: code.into(),
        message: "it did not work".into(),
        retryable,
        retry_after,
        evidence: String::new(),
    };
    let usage = match kind {
        FailureKind::Agent | FailureKind::Timeout => usage(task),
        // Whoever lost a task, or gave it back, knows of no cost.
        FailureKind::LeaseLost | FailureKind::Returned => Usage::default(),
    };
    let (work, token) = (Work::default(), Some(key(run).token(task)));
    Body::StepFailed(StepFailed { task: task.clone(), failure, work, usage, token })
}
