//! Replays and discards: each is a request on the run that the dead letter is of.
//!
//! ```text
//!   filter ──▶ letters ──rate──▶ each run's: read its log ──▶ nobody waits for it any more ──▶ removed: DONE
//!                                                             put back or given up before  ──▶ ALREADY
//!                                                             put back too often before    ──▶ PASSED_OVER
//!                                                             judged, on record, written   ──▶ DONE or FAILED
//! ```
//!
//! A request's id is that of the attempt that gave up, so that the log takes one for each dead letter, however often and from
//! how many places it is asked for. What is asked of a letter that its run has not yet removed changes nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::StreamExt;
use kapelle_engine::{Body, Command, Entry, Run, outstanding};
use kapelle_proto::v1::dead_letter_act_answer::Answer;
use kapelle_proto::v1::{self, dead_letter_acted::Outcome};
use kapelle_telemetry::clock;
use kapelle_types::{Caller, Code, Diagnosis, RunId, StepRef, TaskId, limits};
use tokio::sync::mpsc;
use tonic::Status;

use super::{Stored, fingerprint, seen, unavailable};
use crate::access::{Act, run_named};
use crate::api::Context;
use crate::api::paced::paced;
use crate::api::steer::{allowed, record_all};
use crate::runs::{Rebuilt, rebuild};

/// Runs of one request that are worked on at once: few, so that whoever else asks is not held up.
const IN_FLIGHT_MAX: usize = 8;
/// Dead letters of a run that are acted on at once, in one message of its log.
const BATCH_MAX: usize = 100;
/// Dead letters that a selection shows.
const SHOWN_MAX: usize = 20;
/// Dead letters that are acted on in a second, where nobody says otherwise.
const PER_SECOND: u32 = 100;
/// The most that somebody may say.
const PER_SECOND_MAX: u32 = 1_000;
/// Times that a step is put back, where nobody says otherwise. What fails again each time burns money, not time alone.
const REPLAYS_MAX: u32 = 3;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// Back to the queue, unless that happened so often before.
    Replay { times_max: u32 },
    /// Given up for good.
    Discard,
}

/// What came of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Did {
    /// It was done.
    Done,
    /// It was before: the step does not wait for that any more.
    Already,
    /// It was put back too often before.
    PassedOver(Diagnosis),
    /// It could not be done, or may not.
    Failed(Diagnosis),
}

/// What came of one, and how often it was put back before.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) replays: u32,
    pub(super) did: Did,
}

/// A request on dead letters that was understood.
pub(super) struct Wish {
    pub(super) context: Arc<Context>,
    pub(super) caller: Arc<Caller>,
    pub(super) deed: Deed,
    pub(super) reason: String,
}

impl Deed {
    const fn verb(self) -> &'static str {
        match self {
            Self::Replay { .. } => "replay",
            Self::Discard => "discard",
        }
    }

    const fn rpc(self) -> &'static str {
        match self {
            Self::Replay { .. } => "kapelle.v1.DeadLetterService/Replay",
            Self::Discard => "kapelle.v1.DeadLetterService/Discard",
        }
    }
}

/// What a request asks, and at which rate.
///
/// # Errors
/// `REQUEST_INVALID`.
pub(super) fn understood(request: &v1::DeadLetterActRequest) -> Result<(Deed, u32), Diagnosis> {
    let invalid = |message: String| Err(Diagnosis::new(Code::REQUEST_INVALID, message));
    if request.reason.chars().count() > limits::REASON_CHARS_MAX {
        return invalid(format!("a reason has {} characters at most", limits::REASON_CHARS_MAX));
    }
    if request.per_second > PER_SECOND_MAX {
        return invalid(format!("`per_second` is 1 to {PER_SECOND_MAX}"));
    }
    if request.discard && request.replays_max > 0 {
        return invalid("`replays_max` is for replays".to_owned());
    }
    let or = |given: u32, default: u32| if given == 0 { default } else { given };
    let replay = Deed::Replay { times_max: or(request.replays_max, REPLAYS_MAX) };
    Ok((if request.discard { Deed::Discard } else { replay }, or(request.per_second, PER_SECOND)))
}

