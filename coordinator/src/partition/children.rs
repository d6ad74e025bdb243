//! Runs that runs begin: started, stopped, and reported on when they have ended.
//!
//! ```text
//!   parent ──StartRun──▶ append_first(child, RunSubmitted) ── detached ──▶ report: it is begun
//!                          │ it is there already and has ended ──▶ report again
//!   parent ──StopRun───▶ append_first(child, RunSubmitted, CancelRequested) ── it is there already ──▶ CancelRequested
//!   child ──ReportOutcome──▶ report on the parent's attempt, with its token
//!   a run that is continued ──StartRun──▶ the same, detached; the parent, if there is one, is handed on
//! ```
//!
//! The id of the child is the attempt's, so that each of these may be done again at any time. A run that is stopped before it
//! was begun is recorded as ended: whoever still begins it finds it so.

use std::sync::Arc;

use kapelle_bus::Bus;
use kapelle_engine::{
    Body, Channel, Entry, Failure, FailureKind, Parent, ReportOutcome, RunFinished, RunStatus, StartRun, StepFailed,
    StepSucceeded, StopRun, TaskToken, Usage, Work,
};
use kapelle_proto::{decode_record, encode_record};
use kapelle_types::{Code, Diagnosis, Payload, Principal, RunId, TaskId, WorkflowVersion};
use serde_json::json;

use crate::plans::PlanStore;
use crate::submit::{Below, Job, PARENT, ROOT, Submitter};

/// Sees to runs that runs begin.
#[derive(Clone)]
pub(super) struct Family {
    bus: Bus,
    plans: Arc<PlanStore>,
    submitter: Arc<Submitter>,
}

/// What is wished of another run.
#[derive(Debug, Clone)]
pub(super) struct Kin {
    /// Who reports.
    pub(super) coordinator: Principal,
    /// Who caused the run that wishes it; the runs that it begins are theirs too.
    pub(super) principal: Principal,
    pub(super) traceparent: Option<String>,
    pub(super) wish: Wish,
}

/// What it is.
#[derive(Debug, Clone)]
pub(super) enum Wish {
    Start(StartRun),
    Stop(StopRun),
    /// The run that ended, and its workflow.
    Report(RunId, WorkflowVersion, ReportOutcome),
}

/// An attempt to be reported on.
struct Attempt<'k> {
    run: RunId,
    task: &'k TaskId,
    token: Option<TaskToken>,
}

impl Family {
    pub(super) const fn new(bus: Bus, plans: Arc<PlanStore>, submitter: Arc<Submitter>) -> Self {
        Self { bus, plans, submitter }
    }

    /// Does what is wished. Doing it again changes nothing; an error says that it is not known to be done.
    pub(super) async fn see_to(&self, kin: &Kin) -> Result<(), kapelle_bus::Error> {
        match &kin.wish {
            Wish::Start(start) => self.start(kin, start).await,
            Wish::Stop(stop) => self.stop(kin, stop).await,
            Wish::Report(run, workflow, report) => {
                let unavailable = |e: crate::plans::PlanError| kapelle_bus::Error::Unavailable(e.to_string());
                let token = self.plans.token_of(&report.parent).await.map_err(unavailable)?;
                let attempt = Attempt { run: report.parent.run, task: &report.parent.task, token };
                self.report_end(kin, &attempt, (*run, workflow), &report.outcome).await
            }
        }
    }

    async fn start(&self, kin: &Kin, start: &StartRun) -> Result<(), kapelle_bus::Error> {
        let attempt = Attempt { run: start.parent.run, task: &start.parent.task, token: start.token };
        let Some(job) = job(kin, start, None) else {
            let message = "the input of the run cannot be fetched".to_owned();
            let failure = failure(Code::PAYLOAD_MISSING.as_str(), message, false);
            return self.report(kin, &attempt, Err(failure)).await;
        };
        match Box::pin(self.submitter.submit(job)).await {
            Err(error) if may_pass(&error) => Err(kapelle_bus::Error::Unavailable(error.to_string())),
            Err(error) => {
                let message = format!("no run of {} can be begun: {}", start.workflow, error.message);
                self.report(kin, &attempt, Err(failure(error.code.as_str(), message, false))).await
            }
            Ok(_) if !start.parent.awaited => {
                let output = json!({ "run_id": start.run.to_string() });
                self.report(kin, &attempt, Ok(output.into())).await
            }
            Ok(submitted) if submitted.existed => match self.end_of(start.run).await? {
                // The one that went on in its place reports.
                Some(outcome) if outcome.continued_as.is_some() => Ok(()),
                Some(outcome) => self.report_end(kin, &attempt, (start.run, &start.workflow), &outcome).await,
                None => Ok(()),
            },
            Ok(_) => Ok(()),
        }
    }

