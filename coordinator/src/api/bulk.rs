//! One verb on many runs: select, then do it run by run, at a bounded rate, and say what came of each.
//!
//! ```text
//!   filter ──all coordinators──▶ rows ──limit──▶ each: read its log ──▶ done by this operation before?  ──▶ ALREADY
//!                                                                       no longer what was looked for? ──▶ PASSED_OVER
//!                                                                       judged, on record, written     ──▶ DONE or FAILED
//! ```
//!
//! Nothing of an operation is kept but what it writes: into each run's log under an id that derives from the operation's. So
//! an operation that was cut short, by whoever died, is repeated under its id, and no run has it done twice. It ends when its
//! client leaves. Each run is judged and put on record as if it were asked for alone.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use kapelle_engine::Body;
use kapelle_proto::v1::bulk_answer::Answer;
use kapelle_proto::v1::bulk_done::Outcome;
use kapelle_proto::v1::{self, BulkVerb, RunStatus};
use kapelle_telemetry::clock;
use kapelle_types::{Caller, Code, Diagnosis, StepId, limits};
use tokio::sync::mpsc;
use tonic::Status;
use uuid::Uuid;

use super::Context;
use super::again::{Anew, again};
use super::paced::paced;
use super::query::query;
use super::signal::{Manner, payload, signal};
use super::steer::{Wish, steer_as};
use super::update::update;
use crate::listing::{Query, ROWS_MAX, list_all};
use crate::runs::{Rebuilt, RunRow, rebuild};
use crate::submit::Fork;

/// Runs of one operation that are worked on at once: few, so that whoever else asks is not held up.
const IN_FLIGHT_MAX: usize = 8;
/// Runs that a selection shows.
const SHOWN_MAX: usize = 20;
/// Characters of an operation's id: a UUID, or what somebody calls it.
const ID_CHARS_MAX: usize = 64;

/// An operation that was understood.
struct Operation {
    context: Arc<Context>,
    caller: Arc<Caller>,
    verb: BulkVerb,
    id: String,
    reason: String,
    latest: bool,
    query: Query,
    /// Which signal or query.
    name: String,
    /// What a signal says.
    payload: Bytes,
    /// Where forks begin.
    step: Option<StepId>,
    traceparent: Option<String>,
}

/// What came of one run: the run that was begun, and what was answered.
#[derive(Debug, Default)]
struct Did {
    outcome: Outcome,
    new_run_id: String,
    value: Bytes,
}

impl Did {
    fn just(outcome: Outcome) -> Self {
        Self { outcome, ..Self::default() }
    }
}

/// Begins an operation; what comes of it is sent as it comes.
pub(super) async fn bulk(
    context: Arc<Context>,
    caller: Arc<Caller>,
    request: v1::BulkRequest,
    traceparent: Option<String>,
    sender: mpsc::Sender<Result<v1::BulkAnswer, Status>>,
) -> Result<(), Diagnosis> {
    let dry_run = request.dry_run;
    let limit = request.filter.as_ref().map_or(0, |filter| filter.limit as usize);
    let operation = understood(context, caller, request, traceparent)?;
    let mut rows = selected(&operation.context, &operation.query).await?;
    let total = rows.len() as u64;
    if limit > 0 {
        rows.truncate(limit);
    }
    let shown = rows.iter().take(SHOWN_MAX).cloned().map(Into::into).collect();
    let first = Answer::Selected(v1::BulkSelected { id: operation.id.clone(), runs: shown, total });
    tokio::spawn(async move {
        if send(&sender, first).await && !dry_run {
            operation.perform(rows, &sender).await;
        }
    });
    Ok(())
}

async fn send(sender: &mpsc::Sender<Result<v1::BulkAnswer, Status>>, answer: Answer) -> bool {
    sender.send(Ok(v1::BulkAnswer { answer: Some(answer) })).await.is_ok()
}

