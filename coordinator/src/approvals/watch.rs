//! Looks after the questions of our partitions: writes down what is asked, has people told when it is time, and says how it ended.
//!
//! ```text
//!   open runs that are held ──changed──▶ rebuild ──▶ questions: new, edited, ended
//!   bucket `approvals` ──watch──▶ questions of all partitions      │
//!   the clock ──▶ what is due of ours ─────────────────────────────┴──▶ events, acknowledged ──▶ what was told is written down
//! ```
//!
//! A question is known from its run's state, and whether it was told from the bucket: so nothing depends on who looked before.
//! An event is told before it is written down that it was; whoever takes over in between tells it once more, under the same id.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kapelle_bus::approvals::{Approvals, News, Question, Used};
use kapelle_bus::{Bus, Error};
use kapelle_engine::{Held, Run};
use kapelle_telemetry::clock;
use kapelle_telemetry::metrics::{APPROVAL_AGE, APPROVALS_OPEN};
use kapelle_types::{Code, Diagnosis, RunId, StepRef, Timestamp};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::ending::{Ending, ending};
use super::notice::{Notice, What, due, event};
use crate::listing::{Query, ROWS_MAX};
use crate::partitions::Served;
use crate::plans::PlanStore;
use crate::runs::{Rebuilt, RunRow, rebuild};

/// How often open runs and the clock are looked at: how late a notice is at most, while all is well.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Runs that one look rebuilds: thousands may be held at once, and the broker reads for running work too.
const LOOKED_AT_MAX: usize = 64;
/// Questions of one run that people are told of: a fan-out may ask ten thousand, and who was told of a hundred knows to look.
const TOLD_PER_RUN_MAX: usize = 100;

/// Whoever looks after questions.
pub(crate) struct Watcher {
    pub(crate) bus: Bus,
    pub(crate) store: Approvals,
    pub(crate) plans: Arc<PlanStore>,
    pub(crate) served: Served,
}

/// What is known, by one watch of the bucket.
#[derive(Default)]
struct Known {
    questions: HashMap<(RunId, StepRef), Question>,
    /// When something last happened to the runs that were looked at.
    looked: HashMap<RunId, Timestamp>,
}

/// A question as it is written down, of which nobody was told yet.
pub(crate) fn question(run: &Run, held: &Held<'_>) -> Question {
    let approval = held.approval;
    Question {
        run: run.id(),
        step: held.step.clone(),
        workflow: run.plan().workflow.clone(),
        title: approval.title.clone(),
        groups: approval.groups.clone(),
        digest: held.digest.to_string(),
        asked_at: held.asked_at,
        expires: held.expires,
        remind: approval.remind.iter().map(|after| held.asked_at.plus(*after)).collect(),
        escalate: approval.escalate.iter().map(|it| (held.asked_at.plus(it.after), it.to.clone())).collect(),
        told: 0,
    }
}

