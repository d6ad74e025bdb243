//! The partition's metrics, as handles that are looked up once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kapelle_engine::{Body, Decision, FailureKind, Run, RunStatus, Usage, Work};
use kapelle_telemetry::metrics::{ENTRIES_IGNORED, RUN_DURATION, RUNS_FINISHED, RUNS_STARTED, STEPS};
use kapelle_types::AgentVersion;
use metrics::{Counter, Histogram};

use crate::rollout::Outcomes;

/// What became of an attempt, as a label.
const SUCCEEDED: &str = "succeeded";
const FAILED: &str = "failed";

/// Handles by what they count.
pub(crate) struct Meters {
    /// What versions do that are being brought in.
    outcomes: Arc<Outcomes>,
    steps: HashMap<(AgentVersion, &'static str), Counter>,
    ignored: HashMap<&'static str, Counter>,
    finished: HashMap<&'static str, (Counter, Histogram)>,
}

impl Meters {
    pub(crate) fn new(outcomes: Arc<Outcomes>) -> Self {
        Self { outcomes, steps: HashMap::new(), ignored: HashMap::new(), finished: HashMap::new() }
    }

    /// An entry was applied.
    pub(crate) fn applied(&mut self, run: &Run, body: &Body, decision: &Decision) {
        match decision.ignored {
            Some(reason) => self.ignored(reason.name()),
            None => self.reported(run, body, decision.refused),
        }
    }

    /// An entry was ignored, by name.
    pub(crate) fn ignored(&mut self, reason: &'static str) {
        let meter = self.ignored.entry(reason);
        meter.or_insert_with(|| ENTRIES_IGNORED.counter(&[reason])).increment(1);
    }

    /// A report was accepted; `refused` if its success counts as a failure.
    fn reported(&mut self, run: &Run, body: &Body, refused: bool) {
        let (task, outcome, tried) = match body {
            Body::StepSucceeded(report) => {
                (&report.task, if refused { FAILED } else { SUCCEEDED }, Some((&report.work, &report.usage)))
            }
            Body::StepFailed(report) => {
                // What a worker gave back was not tried.
                let tried = report.failure.kind != FailureKind::Returned;
                (&report.task, FAILED, tried.then_some((&report.work, &report.usage)))
            }
            Body::RunSubmitted(_) => return RUNS_STARTED.counter(&[]).increment(1),
            Body::TimerFired { .. }
            | Body::SignalReceived(_)
            | Body::ApprovalDecided(_)
            | Body::ApprovalChecked(_)
            | Body::CancelRequested { .. }
            | Body::TerminateRequested { .. }
            | Body::PauseRequested { .. }
            | Body::ResumeRequested
            | Body::RetryRequested { .. }
            | Body::FailRequested { .. }
            | Body::RunFinished(_) => return,
        };
        let Some(agent) = run.agent_of(task) else { return };
        if let Some((Work { duration, .. }, Usage { cost_usd, .. })) = tried {
            self.outcomes.attempt((agent, &run.plan().workflow), outcome == SUCCEEDED, *duration, *cost_usd);
        }
        if let Some(meter) = self.steps.get(&(agent.clone(), outcome)) {
            return meter.increment(1);
        }
        let (name, version) = (agent.name.to_string(), agent.version.to_string());
        let meter = STEPS.counter(&[&name, &version, outcome]);
        meter.increment(1);
        self.steps.insert((agent.clone(), outcome), meter);
    }

    /// A run ended, or stalled.
    pub(crate) fn settled(&mut self, run: &Run) {
        let took = run.last_progress().since(run.submitted_at().unwrap_or_else(|| run.last_progress()));
        if run.is_finished() {
            self.finished(run, took);
        }
        let succeeded = match run.status() {
            RunStatus::Completed => true,
            RunStatus::Failed | RunStatus::TimedOut | RunStatus::Stalled => false,
            // What people ended says nothing of the version.
            _ => return,
        };
        self.outcomes.run(&run.plan().workflow, succeeded, took);
    }

    fn finished(&mut self, run: &Run, took: Duration) {
        let status = run.status().name();
        let (count, duration) = self
            .finished
            .entry(status)
            .or_insert_with(|| (RUNS_FINISHED.counter(&[status]), RUN_DURATION.histogram(&[])));
        count.increment(1);
        duration.record(took.as_secs_f64());
    }
}
