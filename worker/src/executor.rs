//! One attempt from its slot to its report.

use std::sync::Arc;
use std::time::Duration;

use kapelle_bus::payloads::{self, Payloads};
use kapelle_engine::{Body, Entry, Failure, StepFailed, StepSucceeded, TaskToken, Usage, Work};
use kapelle_proto::Task;
use kapelle_retry::{Policy, Verdict, retry};
use kapelle_telemetry::clock;
use kapelle_types::{AgentVersion, Code, Principal, TaskId, Timestamp};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::gate::Terms;
use crate::lease::{GRACE, Key, Leases};
use crate::meters::AgentMeters;
use crate::reporter::{Report, Sender};
use crate::runtime::{Attempt, Runtime};
use crate::slots::{Slot, Slots};
use crate::turns::Turn;
use crate::usage::Meter;
use crate::{failure, output};

/// Bytes of an entry besides its output, its failure's texts and its trace context.
const ENVELOPE_BYTES: usize = 256;

/// What all attempts of one agent version share.
pub(crate) struct Executor {
    pub(crate) worker: Arc<str>,
    pub(crate) agent: AgentVersion,
    pub(crate) runtime: Runtime,
    pub(crate) slots: Slots,
    pub(crate) payloads: Payloads,
    pub(crate) leases: Arc<Leases>,
    pub(crate) reporter: Sender,
    pub(crate) meters: AgentMeters,
    pub(crate) draining: CancellationToken,
}

/// What became of an attempt and how much it took.
struct Outcome {
    result: Result<output::Fitted, Failure>,
    work: Work,
    usage: Usage,
    /// What the task brought to show that it was ours.
    token: Option<TaskToken>,
}

impl Executor {
    /// Executes a task that is held and reports what became of it.
    pub(crate) async fn execute(&self, task: Task, queued_at: Timestamp, mut terms: Terms) {
        let key = (task.run_id, task.task.clone());
        let Some(slot) = self.slot(&mut terms).await else {
            return self.refuse(key, task.token, failure::returned(&self.worker)).await;
        };
        let started_at = clock::now();
        self.meters.started(started_at.since(queued_at));
        let began = Instant::now();
        let limit = limit_of(&task, started_at);
        let meter = Arc::new(Meter::new(task.limits));
        let attempt = Attempt { task: &task, limit, ends_at: began + limit, meter: &meter };
        self.leases.limit(&key, Some(attempt.ends_at + GRACE));
        let ended = self.attempt(attempt).await;
        drop(slot);
        let duration = began.elapsed();
        let result = match ended {
            Ok(value) => output::fit(value, &task.limits, &self.payloads).await,
            Err(failure) => Err(failure),
        };
        let usage = meter.usage();
        let agent = (!task.chain.is_empty()).then(|| task.agent.clone());
        let work = Work { worker: self.worker.as_ref().to_owned(), started_at, duration, agent };
        self.meters.ran(duration);
        // Nothing is left that could hang but the broker itself, so the lease holds until the report is stored.
        self.leases.limit(&key, None);
        // Before the report: money that is gone counts even if this worker dies before anybody hears what for.
        if let Some(purse) = terms.purse {
            purse.pay(&key, &usage).await;
        }
        self.report(key, task.traceparent, Outcome { result, work, usage, token: task.token }).await;
    }