fn understood(
    context: Arc<Context>,
    caller: Arc<Caller>,
    request: v1::BulkRequest,
    traceparent: Option<String>,
) -> Result<Operation, Diagnosis> {
    let verb = request.verb();
    let statuses = applies_to(verb)
        .ok_or_else(|| Diagnosis::new(Code::REQUEST_INVALID, "`verb` is missing, or not known to this release"))?;
    let id = match request.id.as_str() {
        "" => Uuid::now_v7().to_string(),
        id if id.chars().count() <= ID_CHARS_MAX && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') => {
            id.to_owned()
        }
        id => {
            let message = format!("`{id}` is no operation's id: up to {ID_CHARS_MAX} letters, digits and `-`");
            return Err(Diagnosis::new(Code::REQUEST_INVALID, message));
        }
    };
    if request.reason.chars().count() > limits::REASON_CHARS_MAX {
        let message = format!("a reason has {} characters at most", limits::REASON_CHARS_MAX);
        return Err(Diagnosis::new(Code::REQUEST_INVALID, message));
    }
    let step = fits(verb, &request)?;
    let mut query = Query::of(&request.filter.unwrap_or_default(), clock::now());
    if query.is_any() && !request.all {
        let message = "an operation on many runs names no filter";
        return Err(Diagnosis::new(Code::FILTER_MISSING, message)
            .hint("say which with --status, --workflow, --label or --older-than, or that you mean all with --all"));
    }
    if query.statuses.is_empty() {
        query.statuses = statuses.iter().map(|status| *status as i32).collect();
    }
    let query = Query { unseen: true, limit: ROWS_MAX, ..query };
    let v1::BulkRequest { reason, latest, name, payload, .. } = v1::BulkRequest { filter: None, ..request };
    Ok(Operation { context, caller, verb, id, reason, latest, query, name, payload, step, traceparent })
}

/// Whether a verb has what it needs, before anything is done; where its forks begin.
fn fits(verb: BulkVerb, request: &v1::BulkRequest) -> Result<Option<StepId>, Diagnosis> {
    let invalid = |message: String| Diagnosis::new(Code::REQUEST_INVALID, message);
    let named = matches!(verb, BulkVerb::Signal | BulkVerb::Update | BulkVerb::Query);
    if named == request.name.is_empty() {
        let which = if named { "say which with `name`" } else { "`name` is for signals, updates and queries" };
        return Err(invalid(which.to_owned()));
    }
    if matches!(verb, BulkVerb::Signal | BulkVerb::Update) {
        payload(&request.payload)?;
    } else if !request.payload.is_empty() {
        return Err(invalid("`payload` is for signals and updates".to_owned()));
    }
    match (verb, request.step.as_str()) {
        (BulkVerb::Fork, step) => step.parse().map(Some).map_err(|e| invalid(format!("`step`: {e}"))),
        (_, "") => Ok(None),
        _ => Err(invalid("`step` is for forks".to_owned())),
    }
}

/// The statuses that a verb is for, where nobody names others; none for any. `None` if it is no verb.
fn applies_to(verb: BulkVerb) -> Option<&'static [RunStatus]> {
    const OPEN: &[RunStatus] =
        &[RunStatus::Pending, RunStatus::Running, RunStatus::Waiting, RunStatus::Paused, RunStatus::Stalled];
    const GOING: &[RunStatus] = &[RunStatus::Pending, RunStatus::Running, RunStatus::Waiting];
    match verb {
        BulkVerb::Unspecified => None,
        BulkVerb::Cancel | BulkVerb::Terminate | BulkVerb::Signal | BulkVerb::Update => Some(OPEN),
        BulkVerb::Pause => Some(GOING),
        BulkVerb::Resume => Some(&[RunStatus::Paused]),
        BulkVerb::Retry | BulkVerb::Fail => Some(&[RunStatus::Stalled]),
        BulkVerb::Restart | BulkVerb::Fork | BulkVerb::Query => Some(&[]),
    }
}