    /// Ends a run, or records it as ended.
    async fn stop(&self, kin: &Kin, stop: &StopRun) -> Result<(), kapelle_bus::Error> {
        let StopRun { start, terminate } = stop;
        let reason = format!("run {} waits for it no more", start.parent.run);
        let body = if *terminate { Body::TerminateRequested { reason } } else { Body::CancelRequested { reason } };
        // One request, however often it is written.
        let how = if *terminate { "terminated" } else { "canceled" };
        let id = format!("{}/{}/{how}", start.parent.run, start.parent.task);
        let principal = kin.coordinator.clone();
        let entry = Entry { id, principal, traceparent: kin.traceparent.clone(), body };
        if let Some(job) = job(kin, start, Some(entry.clone())) {
            match Box::pin(self.submitter.submit(job)).await {
                Ok(submitted) if !submitted.existed => return Ok(()),
                Err(error) if may_pass(&error) => return Err(kapelle_bus::Error::Unavailable(error.to_string())),
                // What cannot be begun is not there; if it is after all, it is told.
                Ok(_) | Err(_) => {}
            }
        }
        let mut run = start.run;
        loop {
            let next = match self.last_said(run).await? {
                Some(last) if last.id == entry.id => return Ok(()),
                Some(Entry { body: Body::RunFinished(outcome), .. }) => outcome.continued_as,
                // If another run goes on in its place before it reads this, it passes it on.
                Some(_) | None => {
                    return self.bus.append_now(run, Channel::Control, encode_record(&[entry])).await.map(drop);
                }
            };
            let Some(next) = next else { return Ok(()) };
            run = next;
        }
    }

    /// How a run ended, if its end is marked.
    async fn end_of(&self, run: RunId) -> Result<Option<RunFinished>, kapelle_bus::Error> {
        Ok(self.last_said(run).await?.and_then(|entry| match entry.body {
            Body::RunFinished(outcome) => Some(*outcome),
            _ => None,
        }))
    }

    /// The last entry that is no worker's.
    async fn last_said(&self, run: RunId) -> Result<Option<Entry>, kapelle_bus::Error> {
        let raw = self.bus.last_control(run).await?;
        let record = raw.and_then(|raw| decode_record(raw.channel, raw.stamp, &raw.payload).ok());
        Ok(record.and_then(|mut record| record.entries.pop()))
    }

    async fn report_end(
        &self,
        kin: &Kin,
        attempt: &Attempt<'_>,
        (run, workflow): (RunId, &WorkflowVersion),
        outcome: &RunFinished,
    ) -> Result<(), kapelle_bus::Error> {
        self.report(kin, attempt, told(run, workflow, outcome)).await
    }

    async fn report(
        &self,
        kin: &Kin,
        attempt: &Attempt<'_>,
        told: Result<Payload, Failure>,
    ) -> Result<(), kapelle_bus::Error> {
        let work = Work { worker: kin.coordinator.0.clone(), ..Work::default() };
        let (task, token, usage) = (attempt.task.clone(), attempt.token, Usage::default());
        let body = match told {
            Ok(output) => Body::StepSucceeded(StepSucceeded { task, output, work, usage, token }),
            Err(failure) => Body::StepFailed(StepFailed { task, failure, work, usage, token }),
        };
        let (principal, traceparent) = (kin.coordinator.clone(), kin.traceparent.clone());
        let record = encode_record(&[Entry { id: String::new(), principal, traceparent, body }]);
        self.bus.append_now(attempt.run, Channel::Report, record).await.map(drop)
    }
}