impl Wish {
    /// Says what was selected; then does it, unless it is only asked, until all are done or the client has left.
    pub(super) async fn perform(
        self,
        (letters, total): (Vec<Stored>, usize),
        per_second: Option<u32>,
        sender: mpsc::Sender<Result<v1::DeadLetterActAnswer, Status>>,
    ) {
        let seen: Vec<_> = letters.iter().map(|letter| self.seen(letter)).collect();
        let groups = fingerprint::groups(seen.iter());
        let shown = seen.into_iter().take(SHOWN_MAX).collect();
        let selected = v1::DeadLetterSelected { total: total as u64, groups, letters: shown };
        let Some(per_second) = per_second else {
            send(&sender, Answer::Selected(selected)).await;
            return;
        };
        if !send(&sender, Answer::Selected(selected)).await {
            return;
        }
        let mut summary = v1::DeadLetterActSummary::default();
        let batches = paced(batches(letters, per_second), per_second, Vec::len);
        let mut results = Box::pin(batches.map(|batch| self.results(batch)).buffer_unordered(IN_FLIGHT_MAX));
        while let Some(results) = results.next().await {
            for acted in results {
                *match acted.outcome() {
                    Outcome::Done => &mut summary.done,
                    Outcome::Already => &mut summary.already,
                    Outcome::PassedOver => &mut summary.passed_over,
                    Outcome::Failed | Outcome::Unspecified => &mut summary.failed,
                } += 1;
                if !send(&sender, Answer::Acted(acted)).await {
                    tracing::info!(verb = self.deed.verb(), "the client of a request on dead letters has left");
                    return;
                }
            }
        }
        send(&sender, Answer::Summary(summary)).await;
    }

    async fn results(&self, batch: Vec<Stored>) -> Vec<v1::DeadLetterActed> {
        let results = Box::pin(self.act_on(&batch)).await;
        let acted = |(letter, Came { replays, did }): (&Stored, Came)| {
            let (outcome, error) = match did {
                Did::Done => (Outcome::Done, None),
                Did::Already => (Outcome::Already, None),
                Did::PassedOver(why) => (Outcome::PassedOver, Some((&why).into())),
                Did::Failed(why) => (Outcome::Failed, Some((&why).into())),
            };
            let letter = v1::DeadLetterView { replays, ..self.seen(letter) };
            v1::DeadLetterActed { letter: Some(letter), outcome: outcome.into(), error }
        };
        batch.iter().zip(results).map(acted).collect()
    }

    /// The letter as the caller sees it.
    fn seen(&self, letter: &Stored) -> v1::DeadLetterView {
        seen(&self.context, &self.caller, letter)
    }

    /// Replays or discards letters of one run and says what came of each, in their order.
    pub(super) async fn act_on(&self, batch: &[Stored]) -> Vec<Came> {
        let mut came = Vec::new();
        let Some(first) = batch.first() else { return came };
        let run = first.record.run_id;
        let rebuilt = match rebuild(&self.context.bus, &self.context.plans, run).await {
            Err(error) if error.code == Code::UNKNOWN_RUN => None,
            Ok(rebuilt) => Some(rebuilt).filter(|it| !it.run.is_finished()),
            Err(error) => {
                return batch.iter().map(|_| Came { replays: 0, did: Did::Failed(error.clone()) }).collect();
            }
        };
        let Some(rebuilt) = rebuilt else {
            for letter in batch {
                let removed = self.remove(letter).await;
                came.push(Came { replays: 0, did: removed.map_or_else(Did::Failed, |()| Did::Done) });
            }
            return came;
        };
        let mut entries = Vec::new();
        let open = waiting(&rebuilt.run);
        for letter in batch {
            let task = &letter.record.letter.task;
            let replays = replays(&rebuilt, &task.step);
            let entry = match self.entry(&rebuilt, (task, replays), open.contains(task)) {
                Ok(entry) => self.on_record(run, task).await.map(|()| entry).map_err(Did::Failed),
                not => not,
            };
            let did = entry.map_or_else(
                |did| did,
                |entry| {
                    entries.push(entry);
                    Did::Done
                },
            );
            came.push(Came { replays, did });
        }
        if !entries.is_empty()
            && let Err(error) = record_all(&self.context, run, &entries).await
        {
            for it in came.iter_mut().filter(|it| it.did == Did::Done) {
                it.did = Did::Failed(error.clone());
            }
        }
        came
    }

