//! The partition's metrics, as handles that are looked up once.

use std::collections::HashMap;

use kapelle_engine::{Body, Decision, Run};
use kapelle_telemetry::metrics::{ENTRIES_IGNORED, RUN_DURATION, RUNS_FINISHED, RUNS_STARTED, STEPS};
use kapelle_types::AgentVersion;
use metrics::{Counter, Histogram};

/// Handles by what they count.
#[derive(Default)]
pub(crate) struct Meters {
    steps: HashMap<(AgentVersion, &'static str), Counter>,
    ignored: HashMap<&'static str, Counter>,
    finished: HashMap<&'static str, (Counter, Histogram)>,
}

impl Meters {
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
        let (task, outcome) = match body {
            Body::StepSucceeded(report) if refused => (&report.task, "failed"),
            Body::StepSucceeded(report) => (&report.task, "succeeded"),
            Body::StepFailed(report) => (&report.task, "failed"),
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
        if let Some(meter) = self.steps.get(&(agent.clone(), outcome)) {
            return meter.increment(1);
        }
        let (name, version) = (agent.name.to_string(), agent.version.to_string());
        let meter = STEPS.counter(&[&name, &version, outcome]);
        meter.increment(1);
        self.steps.insert((agent.clone(), outcome), meter);
    }

    /// A run ended.
    pub(crate) fn finished(&mut self, run: &Run) {
        let status = run.status().name();
        let (count, duration) = self
            .finished
            .entry(status)
            .or_insert_with(|| (RUNS_FINISHED.counter(&[status]), RUN_DURATION.histogram(&[])));
        count.increment(1);
        let since = run.submitted_at().unwrap_or_else(|| run.last_progress());
        duration.record(run.last_progress().since(since).as_secs_f64());
    }
}