/// What is submitted; `None` if the input cannot be fetched.
fn job(kin: &Kin, start: &StartRun, ended_by: Option<Entry>) -> Option<Job> {
    let input = serde_json::to_vec(start.input.value.as_deref()?).ok()?;
    let Parent { run, root, .. } = &start.parent;
    let (parent, labels, continued_from) = match &start.continues {
        Some(it) => (it.above.clone(), it.labels.clone(), Some(*run)),
        None => {
            let labels = [(PARENT.to_owned(), run.to_string()), (ROOT.to_owned(), root.to_string())];
            (Some(start.parent.clone()), labels.into(), None)
        }
    };
    Some(Job {
        workflow: start.workflow.name.to_string(),
        version: format!("={}", start.workflow.version),
        input: input.into(),
        labels,
        principal: kin.principal.clone(),
        person: start.person.clone(),
        traceparent: kin.traceparent.clone(),
        below: Some(Below { run: start.run, parent, continued_from, ended_by }),
        priority: start.priority.map_or(0, |it| it.get().into()),
        fairness: start.fairness.clone(),
        ..Job::default()
    })
}

/// Whether the same job may be taken later without anybody's help. The workflow version was found when the parent was
/// submitted, and none is ever lost: a catalog that does not have it is behind.
fn may_pass(error: &Diagnosis) -> bool {
    let passing = [
        Code::ADMISSION,
        Code::BROKER_UNAVAILABLE,
        Code::NOT_RECORDED,
        Code::UNKNOWN_WORKFLOW,
        Code::OLDER_COORDINATOR,
    ];
    passing.contains(&error.code)
}

/// What the end of a run means for the attempt that waits for it. What somebody ended on purpose is not begun again.
fn told(run: RunId, workflow: &WorkflowVersion, outcome: &RunFinished) -> Result<Payload, Failure> {
    if outcome.status == RunStatus::Completed {
        return Ok(outcome.output.clone().unwrap_or_else(Payload::null));
    }
    let ended = format!("run {run} of {workflow} ended {}", outcome.status);
    let on_purpose = matches!(outcome.status, RunStatus::Canceled | RunStatus::Terminated);
    let cause = outcome.error.as_ref();
    let message = cause.map_or_else(|| ended.clone(), |cause| format!("{ended}: {}", cause.message));
    let code = cause.filter(|_| !on_purpose).map_or(Code::CHILD_ENDED.as_str(), |cause| cause.code.as_str());
    Err(failure(code, message, !on_purpose))
}

fn failure(code: &str, message: String, retryable: bool) -> Failure {
    Failure {
        kind: FailureKind::Agent,
        code: code.to_owned(),
        message,
        retryable,
        retry_after: None,
        evidence: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: RunStatus, code: &str) -> RunFinished {
        let error = Some(failure(code, "it broke".to_owned(), false));
        RunFinished { status, output: Some(json!(7).into()), error, decided_seq: 1, continued_as: None }
    }

    #[test]
    fn an_end_is_an_output_a_failure_or_somebodys_will() {
        let (run, workflow) =
            (RunId::of_attempt(RunId::from_uuid(uuid::Uuid::nil()), &task()), "w@1.0.0".parse().unwrap());
        let told = |status, code| super::told(run, &workflow, &ended(status, code));
        assert_eq!(told(RunStatus::Completed, "").unwrap(), json!(7).into());
        let failed = told(RunStatus::Failed, "K0301").unwrap_err();
        assert_eq!((failed.code.as_str(), failed.retryable), ("K0301", true));
        assert!(failed.message.ends_with("of w@1.0.0 ended FAILED: it broke"), "{}", failed.message);
        let canceled = told(RunStatus::Canceled, "canceled").unwrap_err();
        assert_eq!((canceled.code.as_str(), canceled.retryable), ("K0319", false));
    }

    fn task() -> TaskId {
        TaskId { step: "a".parse().unwrap(), attempt: 1 }
    }
}