/// Everything that matches, the latest first: page by page, each from all coordinators.
async fn selected(context: &Context, query: &Query) -> Result<Vec<RunRow>, Diagnosis> {
    let (mut found, mut known, mut page) = (Vec::new(), HashSet::new(), query.clone());
    loop {
        let peers = context.peers.borrow().clone();
        let answer = list_all(&context.bus, &context.id, &context.served, &peers, &page).await;
        let all = usize::from(context.bus.partitions().count());
        if answer.partitions.len() < all {
            let message = format!("{} of {all} partitions say which runs they have", answer.partitions.len());
            return Err(Diagnosis::new(Code::RUNS_UNKNOWN, message).hint("repeat it in some seconds"));
        }
        let Some(last) = answer.rows.last() else { return Ok(found) };
        page.after = Some((last.submitted_at, last.run));
        for mut row in answer.rows.into_iter().filter(|row| known.insert(row.run)) {
            // Known by its id alone: its log says whether it is looked for.
            if row.workflow.is_none() {
                match rebuild(&context.bus, &context.plans, row.run).await {
                    Ok(rebuilt) if query.finds(&rebuilt.run) => row = RunRow::of(&rebuilt.run),
                    Err(error) if error.code != Code::UNKNOWN_RUN => return Err(error),
                    Ok(_) | Err(_) => continue,
                }
            }
            found.push(row);
        }
        if found.len() > limits::BULK_RUNS_MAX {
            let message = format!("more than {} runs match", limits::BULK_RUNS_MAX);
            return Err(Diagnosis::new(Code::REQUEST_INVALID, message).hint("narrow the filter"));
        }
    }
}

impl Operation {
    /// Does it run by run until all are done or the client has left.
    async fn perform(self, rows: Vec<RunRow>, sender: &mpsc::Sender<Result<v1::BulkAnswer, Status>>) {
        let operation = Arc::new(self);
        let mut results = Box::pin(operation.clone().results(rows));
        let mut summary = v1::BulkSummary::default();
        while let Some(done) = results.next().await {
            *match done.outcome() {
                Outcome::Done => &mut summary.done,
                Outcome::Already => &mut summary.already,
                Outcome::PassedOver => &mut summary.passed_over,
                Outcome::Failed | Outcome::Unspecified => &mut summary.failed,
            } += 1;
            if !send(sender, Answer::Done(done)).await {
                tracing::info!(id = operation.id, "the client of an operation on many runs has left");
                return;
            }
        }
        send(sender, Answer::Summary(summary)).await;
    }

    fn results(self: Arc<Self>, rows: Vec<RunRow>) -> impl Stream<Item = v1::BulkDone> {
        let paced = paced(rows, limits::BULK_RUNS_PER_SECOND, |_| 1);
        paced.map(move |row| Self::one(Arc::clone(&self), row)).buffer_unordered(IN_FLIGHT_MAX)
    }

    async fn one(self: Arc<Self>, row: RunRow) -> v1::BulkDone {
        let run_id = row.run.to_string();
        match Box::pin(self.act(&row)).await {
            Ok(Did { outcome, new_run_id, value }) => {
                v1::BulkDone { run_id, outcome: outcome.into(), error: None, new_run_id, value }
            }
            Err(error) => {
                let outcome = Outcome::Failed.into();
                v1::BulkDone { run_id, outcome, error: Some((&error).into()), ..v1::BulkDone::default() }
            }
        }
    }

    /// Does it to one run, unless this operation did or the run is another than was looked for.
    async fn act(&self, row: &RunRow) -> Result<Did, Diagnosis> {
        let rebuilt = rebuild(&self.context.bus, &self.context.plans, row.run).await?;
        let id = format!("bulk:{}:{}", self.id, self.word());
        if is_recorded(&rebuilt, &id) {
            return Ok(Did::just(Outcome::Already));
        }
        // What a restart began has the labels of what it restarted.
        let is_ours = rebuilt.run.key().is_some_and(|key| key.starts_with(&format!("{id}:")));
        if is_ours || !self.query.finds(&rebuilt.run) {
            return Ok(Did::just(Outcome::PassedOver));
        }
        let part_of = format!(" (bulk {})", self.id);
        let Some(body) = self.body() else { return self.other(&rebuilt, id, part_of).await };
        let wish = Wish { id, body, part_of: &part_of };
        steer_as(&self.context, &rebuilt.run, &self.caller, wish).await?;
        Ok(Did::just(Outcome::Done))
    }

