//! `DeadLetterService`: dead letters are derived from run logs, so acting on one is a request on its run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kapelle_engine::{Body, DeadLetter, RunStatus};
use kapelle_proto::DeadLetterRecord;
use kapelle_proto::subject::{self, DeadSubject};
use kapelle_proto::v1::{self, dead_letter_service_server::DeadLetterService};
use kapelle_telemetry::clock;
use kapelle_telemetry::metrics::ENTRIES_REFUSED;
use kapelle_types::{Caller, Code, Diagnosis, Payload, StepRef};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::Context;
use super::status::{caller, run_id, status};
use super::steer::{record, steer};
use super::visible;
use crate::access::{Act, run_named};
use crate::runs::rebuild;

/// Dead letters that one request may return or act on, where it names no limit.
const LIMIT_DEFAULT: usize = 100;

pub(super) struct DeadLetters {
    context: Arc<Context>,
}

/// A dead letter as it is stored.
struct Stored {
    subject: DeadSubject,
    record: DeadLetterRecord,
}

impl DeadLetters {
    pub(super) const fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// Everything that matches, oldest first.
    async fn matching(
        &self,
        filter: &v1::DeadLetterFilter,
        step: &str,
        caller: &Caller,
    ) -> Result<Vec<Stored>, Diagnosis> {
        let all = self.context.bus.dead_letters(subject::dead_all()).await.map_err(unavailable)?;
        let older = Duration::from_secs(filter.older_than_seconds);
        let now = clock::now();
        let mut found = Vec::new();
        for (subject, bytes) in all {
            let Ok(record) = DeadLetterRecord::decode(&bytes) else {
                ENTRIES_REFUSED.counter(&["bad_dead_letter"]).increment(1);
                continue;
            };
            let agent = record.letter.agent.to_string();
            let of_agent =
                filter.agent.is_empty() || agent == filter.agent || record.letter.agent.name.as_str() == filter.agent;
            let of_run = filter.run_id.is_empty() || record.run_id.to_string() == filter.run_id;
            let of_code = filter.code.is_empty() || record.letter.cause.code == filter.code;
            let of_step = step.is_empty() || record.letter.task.step.to_string() == step;
            let old = now.since(record.letter.at) >= older;
            if of_agent && of_run && of_code && of_step && old && self.says(&record, &filter.r#match, caller) {
                found.push(Stored { subject, record });
            }
        }
        Ok(found)
    }

    /// Whether a text is in what a caller sees of a dead letter: nothing is learned by looking for what is hidden.
    fn says(&self, record: &DeadLetterRecord, text: &str, caller: &Caller) -> bool {
        if text.is_empty() {
            return true;
        }
        let seen = visible::dead_letter(summary(record), &self.context.access, caller);
        let cause = seen.cause.unwrap_or_default();
        [seen.workflow, seen.step, cause.code, cause.message, cause.evidence].iter().any(|it| it.contains(text))
    }

    async fn act(&self, request: Request<v1::DeadLetterActionRequest>, action: Action) -> Result<Answer, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let filter = request.filter.unwrap_or_default();
        let mut found = self.matching(&filter, &request.step, &caller).await.map_err(|e| status(&e))?;
        found.truncate(limit(&filter));
        let mut answer = v1::DeadLetterActionResponse::default();
        for stored in found {
            if !request.dry_run
                && let Err(error) = self.act_on(&stored, action, &request.reason, &caller).await
            {
                answer.errors.push((&error).into());
                continue;
            }
            answer.affected.push(visible::dead_letter(summary(&stored.record), &self.context.access, &caller));
        }
        Ok(Response::new(answer))
    }

    /// Replays or discards one. A letter whose run waits for nothing any more is only removed.
    async fn act_on(&self, stored: &Stored, action: Action, reason: &str, who: &Caller) -> Result<(), Diagnosis> {
        let run = stored.record.run_id;
        let what = run_named(run, &stored.record.letter.task.step);
        let (verb, rpc) = match action {
            Action::Replay => ("replay", "kapelle.v1.DeadLetterService/Replay"),
            Action::Discard => ("discard", "kapelle.v1.DeadLetterService/Discard"),
        };
        let act = Act { verb, rpc, owner: None, what, reason: reason.to_owned() };
        let rebuilt = match rebuild(&self.context.bus, &self.context.plans, run).await {
            Err(error) if error.code == Code::UNKNOWN_RUN => None,
            other => Some(other?),
        };
        if rebuilt.as_ref().is_none_or(|r| r.run.is_finished()) {
            self.context.access.act(who, act).await?;
            return self.context.bus.remove_dead_letter(&stored.subject).await.map_err(unavailable);
        }
        let step = stored.record.letter.task.step.clone();
        let body = match action {
            Action::Replay => Body::RetryRequested { steps: vec![step] },
            Action::Discard => Body::FailRequested { reason: reason.to_owned() },
        };
        if rebuilt.is_some_and(|r| r.run.status() == RunStatus::Stalled) {
            self.context.access.act(who, act).await?;
            let id = Uuid::now_v7().to_string();
            record(&self.context, run, who.principal.clone(), (id, body)).await.map(drop)
        } else {
            steer(&self.context, run, who, body).await.map(drop)
        }
    }
}

