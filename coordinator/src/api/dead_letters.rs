//! `DeadLetterService`: dead letters are derived from run logs, so acting on one is a request on its run.

mod act;
mod fingerprint;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use kapelle_engine::DeadLetter;
use kapelle_proto::DeadLetterRecord;
use kapelle_proto::subject::{self, DeadSubject};
use kapelle_proto::v1::{self, dead_letter_service_server::DeadLetterService};
use kapelle_telemetry::clock;
use kapelle_telemetry::metrics::ENTRIES_REFUSED;
use kapelle_types::{Caller, Code, Diagnosis, Payload, StepRef};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use self::act::{Deed, Did, Wish};
use super::Context;
use super::status::{caller, run_id, status};
use super::visible;
use crate::runs::rebuild;

/// Dead letters that one request may return or act on, where it names no limit.
const LIMIT_DEFAULT: usize = 100;
/// Answers to one client that wait to be read.
const ANSWERS_WAITING_MAX: usize = 64;

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
            if of_agent && of_run && of_code && of_step && old {
                let stored = Stored { subject, record };
                if self.says(&stored, filter, caller) {
                    found.push(stored);
                }
            }
        }
        Ok(found)
    }

    /// Whether a caller sees the text and the fingerprint of a filter in a dead letter: nothing is learned by looking for what
    /// is hidden.
    fn says(&self, stored: &Stored, filter: &v1::DeadLetterFilter, caller: &Caller) -> bool {
        let (text, fingerprint) = (&filter.r#match, &filter.fingerprint);
        if text.is_empty() && fingerprint.is_empty() {
            return true;
        }
        let seen = seen(&self.context, caller, stored);
        let alike = fingerprint.is_empty() || seen.fingerprint == *fingerprint;
        let cause = seen.cause.unwrap_or_default();
        let told = [seen.workflow, seen.step, cause.code, cause.message, cause.evidence];
        alike && (text.is_empty() || told.iter().any(|it| it.contains(text)))
    }

    /// One verb on what a filter finds, at once and however often it was put back before.
    async fn all_at_once(&self, request: Request<v1::DeadLetterActionRequest>, deed: Deed) -> Result<Answer, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let filter = request.filter.unwrap_or_default();
        let mut found = self.matching(&filter, &request.step, &caller).await.map_err(|e| status(&e))?;
        found.truncate(limit(&filter));
        let mut answer = v1::DeadLetterActionResponse::default();
        let wish = Wish { context: Arc::clone(&self.context), caller, deed, reason: request.reason };
        for batch in act::batches(found, u32::MAX) {
            let done = if request.dry_run { Vec::new() } else { wish.act_on(&batch).await };
            let mut done = done.into_iter();
            for letter in &batch {
                match done.next().map(|it| it.did) {
                    Some(Did::Failed(error) | Did::PassedOver(error)) => answer.errors.push((&error).into()),
                    Some(Did::Already) => {}
                    Some(Did::Done) | None => answer.affected.push(seen(&self.context, &wish.caller, letter)),
                }
            }
        }
        Ok(Response::new(answer))
    }
}

type Answer = Response<v1::DeadLetterActionResponse>;

#[tonic::async_trait]
impl DeadLetterService for DeadLetters {
    type ActStream = Pin<Box<dyn Stream<Item = Result<v1::DeadLetterActAnswer, Status>> + Send>>;

    async fn list(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        let caller = caller(&request)?;
        let filter = request.into_inner().filter.unwrap_or_default();
        let found = self.matching(&filter, "", &caller).await.map_err(|e| status(&e))?;
        let total = found.len() as u64;
        let dead_letters = found.iter().take(limit(&filter)).map(|it| seen(&self.context, &caller, it)).collect();
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
        let view = visible::dead_letter(view, &self.context.access, &caller);
        let fingerprint = fingerprint::of(&view);
        // A run that is gone has no log that says it; its dead letter is shown all the same.
        let rebuilt = rebuild(&self.context.bus, &self.context.plans, stored.record.run_id).await.ok();
        let replays = rebuilt.map_or(0, |it| act::replays(&it, &letter.task.step));
        Ok(Response::new(v1::DeadLetterView { fingerprint, replays, ..view }))
    }

    async fn stats(
        &self,
        request: Request<v1::DeadLetterStatsRequest>,
    ) -> Result<Response<v1::DeadLetterStatsResponse>, Status> {
        let caller = caller(&request)?;
        let filter = request.into_inner().filter.unwrap_or_default();
        let all = self.matching(&filter, "", &caller).await.map_err(|e| status(&e))?;
        let mut counts: BTreeMap<(String, String), (u64, i64)> = BTreeMap::new();
        for stored in &all {
            let letter = &stored.record.letter;
            let count = counts.entry((letter.agent.to_string(), letter.cause.code.clone())).or_insert((0, i64::MAX));
            *count = (count.0 + 1, count.1.min(letter.at.nanos()));
        }
        let seen: Vec<_> = all.iter().map(|it| seen(&self.context, &caller, it)).collect();
        let groups = fingerprint::groups(seen.iter());
        let counts = counts.into_iter().map(|((agent, code), (count, oldest_unix_nanos))| v1::DeadLetterCount {
            agent,
            code,
            count,
            oldest_unix_nanos,
        });
        Ok(Response::new(v1::DeadLetterStatsResponse { counts: counts.collect(), groups }))
    }

    async fn replay(&self, request: Request<v1::DeadLetterActionRequest>) -> Result<Answer, Status> {
        self.all_at_once(request, Deed::Replay { times_max: u32::MAX }).await
    }

    async fn discard(&self, request: Request<v1::DeadLetterActionRequest>) -> Result<Answer, Status> {
        self.all_at_once(request, Deed::Discard).await
    }

    async fn act(&self, request: Request<v1::DeadLetterActRequest>) -> Result<Response<Self::ActStream>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let (deed, per_second) = act::understood(&request).map_err(|e| status(&e))?;
        let filter = request.filter.unwrap_or_default();
        let mut found = self.matching(&filter, &request.step, &caller).await.map_err(|e| status(&e))?;
        let total = found.len();
        if filter.limit > 0 {
            found.truncate(filter.limit as usize);
        }
        let wish = Wish { context: Arc::clone(&self.context), caller, deed, reason: request.reason };
        let (sender, answers) = mpsc::channel(ANSWERS_WAITING_MAX);
        let per_second = (!request.dry_run).then_some(per_second);
        tokio::spawn(wish.perform((found, total), per_second, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
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

/// A dead letter as a caller sees it.
fn seen(context: &Context, caller: &Caller, stored: &Stored) -> v1::DeadLetterView {
    let view = visible::dead_letter(summary(&stored.record), &context.access, caller);
    v1::DeadLetterView { fingerprint: fingerprint::of(&view), ..view }
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