    /// What begins another run, tells one something or asks it.
    async fn other(&self, rebuilt: &Rebuilt, id: String, part_of: String) -> Result<Did, Diagnosis> {
        let (context, caller, run) = (&*self.context, &*self.caller, rebuilt.run.id());
        let (run_id, name, payload) = (run.to_string(), self.name.clone(), self.payload.clone());
        let done = |repeated: bool| if repeated { Outcome::Already } else { Outcome::Done };
        Ok(match self.verb {
            BulkVerb::Signal => {
                let told = v1::SignalRequest { run_id, name, payload, id };
                let answer = signal(context, run, caller, (Manner::Signal, told)).await?;
                Did::just(done(answer.duplicate))
            }
            BulkVerb::Update => {
                let told = v1::UpdateRequest { run_id, name, payload, id, wait_millis: 0 };
                let v1::UpdateResponse { value, duplicate, .. } = update(context, run, caller, told).await?;
                Did { value, ..Did::just(done(duplicate)) }
            }
            BulkVerb::Query => {
                let value = query(context, run, caller, &name).await?.value;
                Did { value, ..Did::just(Outcome::Done) }
            }
            _ => {
                let key = Some(format!("{id}:{run}"));
                let fork = self.step.clone().map(|from| Fork { from, input: None });
                let anew = Anew { fork, latest: self.latest, key, traceparent: self.traceparent.clone(), part_of };
                let submitted = again(context, caller, rebuilt, anew).await?;
                Did { new_run_id: submitted.run.to_string(), ..Did::just(done(submitted.existed)) }
            }
        })
    }

    /// What is written into each run; `None` where it is done otherwise.
    fn body(&self) -> Option<Body> {
        let reason = self.reason.clone();
        match self.verb {
            BulkVerb::Cancel => Some(Body::CancelRequested { reason }),
            BulkVerb::Terminate => Some(Body::TerminateRequested { reason }),
            BulkVerb::Pause => Some(Body::PauseRequested { reason }),
            BulkVerb::Resume => Some(Body::ResumeRequested),
            BulkVerb::Retry => Some(Body::RetryRequested { steps: Vec::new() }),
            BulkVerb::Fail => Some(Body::FailRequested { reason }),
            BulkVerb::Restart
            | BulkVerb::Fork
            | BulkVerb::Signal
            | BulkVerb::Update
            | BulkVerb::Query
            | BulkVerb::Unspecified => None,
        }
    }

    fn word(&self) -> String {
        self.verb.as_str_name().trim_start_matches("BULK_VERB_").to_lowercase()
    }
}

/// Whether a request with this id stands in the run's log.
fn is_recorded(rebuilt: &Rebuilt, id: &str) -> bool {
    rebuilt.records.iter().flat_map(|record| &record.entries).any(|entry| entry.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_is_for_runs_that_it_can_do_something_to() {
        let all = [
            BulkVerb::Cancel,
            BulkVerb::Terminate,
            BulkVerb::Pause,
            BulkVerb::Resume,
            BulkVerb::Retry,
            BulkVerb::Fail,
            BulkVerb::Restart,
            BulkVerb::Fork,
            BulkVerb::Signal,
            BulkVerb::Update,
            BulkVerb::Query,
        ];
        assert!(all.iter().all(|verb| applies_to(*verb).is_some()) && applies_to(BulkVerb::Unspecified).is_none());
        let ended =
            [RunStatus::Completed, RunStatus::Failed, RunStatus::Canceled, RunStatus::Terminated, RunStatus::TimedOut];
        for verb in all {
            assert!(applies_to(verb).unwrap().iter().all(|status| !ended.contains(status)), "{verb:?}");
        }
    }
}
