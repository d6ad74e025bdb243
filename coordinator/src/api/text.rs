//! `WatchText`: what the models of a run's agents write, while they write it, for whoever may see the run's payloads.
//!
//! ```text
//!   workers ──words over core NATS──▶ any coordinator that somebody reads along at ──of this run's tasks──▶ its client
//!                                        └── the run's log, looked at for its end
//! ```
//!
//! Nothing is kept. A client that is slow misses pieces and holds up nobody; the next piece's offset shows what is missing.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kapelle_bus::words::Heard;
use kapelle_engine::Run;
use kapelle_proto::{Words, v1};
use kapelle_types::{Caller, Code, Diagnosis, RunId, StepRef, printed};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::Status;

use super::Context;
use super::status::{run_id, status};
use crate::access::{WATCH_TEXT, run_named};
use crate::runs::{Rebuilt, rebuild, rebuild_to};

/// Pieces of one stream that may wait for the client: some seconds of one model, 2 MiB at most.
const PIECES_WAITING_MAX: usize = 64;
/// How often the run is looked at without news of its end: whoever tells us may have died.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long the last words of a run may come later than the news of its end: they take another way through a cluster.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(200);

type Sender = mpsc::Sender<Result<v1::TextPiece, Status>>;

/// Begins to pass on what is heard of a run, until it ends or the client leaves.
pub(super) async fn watch(
    context: Arc<Context>,
    caller: Arc<Caller>,
    request: &v1::WatchTextRequest,
) -> Result<mpsc::Receiver<Result<v1::TextPiece, Status>>, Diagnosis> {
    let run = run_id(&request.run_id)?;
    let invalid = |e: kapelle_types::InvalidName| Diagnosis::new(Code::REQUEST_INVALID, e.to_string());
    let step = Some(request.step.as_str()).filter(|it| !it.is_empty()).map(str::parse).transpose().map_err(invalid)?;
    let unavailable = |e: kapelle_bus::Error| Diagnosis::new(Code::BROKER_UNAVAILABLE, e.to_string());
    // Before the run is read, so that nothing is missed between the two.
    let heard = context.bus.words(run).await.map_err(unavailable)?;
    let settled = context.bus.settled(run).await.map_err(unavailable)?;
    let Rebuilt { run, .. } = rebuild(&context.bus, &context.plans, run).await?;
    may_read_along(&context, &caller, &run)?;
    known(&run, step.as_ref())?;
    let (sender, pieces) = mpsc::channel(PIECES_WAITING_MAX);
    if !run.is_finished() {
        let over = until_over(context, caller, run.id(), settled);
        tokio::spawn(async move {
            let reading = Reading { run, step, sender: &sender };
            if let Err(error) = reading.pass_on(heard, over).await {
                let _ = sender.send(Err(status(&error))).await;
            }
        });
    }
    Ok(pieces)
}

/// Words are payloads, whoever's step they are of.
fn may_read_along(context: &Context, caller: &Caller, run: &Run) -> Result<(), Diagnosis> {
    if context.access.sees(caller, run.submitted_by()) {
        return Ok(());
    }
    let message =
        format!("{} may not see the payloads of run {}, and what its models write is one", caller.principal, run.id());
    let refused = Diagnosis::new(Code::DENIED, message).hint("ask whoever administers Kapelle for payload access");
    context.access.refused_on(caller, WATCH_TEXT, &run_named(run.id(), ""), &refused);
    Err(refused)
}

fn known(run: &Run, step: Option<&StepRef>) -> Result<(), Diagnosis> {
    let plan = run.plan();
    match step.filter(|step| !plan.steps.iter().any(|planned| planned.id == step.step)) {
        None => Ok(()),
        Some(step) => {
            let message = format!("{}, which run {} follows, has no step `{}`", plan.workflow, run.id(), step.step);
            Err(Diagnosis::new(Code::REQUEST_INVALID, message).hint("`kapelle run describe` shows its steps"))
        }
    }
}

/// Waits for the end of a run, and for an end of its caller's right to read along.
async fn until_over(
    context: Arc<Context>,
    caller: Arc<Caller>,
    run: RunId,
    settled: impl Stream<Item = u64>,
) -> Result<(), Diagnosis> {
    let mut settled = pin!(settled);
    loop {
        let told = timeout(LOOK_EVERY, settled.next()).await;
        let Rebuilt { run, .. } = match told.ok().flatten() {
            Some(seq) => rebuild_to(&context.bus, &context.plans, run, seq).await?,
            None => rebuild(&context.bus, &context.plans, run).await?,
        };
        if run.is_finished() {
            return Ok(());
        }
        may_read_along(&context, &caller, &run)?;
    }
}

/// Somebody who reads along.
struct Reading<'s> {
    /// The run as it was when they began: its plan and its key do not change.
    run: Run,
    step: Option<StepRef>,
    sender: &'s Sender,
}

impl Reading<'_> {
    async fn pass_on(
        &self,
        heard: impl Stream<Item = Heard>,
        over: impl Future<Output = Result<(), Diagnosis>>,
    ) -> Result<(), Diagnosis> {
        let (mut heard, mut over) = (pin!(heard), pin!(over));
        loop {
            tokio::select! {
                () = self.sender.closed() => return Ok(()),
                ended = &mut over => {
                    ended?;
                    break;
                }
                words = heard.next() => match words {
                    Some(words) => self.show(words),
                    None => return Err(Diagnosis::new(Code::BROKER_UNAVAILABLE, "the connection to the broker is closed")),
                },
            }
        }
        let until = Instant::now() + LAST_WORDS_WAIT;
        while let Ok(Some(words)) = timeout_at(until, heard.next()).await {
            self.show(words);
        }
        Ok(())
    }

    /// Shows a piece to the client, if it is of this run's task and there is room for it.
    fn show(&self, heard: Heard) {
        let Heard { agent, words: Words { task, token, answer, offset, text, last } } = heard;
        let run = self.run.id();
        if !self.run.hears(&agent, &task, token.as_ref()) {
            return tracing::debug!(%run, %task, %agent, "words without the task's token are not passed on");
        }
        let wanted =
            |step: &StepRef| step.step == task.step.step && step.item.is_none_or(|it| Some(it) == task.step.item);
        if !self.step.as_ref().is_none_or(wanted) {
            return;
        }
        let (step, agent) = (printed(&task.step), printed(&agent));
        let piece = v1::TextPiece { step, attempt: task.attempt, agent, answer, offset, text, last };
        if let Err(TrySendError::Full(_)) = self.sender.try_send(Ok(piece)) {
            tracing::debug!(%run, %task, offset, "a client that reads along is too slow for a piece");
        }
    }
}