type Answer = Response<v1::DeadLetterActionResponse>;

#[derive(Clone, Copy)]
enum Action {
    Replay,
    Discard,
}

#[tonic::async_trait]
impl DeadLetterService for DeadLetters {
    async fn list(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        let caller = caller(&request)?;
        let filter = request.into_inner().filter.unwrap_or_default();
        let found = self.matching(&filter, "", &caller).await.map_err(|e| status(&e))?;
        let total = found.len() as u64;
        let dead_letters = found.iter().take(limit(&filter)).map(|s| summary(&s.record));
        let dead_letters =
            dead_letters.map(|letter| visible::dead_letter(letter, &self.context.access, &caller)).collect();
        Ok(Response::new(v1::ListDeadLettersResponse { dead_letters, total }))
    }

    async fn get(&self, request: Request<v1::GetDeadLetterRequest>) -> Result<Response<v1::DeadLetterView>, Status> {
        let caller = caller(&request)?;
        let v1::GetDeadLetterRequest { run_id: run, step } = request.into_inner();
        run_id(&run).map_err(|e| status(&e))?;
        if let Err(invalid) = step.parse::<StepRef>() {
            return Err(status(&Diagnosis::new(Code::REQUEST_INVALID, invalid.to_string())));
        }
        let filter = v1::DeadLetterFilter { run_id: run.clone(), ..v1::DeadLetterFilter::default() };
        let found = self.matching(&filter, &step, &caller).await.map_err(|e| status(&e))?;
        let unknown =
            || Diagnosis::new(Code::UNKNOWN_DEAD_LETTER, format!("step {step} of run {run} has no dead letter"));
        let stored = found.into_iter().next().ok_or_else(|| status(&unknown()))?;
        let letter = &stored.record.letter;
        let mut view = summary(&stored.record);
        view.input = self.input(&letter.input).await;
        view.history = history(letter);
        Ok(Response::new(visible::dead_letter(view, &self.context.access, &caller)))
    }

    async fn stats(
        &self,
        request: Request<v1::DeadLetterStatsRequest>,
    ) -> Result<Response<v1::DeadLetterStatsResponse>, Status> {
        let caller = caller(&request)?;
        let all = self.matching(&v1::DeadLetterFilter::default(), "", &caller).await.map_err(|e| status(&e))?;
        let mut counts: BTreeMap<(String, String), (u64, i64)> = BTreeMap::new();
        for stored in all {
            let letter = &stored.record.letter;
            let count = counts.entry((letter.agent.to_string(), letter.cause.code.clone())).or_insert((0, i64::MAX));
            *count = (count.0 + 1, count.1.min(letter.at.nanos()));
        }
        let counts = counts.into_iter().map(|((agent, code), (count, oldest_unix_nanos))| v1::DeadLetterCount {
            agent,
            code,
            count,
            oldest_unix_nanos,
        });
        Ok(Response::new(v1::DeadLetterStatsResponse { counts: counts.collect() }))
    }

    async fn replay(&self, request: Request<v1::DeadLetterActionRequest>) -> Result<Answer, Status> {
        self.act(request, Action::Replay).await
    }

    async fn discard(&self, request: Request<v1::DeadLetterActionRequest>) -> Result<Answer, Status> {
        self.act(request, Action::Discard).await
    }
}

impl DeadLetters {
    /// The input's JSON text; empty if it cannot be fetched.
    async fn input(&self, payload: &Payload) -> bytes::Bytes {
        let value = self.context.bus.payloads().resolve(payload).await.ok();
        value.and_then(|v| serde_json::to_vec(&v).ok()).unwrap_or_default().into()
    }
}

fn limit(filter: &v1::DeadLetterFilter) -> usize {
    if filter.limit == 0 { LIMIT_DEFAULT } else { filter.limit as usize }
}

fn unavailable(error: kapelle_bus::Error) -> Diagnosis {
    Diagnosis::new(Code::BROKER_UNAVAILABLE, format!("the dead letters cannot be read: {error}"))
}

fn summary(record: &DeadLetterRecord) -> v1::DeadLetterView {
    let letter = &record.letter;
    v1::DeadLetterView {
        run_id: record.run_id.to_string(),
        step: letter.task.step.to_string(),
        attempt: letter.task.attempt,
        agent: letter.agent.to_string(),
        workflow: record.workflow.to_string(),
        cause: Some((&letter.cause).into()),
        at_unix_nanos: letter.at.nanos(),
        ..v1::DeadLetterView::default()
    }
}

fn history(letter: &DeadLetter) -> Vec<v1::DeadLetterAttempt> {
    let attempt = |(task, at, failure): &(kapelle_types::TaskId, kapelle_types::Timestamp, kapelle_engine::Failure)| {
        v1::DeadLetterAttempt { attempt: task.attempt, at_unix_nanos: at.nanos(), failure: Some(failure.into()) }
    };
    letter.history.iter().map(attempt).collect()
}
