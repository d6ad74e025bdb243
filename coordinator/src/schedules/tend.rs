//! One turn of one schedule: what is open, what follows, and what became of it.

use std::sync::Arc;

use kapelle_bus::Refusal;
use kapelle_bus::schedules::{Record, Seen};
use kapelle_engine::{Body, Channel, Entry, RunStatus};
use kapelle_proto::{decode_record, encode_record};
use kapelle_schedule::{Ledger, Outcome, Overlap, Pause, Started, Time};
use kapelle_telemetry::clock;
use kapelle_telemetry::metrics::{SCHEDULE_LATENESS, SCHEDULE_TIMES};
use kapelle_types::{Caller, Code, Diagnosis, Principal, RunId, ScheduleName, Timestamp, limits};

use super::{Held, LOOK_EVERY, Scheduler};
use crate::identity::spelled;
use crate::runs::rebuild;
use crate::submit::{Job, SCHEDULED};

/// What a scheduled run does to the API: it is judged as if whoever applied the schedule submitted it.
const SUBMIT: &str = "kapelle.v1.RunService/Submit";
/// The label of a run that names its schedule.
pub(crate) const LABEL: &str = "schedule";
/// The label of a run that says for which time it is.
const LABEL_TIME: &str = "scheduled_for";
/// Who ends and pauses what nobody is asked about.
const SCHEDULER: &str = "coordinator:scheduler";

impl Scheduler {
    /// Tends one schedule, and says when it has to be looked at again if nothing was written.
    pub(super) async fn tend(&self, held: Arc<Held>) -> (ScheduleName, Option<Timestamp>) {
        let again = match self.turn(&held).await {
            Ok(true) => None,
            Ok(false) => {
                let soon = clock::now().plus(LOOK_EVERY);
                let next = held.schedule.rules.next(&held.record.ledger).map(|(_, due)| due);
                Some(next.filter(|next| *next > clock::now()).map_or(soon, |next| next.min(soon)))
            }
            Err(diagnosis) => {
                tracing::debug!(schedule = %held.name, %diagnosis, "a schedule is tended again in a second");
                Some(clock::now().plus(LOOK_EVERY))
            }
        };
        (held.name.clone(), again)
    }

