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
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use kapelle_engine::Body;
use kapelle_proto::v1::bulk_answer::Answer;
use kapelle_proto::v1::bulk_done::Outcome;
use kapelle_proto::v1::{self, BulkVerb, RunStatus};
use kapelle_telemetry::clock;
use kapelle_types::{Caller, Code, Diagnosis, limits};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tonic::Status;
use uuid::Uuid;

use super::Context;
use super::again::{Anew, again};
use super::steer::{Wish, steer_as};
use crate::listing::{Query, ROWS_MAX, list_all};
use crate::runs::{Rebuilt, RunRow, rebuild};

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
    traceparent: Option<String>,
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
    let v1::BulkRequest { reason, latest, .. } = v1::BulkRequest { filter: None, ..request };
    Ok(Operation { context, caller, verb, id, reason, latest, query, traceparent })
}

/// The statuses that a verb is for, where nobody names others; none for any. `None` if it is no verb.
fn applies_to(verb: BulkVerb) -> Option<&'static [RunStatus]> {
    const OPEN: &[RunStatus] =
        &[RunStatus::Pending, RunStatus::Running, RunStatus::Waiting, RunStatus::Paused, RunStatus::Stalled];
    const GOING: &[RunStatus] = &[RunStatus::Pending, RunStatus::Running, RunStatus::Waiting];
    match verb {
        BulkVerb::Unspecified => None,
        BulkVerb::Cancel | BulkVerb::Terminate => Some(OPEN),
        BulkVerb::Pause => Some(GOING),
        BulkVerb::Resume => Some(&[RunStatus::Paused]),
        BulkVerb::Retry | BulkVerb::Fail => Some(&[RunStatus::Stalled]),
        BulkVerb::Restart => Some(&[]),
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
        let mut turns = interval(Duration::from_secs(1) / limits::BULK_RUNS_PER_SECOND);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let paced = stream::unfold((rows.into_iter(), turns), |(mut rows, mut turns)| async move {
            let row = rows.next()?;
            turns.tick().await;
            Some((row, (rows, turns)))
        });
        paced.map(move |row| Self::one(Arc::clone(&self), row)).buffer_unordered(IN_FLIGHT_MAX)
    }

    async fn one(self: Arc<Self>, row: RunRow) -> v1::BulkDone {
        let run_id = row.run.to_string();
        match Box::pin(self.act(&row)).await {
            Ok((outcome, new_run_id)) => v1::BulkDone { run_id, outcome: outcome.into(), error: None, new_run_id },
            Err(error) => {
                let (outcome, new_run_id) = (Outcome::Failed.into(), String::new());
                v1::BulkDone { run_id, outcome, error: Some((&error).into()), new_run_id }
            }
        }
    }

    /// Does it to one run, unless this operation did or the run is another than was looked for.
    async fn act(&self, row: &RunRow) -> Result<(Outcome, String), Diagnosis> {
        let rebuilt = rebuild(&self.context.bus, &self.context.plans, row.run).await?;
        let id = format!("bulk:{}:{}", self.id, self.word());
        if is_recorded(&rebuilt, &id) {
            return Ok((Outcome::Already, String::new()));
        }
        // What a restart began has the labels of what it restarted.
        let is_ours = rebuilt.run.key().is_some_and(|key| key.starts_with(&format!("{id}:")));
        if is_ours || !self.query.finds(&rebuilt.run) {
            return Ok((Outcome::PassedOver, String::new()));
        }
        let part_of = format!(" (bulk {})", self.id);
        let Some(body) = self.body() else {
            let key = Some(format!("{id}:{}", row.run));
            let (latest, traceparent) = (self.latest, self.traceparent.clone());
            let anew = Anew { fork: None, latest, key, traceparent, part_of };
            let submitted = again(&self.context, &self.caller, &rebuilt, anew).await?;
            let outcome = if submitted.existed { Outcome::Already } else { Outcome::Done };
            return Ok((outcome, submitted.run.to_string()));
        };
        let wish = Wish { id, body, part_of: &part_of };
        steer_as(&self.context, &rebuilt.run, &self.caller, wish).await?;
        Ok((Outcome::Done, String::new()))
    }

    /// What is written into each run; `None` where a new run is started.
    fn body(&self) -> Option<Body> {
        let reason = self.reason.clone();
        match self.verb {
            BulkVerb::Cancel => Some(Body::CancelRequested { reason }),
            BulkVerb::Terminate => Some(Body::TerminateRequested { reason }),
            BulkVerb::Pause => Some(Body::PauseRequested { reason }),
            BulkVerb::Resume => Some(Body::ResumeRequested),
            BulkVerb::Retry => Some(Body::RetryRequested { steps: Vec::new() }),
            BulkVerb::Fail => Some(Body::FailRequested { reason }),
            BulkVerb::Restart | BulkVerb::Unspecified => None,
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
        ];
        assert!(all.iter().all(|verb| applies_to(*verb).is_some()) && applies_to(BulkVerb::Unspecified).is_none());
        let ended =
            [RunStatus::Completed, RunStatus::Failed, RunStatus::Canceled, RunStatus::Terminated, RunStatus::TimedOut];
        for verb in all {
            assert!(applies_to(verb).unwrap().iter().all(|status| !ended.contains(status)), "{verb:?}");
        }
    }
}