    /// A slot, when the task may begin: its start is due and the day has money left, both looked at when the slot is free. `None`
    /// if the worker drains.
    async fn slot(&self, terms: &mut Terms) -> Option<Slot<'_>> {
        loop {
            let turn = match terms.turn.take() {
                Some(outside) => Some(outside.turn(&self.draining).await?),
                None => None,
            };
            let slot = self.slots.take(&self.draining).await?;
            if let Some(purse) = terms.purse.as_mut().filter(|purse| !purse.is_open()) {
                terms.turn = turn.as_ref().map(Turn::again);
                drop((slot, turn));
                tokio::select! {
                    biased;
                    () = self.draining.cancelled() => return None,
                    () = purse.opened() => continue,
                }
            }
            match turn.map_or(Ok(()), Turn::begin) {
                Ok(()) => return Some(slot),
                Err(outside) => terms.turn = Some(outside),
            }
        }
    }

    /// Reports a task that was not executed.
    pub(crate) async fn refuse(&self, key: Key, token: Option<TaskToken>, failure: Failure) {
        tracing::debug!(run = %key.0, task = %key.1, agent = %self.agent, code = failure.code, "not executed");
        let (worker, started_at) = (self.worker.as_ref().to_owned(), clock::now());
        let work = Work { worker, started_at, duration: Duration::ZERO, agent: Some(self.agent.clone()) };
        self.report(key, None, Outcome { result: Err(failure), work, usage: Usage::default(), token }).await;
    }

    async fn attempt(&self, attempt: Attempt<'_>) -> Result<Value, Failure> {
        if let Some((code, why)) = attempt.task.limits.refuses_input(&attempt.task.input) {
            return Err(failure::permanent(code, why));
        }
        let fetched = tokio::time::timeout_at(attempt.ends_at, fetch(&self.payloads, attempt.task));
        let input = fetched.await.map_err(|_| failure::timeout(attempt.limit))??;
        self.runtime.run(attempt, input).await
    }

    async fn report(&self, key: Key, traceparent: Option<String>, outcome: Outcome) {
        self.meters.reported(outcome.result.as_ref().map(|f| f.payload_bytes).map_err(|f| f.kind));
        let bytes = ENVELOPE_BYTES
            + traceparent.as_ref().map_or(0, String::len)
            + match &outcome.result {
                Ok(fitted) => fitted.record_bytes,
                Err(f) => f.code.len() + f.message.len() + f.evidence.len(),
            };
        let principal = Principal(format!("worker:{}", self.worker));
        // The attempt and its outcome are the entry's identity.
        let entry = Entry { id: String::new(), principal, traceparent, body: body(key.1.clone(), outcome) };
        self.reporter.send(Report { entry, bytes, key, leases: Arc::clone(&self.leases) }).await;
    }
}

fn body(task: TaskId, outcome: Outcome) -> Body {
    let Outcome { result, work, usage, token } = outcome;
    match result {
        Ok(fitted) => Body::StepSucceeded(StepSucceeded { task, output: fitted.payload, work, usage, token }),
        Err(failure) => Body::StepFailed(StepFailed { task, failure, work, usage, token }),
    }
}

/// The attempt's own timeout, or what is left of the run's deadline if that is less.
fn limit_of(task: &Task, now: Timestamp) -> Duration {
    task.deadline.map_or(task.timeout, |deadline| task.timeout.min(deadline.since(now)))
}

/// The task's input, from the object store if it is not inline.
async fn fetch(store: &Payloads, task: &Task) -> Result<Arc<Value>, Failure> {
    if let Some(value) = &task.input.value {
        return Ok(Arc::clone(value));
    }
    let verdict = |error: &payloads::Error| match error {
        payloads::Error::Unavailable(_) => Verdict::Retry,
        // A lagging replica may not have it yet; whether another attempt finds it is the retry policy's question.
        payloads::Error::Missing(_) | payloads::Error::Damaged(_) | payloads::Error::TooLarge(_) => Verdict::Stop,
    };
    let fetched = retry(&Policy::default(), verdict, |_| store.resolve(&task.input)).await;
    fetched.map_err(|gave_up| {
        let message = format!("the input cannot be fetched: {gave_up}");
        match gave_up.error {
            payloads::Error::Unavailable(_) | payloads::Error::Missing(_) => {
                failure::transient(Code::TASK_INVALID, message)
            }
            payloads::Error::Damaged(_) | payloads::Error::TooLarge(_) => {
                failure::permanent(Code::TASK_INVALID, message)
            }
        }
    })
}