    /// Whether there was anything to write. Nothing is written of a turn that fails: it is taken again.
    async fn turn(&self, held: &Held) -> Result<bool, Diagnosis> {
        let mut ledger = held.record.ledger.clone();
        self.look(held, &mut ledger).await?;
        let turn = held.schedule.rules.turn(&mut ledger, clock::now());
        for run in &turn.end {
            self.end(held, *run).await?;
        }
        for time in &turn.start {
            let outcome = self.outcome(held, *time).await?;
            ledger.decided(time.at(), clock::now(), outcome);
        }
        if ledger == held.record.ledger {
            return Ok(false);
        }
        let Record { manifest, applied_by, applied_at, created_at, ledger: before } = &held.record;
        let (manifest, applied_by) = (manifest.clone(), applied_by.clone());
        let record = Record { manifest, applied_by, applied_at: *applied_at, created_at: *created_at, ledger };
        let unavailable = |e: kapelle_bus::Error| Diagnosis::new(Code::BROKER_UNAVAILABLE, e.to_string());
        match self.store.update(&held.name, &record, held.revision).await {
            Ok(revision) => {
                count(before, &record.ledger);
                self.learn(held.name.clone(), Some(Seen { record, revision }));
                Ok(true)
            }
            // Somebody else wrote; the watch brings what.
            Err(error) if error.refusal() == Some(Refusal::NotFirst) => Ok(false),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Takes out of the ledger the runs that have ended.
    async fn look(&self, held: &Held, ledger: &mut Ledger) -> Result<(), Diagnosis> {
        let mut open = Vec::with_capacity(ledger.open.len());
        for started in std::mem::take(&mut ledger.open) {
            match self.ended(started.run).await? {
                None => open.push(started),
                Some(status) if held.schedule.pause_on_failure && failed(status) && ledger.pause.is_none() => {
                    let Started { run, .. } = started;
                    let note = format!("run {run} ended {}", status.name());
                    ledger.pause = Some(Pause { by: Principal(SCHEDULER.into()), at: clock::now(), note });
                }
                Some(_) => {}
            }
        }
        ledger.open = open;
        Ok(())
    }

    /// How a run ended; `None` while it is open.
    async fn ended(&self, run: RunId) -> Result<Option<RunStatus>, Diagnosis> {
        let unavailable = |e: kapelle_bus::Error| Diagnosis::new(Code::BROKER_UNAVAILABLE, e.to_string());
        let last = self.bus.last_control(run).await.map_err(unavailable)?;
        let last = last.and_then(|raw| decode_record(raw.channel, raw.stamp, &raw.payload).ok());
        match last.as_ref().and_then(|record| record.entries.last()).map(|entry| &entry.body) {
            Some(Body::RunFinished(finished)) => Ok(Some(finished.status)),
            // Nothing but reports of workers since: it is open, or about to end.
            Some(Body::RunSubmitted(_)) => Ok(None),
            _ => match rebuild(&self.bus, &self.plans, run).await {
                Ok(rebuilt) if rebuilt.run.is_finished() => Ok(Some(rebuilt.run.status())),
                Ok(_) => Ok(None),
                Err(unknown) if unknown.code == Code::UNKNOWN_RUN => Ok(Some(RunStatus::Terminated)),
                Err(error) => Err(error),
            },
        }
    }

    /// Asks a run to end, as the overlap policy wants it.
    async fn end(&self, held: &Held, run: RunId) -> Result<(), Diagnosis> {
        let reason = format!("the next time of schedule {} is due", held.name);
        let body = match held.schedule.rules.overlap {
            Overlap::TerminateOther => Body::TerminateRequested { reason },
            _ => Body::CancelRequested { reason },
        };
        let principal = held.record.applied_by.principal.clone();
        // The same entry, however often it is written.
        let entry =
            Entry { id: format!("schedule/{}/{}", held.name, held.revision), principal, traceparent: None, body };
        let appended = self.bus.append_now(run, Channel::Control, encode_record(&[entry])).await;
        appended.map(drop).map_err(|e| Diagnosis::new(Code::NOT_RECORDED, e.to_string()))
    }

    /// What becomes of a time.
    ///
    /// # Errors
    /// It cannot be said for now.
    async fn outcome(&self, held: &Held, time: Time) -> Result<Outcome, Diagnosis> {
        match self.start(held, time).await {
            Ok(run) => {
                if let Time::Scheduled(at) = time {
                    let due = held.schedule.rules.times.due(held.name.as_str(), at);
                    SCHEDULE_LATENESS.histogram(&[]).record(clock::now().since(due).as_secs_f64());
                }
                Ok(Outcome::Started { run })
            }
            Err(diagnosis) if passes(&diagnosis) => Err(diagnosis),
            Err(diagnosis) => {
                tracing::warn!(schedule = %held.name, time = %time.at(), %diagnosis, "a schedule cannot start its run");
                Ok(Outcome::Failed { why: diagnosis.to_string() })
            }
        }
    }

    /// Starts the run of a time, or finds it.
    async fn start(&self, held: &Held, time: Time) -> Result<RunId, Diagnosis> {
        let (schedule, record) = (&held.schedule, &held.record);
        let caller = self.acting(&record.applied_by)?;
        self.access.call(&caller, SUBMIT)?;
        let key = key(&held.name, record.created_at, time);
        let labels = [(LABEL, held.name.to_string()), (LABEL_TIME, time.at().rfc3339())];
        let job = Job {
            workflow: schedule.workflow.to_string(),
            version: schedule.versions.clone(),
            input: schedule.input.to_string().into(),
            key: Some(key.clone()),
            scheduled: true,
            labels: labels.map(|(name, value)| (name.to_owned(), value)).into(),
            person: caller.person.as_deref().or(Some(caller.principal.0.as_str())).map(spelled),
            principal: caller.principal.clone(),
            namespace: self.namespace.clone(),
            ..Job::default()
        };
        match self.submitter.submit(job).await {
            Ok(submitted) => Ok(submitted.run),
            // Started before its input was changed: a time is one run.
            Err(error) if error.code == Code::KEY_INVALID => {
                Ok(RunId::keyed(self.namespace.as_str(), &schedule.workflow, &key))
            }
            Err(error) => Err(error),
        }
    }

    /// Whoever applied the schedule, with what they may be now. A token's roles are those of the tokens of its name that are
    /// good now; of other identities, what they were when they applied it.
    fn acting(&self, applied_by: &Caller) -> Result<Caller, Diagnosis> {
        if !applied_by.principal.0.starts_with("token:") {
            return Ok(applied_by.clone());
        }
        self.tokens.holder(applied_by, clock::now())
    }
}

/// The key that makes a time one run.
fn key(name: &ScheduleName, created_at: Timestamp, time: Time) -> String {
    let kind = match time {
        Time::Scheduled(_) => "",
        Time::Triggered(_) => "triggered/",
    };
    let key = format!("{SCHEDULED}{name}/{}/{kind}{}", created_at.millis(), time.at().nanos());
    debug_assert!(key.len() <= limits::KEY_CHARS_MAX);
    key
}

fn failed(status: RunStatus) -> bool {
    matches!(status, RunStatus::Failed | RunStatus::TimedOut)
}

/// Whether it may go well later.
fn passes(diagnosis: &Diagnosis) -> bool {
    matches!(
        diagnosis.code,
        Code::ADMISSION
            | Code::NOT_RECORDED
            | Code::BROKER_UNAVAILABLE
            | Code::POLICIES_UNAVAILABLE
            | Code::IDENTITY_UNAVAILABLE
    )
}

fn count(before: &Ledger, after: &Ledger) {
    let outcomes = [
        ("started", after.started - before.started),
        ("skipped", after.skipped - before.skipped),
        ("missed", after.missed - before.missed),
        ("failed", after.failed - before.failed),
    ];
    for (outcome, times) in outcomes.into_iter().filter(|(_, times)| *times > 0) {
        SCHEDULE_TIMES.counter(&[outcome]).increment(times);
    }
}