    /// What is to be written of a letter, or what comes of it without that.
    fn entry(&self, rebuilt: &Rebuilt, (task, replays): (&TaskId, u32), is_open: bool) -> Result<Entry, Did> {
        let body = match self.deed {
            _ if !is_open => return Err(Did::Already),
            Deed::Replay { times_max } if replays >= times_max => {
                return Err(Did::PassedOver(too_often(&rebuilt.run, task, replays)));
            }
            Deed::Replay { .. } => Body::RetryRequested { steps: vec![task.step.clone()] },
            Deed::Discard => Body::FailRequested { reason: self.reason.clone() },
        };
        allowed(&rebuilt.run, &body).map_err(Did::Failed)?;
        let id = format!("{}:{task}", self.deed.verb());
        if rebuilt.records.iter().flat_map(|record| &record.entries).any(|entry| entry.id == id) {
            return Err(Did::Already);
        }
        Ok(Entry { id, principal: self.caller.principal.clone(), traceparent: None, body })
    }

    /// Removes a letter whose run waits for nothing any more.
    async fn remove(&self, letter: &Stored) -> Result<(), Diagnosis> {
        self.on_record(letter.record.run_id, &letter.record.letter.task).await?;
        self.context.bus.remove_dead_letter(&letter.subject).await.map_err(unavailable)
    }

    /// Judges the request on one letter and puts it on record.
    async fn on_record(&self, run: RunId, task: &TaskId) -> Result<(), Diagnosis> {
        let (verb, rpc) = (self.deed.verb(), self.deed.rpc());
        let act = Act { verb, rpc, owner: None, what: run_named(run, &task.step), reason: self.reason.clone() };
        self.context.access.act(&self.caller, act).await
    }
}

async fn send(sender: &mpsc::Sender<Result<v1::DeadLetterActAnswer, Status>>, answer: Answer) -> bool {
    sender.send(Ok(v1::DeadLetterActAnswer { answer: Some(answer) })).await.is_ok()
}

/// Letters of one run each, as many as may be acted on in a second: its log is read once for all of them.
pub(super) fn batches(letters: Vec<Stored>, per_second: u32) -> Vec<Vec<Stored>> {
    let mut open: HashMap<RunId, usize> = HashMap::new();
    let mut batches: Vec<Vec<Stored>> = Vec::new();
    let most = (per_second as usize).clamp(1, BATCH_MAX);
    for letter in letters {
        let at = *open.entry(letter.record.run_id).or_insert(batches.len());
        match batches.get_mut(at) {
            Some(batch) if batch.len() < most => batch.push(letter),
            Some(_) | None => {
                open.insert(letter.record.run_id, batches.len());
                batches.push(vec![letter]);
            }
        }
    }
    batches
}

/// The attempts that the run waits for somebody to decide about.
fn waiting(run: &Run) -> BTreeSet<TaskId> {
    let letter = |command: Command| match command {
        Command::WriteDeadLetter(letter) => Some(letter.task),
        _ => None,
    };
    outstanding(run, clock::now()).into_iter().filter_map(letter).collect()
}

/// How often somebody put the step back, alone or with others.
pub(super) fn replays(rebuilt: &Rebuilt, step: &StepRef) -> u32 {
    let whole = StepRef { item: None, ..step.clone() };
    let means = |body: &Body| match body {
        Body::RetryRequested { steps } => steps.is_empty() || steps.contains(step) || steps.contains(&whole),
        _ => false,
    };
    let entries = rebuilt.records.iter().flat_map(|record| &record.entries);
    u32::try_from(entries.filter(|entry| means(&entry.body)).count()).unwrap_or(u32::MAX)
}

fn too_often(run: &Run, task: &TaskId, times: u32) -> Diagnosis {
    let message = format!("step {} of run {} was put back {times} times and gave up again", task.step, run.id());
    Diagnosis::new(Code::REPLAYED_TOO_OFTEN, message)
        .hint("mend its cause first; `--max-replays` puts it back all the same")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_a_default_and_what_is_too_much_is_refused() {
        let asked = v1::DeadLetterActRequest::default;
        assert_eq!(understood(&asked()).unwrap(), (Deed::Replay { times_max: 3 }, 100));
        let own = v1::DeadLetterActRequest { per_second: 7, replays_max: 9, ..asked() };
        assert_eq!(understood(&own).unwrap(), (Deed::Replay { times_max: 9 }, 7));
        let discard = v1::DeadLetterActRequest { discard: true, ..asked() };
        assert_eq!(understood(&discard).unwrap().0, Deed::Discard);
        for refused in [
            v1::DeadLetterActRequest { per_second: PER_SECOND_MAX + 1, ..asked() },
            v1::DeadLetterActRequest { replays_max: 1, ..discard },
            v1::DeadLetterActRequest { reason: "x".repeat(limits::REASON_CHARS_MAX + 1), ..asked() },
        ] {
            assert_eq!(understood(&refused).unwrap_err().code, Code::REQUEST_INVALID);
        }
    }
}