impl Watcher {
    /// Looks after them until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.store.watch().await {
                Ok(news) => self.follow(news, &stop).await,
                Err(error) => tracing::debug!(%error, "the questions cannot be watched right now"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Follows one watch until it ends.
    async fn follow(&self, mut news: mpsc::Receiver<News>, stop: &CancellationToken) {
        let (mut known, mut looks) = (Known::default(), interval(LOOK_EVERY));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                change = news.recv() => match change {
                    Some(News::Asked(question)) => known.learn(*question),
                    Some(News::Settled(run, step)) => drop(known.questions.remove(&(run, step))),
                    None => return,
                },
                _ = looks.tick() => {
                    if let Err(error) = self.look(&mut known).await {
                        tracing::debug!(%error, "approvals are looked at again in a second");
                    }
                    self.observe(&known);
                }
            }
        }
    }

    /// One look at everything that is ours.
    async fn look(&self, known: &mut Known) -> Result<(), Error> {
        let rows = self.held().await;
        known.looked.retain(|run, _| rows.contains_key(run));
        let changed = rows.iter().filter(|(run, row)| known.looked.get(run) != Some(&row.last_progress));
        // Whose state nobody has seen since a take-over is seen by the reconciler within a minute.
        let changed = changed.filter(|(_, row)| row.workflow.is_some()).map(|(run, row)| (*run, row.last_progress));
        for (run, at) in changed.take(LOOKED_AT_MAX).collect::<Vec<_>>() {
            self.follow_run(known, run).await?;
            known.looked.insert(run, at);
        }
        let over = known.questions.keys().filter(|(run, _)| self.is_ours(*run) && !rows.contains_key(run));
        let mut over: Vec<RunId> = over.map(|(run, _)| *run).collect();
        over.sort_unstable();
        over.dedup();
        for run in over.into_iter().take(LOOKED_AT_MAX) {
            self.follow_run(known, run).await?;
        }
        let now = clock::now();
        let ours: Vec<Question> = known.questions.values().filter(|it| self.is_ours(it.run)).cloned().collect();
        for question in ours.into_iter().filter(|it| now < it.expires) {
            self.tell_due(known, question, now).await?;
        }
        Ok(())
    }

    /// The open runs of our partitions in which something may wait for people.
    async fn held(&self) -> HashMap<RunId, RunRow> {
        let mut rows = HashMap::new();
        let mut query = Query { held: true, limit: ROWS_MAX, ..Query::default() };
        loop {
            let answer = self.served.list(&query).await;
            let Some(last) = answer.rows.last() else { return rows };
            query.after = Some((last.submitted_at, last.run));
            let full = answer.rows.len() == ROWS_MAX;
            // A listing keeps runs of which it knows nothing but that they ended.
            rows.extend(answer.rows.into_iter().filter(|row| row.held).map(|row| (row.run, row)));
            if !full {
                return rows;
            }
        }
    }

    /// Compares what is known of a run with what its log says.
    async fn follow_run(&self, known: &mut Known, id: RunId) -> Result<(), Error> {
        let rebuilt = match rebuild(&self.bus, &self.plans, id).await {
            Ok(rebuilt) => rebuilt,
            Err(unknown) if unknown.code == Code::UNKNOWN_RUN => return self.forget(known, id).await,
            Err(error) => return Err(unavailable(&error)),
        };
        for old in known.of(id) {
            if rebuilt.run.asked_at(&old.step) != Some(old.asked_at) {
                self.settle(known, old, &rebuilt).await?;
            }
        }
        for held in rebuilt.run.held().take(TOLD_PER_RUN_MAX) {
            let now = question(&rebuilt.run, &held);
            match known.questions.get(&(id, held.step.clone())) {
                None => self.write(known, now).await?,
                Some(old) if old.digest != now.digest => {
                    let changed = Question { told: old.told, ..now };
                    let groups = super::notice::groups_at(&changed, clock::now());
                    let at = rebuilt.run.last_progress();
                    self.tell(&changed, &Notice { what: What::Changed, at, groups }).await?;
                    self.write(known, changed).await?;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Tells how a question ended, and lets it go.
    async fn settle(&self, known: &mut Known, question: Question, rebuilt: &Rebuilt) -> Result<(), Error> {
        if let Some((ending, at)) = ending(rebuilt, &question.step, question.asked_at) {
            if question.told == 0 {
                self.tell(&question, &super::notice::timeline(&question).swap_remove(0)).await?;
            }
            if let Ending::Approved { agreed, .. } = ending {
                let used = Used { run: question.run, step: question.step.clone(), agreed, at };
                self.store.keep_used(&question.workflow.name, &used).await?;
            }
            let groups = super::notice::groups_at(&question, at);
            self.tell(&question, &Notice { what: What::Ended(ending), at, groups }).await?;
        }
        self.store.settle(question.run, &question.step).await?;
        known.questions.remove(&(question.run, question.step));
        Ok(())
    }

    async fn tell_due(&self, known: &mut Known, question: Question, now: Timestamp) -> Result<(), Error> {
        let (notices, told) = due(&question, now);
        if told == question.told {
            return Ok(());
        }
        for notice in &notices {
            self.tell(&question, notice).await?;
        }
        self.write(known, Question { told, ..question }).await
    }

    /// Publishes a notice. It is stored when this returns.
    async fn tell(&self, question: &Question, notice: &Notice) -> Result<(), Error> {
        let (kind, headers, body) = event(question, notice);
        self.bus.publish_event(&kind, headers, body).await?.await.map(drop)
    }

    async fn write(&self, known: &mut Known, question: Question) -> Result<(), Error> {
        self.store.ask(&question).await?;
        known.learn(question);
        Ok(())
    }

    /// A run of which there is no log any more: nobody can be told how it ended.
    async fn forget(&self, known: &mut Known, id: RunId) -> Result<(), Error> {
        for question in known.of(id) {
            self.store.settle(id, &question.step).await?;
            known.questions.remove(&(id, question.step));
        }
        Ok(())
    }

    fn is_ours(&self, run: RunId) -> bool {
        self.served.serves(self.bus.partitions().of(&run))
    }

    #[allow(clippy::cast_precision_loss)] // a count far below 2^52
    fn observe(&self, known: &Known) {
        let ours = || known.questions.values().filter(|it| self.is_ours(it.run));
        let oldest = ours().map(|it| it.asked_at).min();
        APPROVALS_OPEN.gauge(&[]).set(ours().count() as f64);
        APPROVAL_AGE.gauge(&[]).set(oldest.map_or(0.0, |at| clock::now().since(at).as_secs_f64()));
    }
}

impl Known {
    /// What the bucket says may be older than what was just written here.
    fn learn(&mut self, question: Question) {
        let key = (question.run, question.step.clone());
        let newer = |it: &Question| (it.asked_at, it.told) > (question.asked_at, question.told);
        if !self.questions.get(&key).is_some_and(newer) {
            self.questions.insert(key, question);
        }
    }

    fn of(&self, run: RunId) -> Vec<Question> {
        self.questions.values().filter(|it| it.run == run).cloned().collect()
    }
}

fn unavailable(diagnosis: &Diagnosis) -> Error {
    Error::Unavailable(diagnosis.to_string())
}
