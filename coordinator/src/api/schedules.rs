//! `ScheduleService`: schedules are checked, written over what was seen of them, and left to whoever tends them.

use std::sync::Arc;

use kapelle_bus::Refusal;
use kapelle_bus::schedules::{Record, Seen};
use kapelle_manifest::Schedule;
use kapelle_proto::v1::{self, schedule_service_server::ScheduleService};
use kapelle_schedule::{Ledger, Outcome, Pause, Time, WAITING_MAX};
use kapelle_telemetry::clock;
use kapelle_types::{AuditWhat, Caller, Code, Diagnosis, ScheduleName, Timestamp, limits};
use tonic::{Request, Response, Status};

use super::Context;
use super::status::{caller, status};
use crate::access::Act;
use crate::schedules::Held;

/// Times that a schedule is shown with.
const NEXT_SHOWN: usize = 5;
/// How often a change is tried again that somebody else's came before: the schedule itself writes whenever it is due.
const TRIES_MAX: usize = 10;

macro_rules! rpc {
    ($method:literal) => {
        concat!("kapelle.v1.ScheduleService/", $method)
    };
}

pub(super) struct SchedulesApi {
    context: Arc<Context>,
}

impl SchedulesApi {
    pub(super) const fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    async fn seen(&self, name: &ScheduleName) -> Result<Seen, Diagnosis> {
        let seen = self.context.schedules.get(name).await.map_err(|e| unavailable(&e))?;
        seen.ok_or_else(|| {
            Diagnosis::new(Code::UNKNOWN_SCHEDULE, format!("there is no schedule {name}"))
                .hint("`kapelle schedule list` shows those that there are")
        })
    }

    /// Changes a schedule's ledger, whoever writes at the same time.
    async fn change(
        &self,
        name: &ScheduleName,
        change: impl Fn(&Schedule, &mut Ledger) -> Result<(), Diagnosis>,
    ) -> Result<Seen, Diagnosis> {
        for _ in 0..TRIES_MAX {
            let Seen { mut record, revision } = self.seen(name).await?;
            let schedule = read(&record.manifest)?;
            change(&schedule, &mut record.ledger)?;
            match self.context.schedules.update(name, &record, revision).await {
                Ok(revision) => return Ok(Seen { record, revision }),
                Err(error) if error.refusal() == Some(Refusal::NotFirst) => {}
                Err(error) => return Err(unavailable(&error)),
            }
        }
        Err(changed(name))
    }

    async fn act(
        &self,
        caller: &Caller,
        verb: &'static str,
        rpc: &str,
        name: &ScheduleName,
        reason: &str,
    ) -> Result<(), Diagnosis> {
        if reason.chars().count() > limits::REASON_CHARS_MAX {
            let message = format!("a note has {} characters at most", limits::REASON_CHARS_MAX);
            return Err(Diagnosis::new(Code::REQUEST_INVALID, message));
        }
        let what = AuditWhat { kind: "schedule".into(), name: name.to_string(), ..AuditWhat::default() };
        self.context.access.act(caller, Act { verb, rpc, owner: None, what, reason: reason.to_owned() }).await
    }

    /// Whether its workflow is there and takes its input.
    async fn check(&self, schedule: &Schedule) -> Result<(), Diagnosis> {
        let resolved = self.context.catalog.resolve(schedule.workflow.as_str(), &schedule.versions, None).await?;
        resolved.check_input(&schedule.input, false)
    }

    async fn apply_one(
        &self,
        caller: &Caller,
        request: v1::ApplyScheduleRequest,
    ) -> Result<v1::ApplyScheduleResponse, Diagnosis> {
        if request.json.len() > limits::MANIFEST_BYTES_MAX {
            return Err(Diagnosis::new(Code::MANIFEST_BOUND, "the manifest is too large"));
        }
        let document =
            serde_json::from_slice(&request.json).map_err(|e| Diagnosis::new(Code::MANIFEST_SYNTAX, e.to_string()))?;
        let schedule = read(&document)?;
        self.check(&schedule).await?;
        let store = &self.context.schedules;
        let there = store.get(&schedule.name).await.map_err(|e| unavailable(&e))?;
        let outcome = match &there {
            None => "created",
            Some(seen) if seen.record.manifest == document && seen.record.applied_by == *caller => "unchanged",
            Some(_) => "changed",
        };
        if there.is_none() && self.context.known_schedules.len() >= limits::SCHEDULES_MAX {
            let message = format!("there are {} schedules already", limits::SCHEDULES_MAX);
            return Err(Diagnosis::new(Code::SCHEDULES_FULL, message).hint("delete those that nobody needs"));
        }
        let now = clock::now();
        let record = match there.clone() {
            Some(seen) => {
                let mut ledger = seen.record.ledger;
                // New times begin now: those that would have been before were never announced. Those that were are run.
                match read(&seen.record.manifest) {
                    Ok(before) if before.rules.times == schedule.rules.times => {}
                    Ok(before) => before.rules.leave_off(&mut ledger, now),
                    Err(_) => ledger.decided_to = ledger.decided_to.max(now),
                }
                let (created_at, applied_by) = (seen.record.created_at, caller.clone());
                Record { manifest: document, applied_by, applied_at: now, created_at, ledger }
            }
            None => Record {
                manifest: document,
                applied_by: caller.clone(),
                applied_at: now,
                created_at: now,
                ledger: Ledger::new(now),
            },
        };
        if !request.dry_run && outcome != "unchanged" {
            self.act(caller, "schedule-apply", rpc!("Apply"), &schedule.name, "").await?;
            let written = match &there {
                Some(seen) => store.update(&schedule.name, &record, seen.revision).await,
                None => store.create(&schedule.name, &record).await,
            };
            written.map_err(|e| not_written(&schedule.name, &e))?;
        }
        let view = self.view(caller, &schedule, &record);
        Ok(v1::ApplyScheduleResponse { outcome: outcome.to_owned(), schedule: Some(view) })
    }

    fn view(&self, caller: &Caller, schedule: &Schedule, record: &Record) -> v1::ScheduleView {
        let sees = self.context.access.sees(caller, Some(&record.applied_by.principal));
        let mut manifest = record.manifest.clone();
        if !sees && let Some(spec) = manifest.get_mut("spec").and_then(|spec| spec.as_object_mut()) {
            spec.remove("input");
        }
        let (ledger, times) = (&record.ledger, &schedule.rules.times);
        let next = std::iter::successors(times.next_after(clock::now()), |time| times.next_after(*time));
        let shown = |at: Timestamp| v1::ScheduleTime { at_unix_nanos: at.nanos(), shown: times.zone().shown(at) };
        v1::ScheduleView {
            name: schedule.name.to_string(),
            workflow: schedule.wanted(),
            json: serde_json::to_vec(&manifest).unwrap_or_default().into(),
            applied_by: record.applied_by.principal.to_string(),
            applied_at_unix_nanos: record.applied_at.nanos(),
            pause: ledger.pause.as_ref().map(|pause| v1::SchedulePause {
                by: pause.by.to_string(),
                at_unix_nanos: pause.at.nanos(),
                note: pause.note.clone(),
            }),
            next: if ledger.pause.is_some() { Vec::new() } else { next.take(NEXT_SHOWN).map(shown).collect() },
            open_runs: ledger.open.iter().map(|it| it.run.to_string()).collect(),
            waiting: u32::try_from(ledger.waiting.len()).unwrap_or(u32::MAX),
            started: ledger.started,
            skipped: ledger.skipped,
            missed: ledger.missed,
            failed: ledger.failed,
            recent: ledger.recent.iter().map(firing).collect(),
        }
    }

    fn answer(&self, caller: &Caller, seen: &Seen) -> Result<Response<v1::ScheduleView>, Status> {
        let schedule = read(&seen.record.manifest).map_err(|e| status(&e))?;
        Ok(Response::new(self.view(caller, &schedule, &seen.record)))
    }
}

fn firing(firing: &kapelle_schedule::Firing) -> v1::ScheduleFiring {
    let (outcome, run_id, why) = match &firing.outcome {
        Outcome::Started { run } => ("started", run.to_string(), String::new()),
        Outcome::Skipped { why } => ("skipped", String::new(), why.clone()),
        Outcome::Missed => ("missed", String::new(), String::new()),
        Outcome::Failed { why } => ("failed", String::new(), why.clone()),
    };
    v1::ScheduleFiring {
        time_unix_nanos: firing.time.nanos(),
        at_unix_nanos: firing.at.nanos(),
        outcome: outcome.to_owned(),
        run_id,
        why,
    }
}

fn read(document: &serde_json::Value) -> Result<Schedule, Diagnosis> {
    Schedule::read(document).map_err(|problems| match problems.first() {
        Some(first) => {
            let message = format!("Schedule, {}: {}", first.pointer, first.message);
            Diagnosis::new(first.code(), message).hint(first.hint.clone())
        }
        None => Diagnosis::new(Code::MANIFEST_SYNTAX, "it is no schedule"),
    })
}

fn named(text: &str) -> Result<ScheduleName, Status> {
    let invalid = |e: kapelle_types::InvalidName| status(&Diagnosis::new(Code::REQUEST_INVALID, e.to_string()));
    text.parse().map_err(invalid)
}

fn unavailable(error: &kapelle_bus::Error) -> Diagnosis {
    Diagnosis::new(Code::BROKER_UNAVAILABLE, error.to_string()).hint("the same command may be given again")
}

fn changed(name: &ScheduleName) -> Diagnosis {
    Diagnosis::new(Code::SCHEDULE_CHANGED, format!("schedule {name} was changed at the same time"))
        .hint("look at it with `kapelle schedule describe`, and decide again")
}

fn not_written(name: &ScheduleName, error: &kapelle_bus::Error) -> Diagnosis {
    match error.refusal() {
        Some(Refusal::NotFirst) => changed(name),
        _ => unavailable(error),
    }
}

/// The times of a stretch that can be asked for, its ends included.
fn stretch(schedule: &Schedule, from: i64, to: i64) -> Result<Vec<Time>, Diagnosis> {
    if from > to || to > clock::now().nanos() {
        let message = "a stretch to backfill begins before it ends, and ends now at the latest";
        return Err(Diagnosis::new(Code::REQUEST_INVALID, message));
    }
    let times = &schedule.rules.times;
    let before = Timestamp::from_nanos(from.saturating_sub(1));
    let all = std::iter::successors(times.next_after(before), |time| times.next_after(*time));
    let all: Vec<_> = all.take_while(|time| time.nanos() <= to).take(WAITING_MAX + 1).map(Time::Scheduled).collect();
    if all.len() > WAITING_MAX { Err(full()) } else { Ok(all) }
}

fn full() -> Diagnosis {
    Diagnosis::new(Code::SCHEDULES_FULL, format!("more than {WAITING_MAX} times would wait"))
        .hint("backfill a shorter stretch first, and go on when it has run")
}

#[tonic::async_trait]
impl ScheduleService for SchedulesApi {
    async fn apply(
        &self,
        request: Request<v1::ApplyScheduleRequest>,
    ) -> Result<Response<v1::ApplyScheduleResponse>, Status> {
        let caller = caller(&request)?;
        self.apply_one(&caller, request.into_inner()).await.map(Response::new).map_err(|e| status(&e))
    }

    async fn list(
        &self,
        request: Request<v1::ListSchedulesRequest>,
    ) -> Result<Response<v1::ListSchedulesResponse>, Status> {
        let caller = caller(&request)?;
        let all = self.context.known_schedules.all();
        let view = |held: &Arc<Held>| v1::ScheduleView {
            json: Default::default(),
            recent: Vec::new(),
            ..self.view(&caller, &held.schedule, &held.record)
        };
        Ok(Response::new(v1::ListSchedulesResponse { schedules: all.iter().map(view).collect() }))
    }

    async fn get(&self, request: Request<v1::GetScheduleRequest>) -> Result<Response<v1::ScheduleView>, Status> {
        let caller = caller(&request)?;
        let seen = self.seen(&named(&request.get_ref().name)?).await.map_err(|e| status(&e))?;
        self.answer(&caller, &seen)
    }

    async fn pause(&self, request: Request<v1::PauseScheduleRequest>) -> Result<Response<v1::ScheduleView>, Status> {
        let caller = caller(&request)?;
        let v1::PauseScheduleRequest { name, note } = request.into_inner();
        let name = named(&name)?;
        self.seen(&name).await.map_err(|e| status(&e))?;
        self.act(&caller, "schedule-pause", rpc!("Pause"), &name, &note).await.map_err(|e| status(&e))?;
        let pause = Pause { by: caller.principal.clone(), at: clock::now(), note };
        let seen = self.change(&name, |_, ledger| {
            ledger.pause = Some(pause.clone());
            Ok(())
        });
        self.answer(&caller, &seen.await.map_err(|e| status(&e))?)
    }

    async fn resume(&self, request: Request<v1::ResumeScheduleRequest>) -> Result<Response<v1::ScheduleView>, Status> {
        let caller = caller(&request)?;
        let name = named(&request.get_ref().name)?;
        self.seen(&name).await.map_err(|e| status(&e))?;
        self.act(&caller, "schedule-resume", rpc!("Resume"), &name, "").await.map_err(|e| status(&e))?;
        let now = clock::now();
        let seen = self.change(&name, |_, ledger| {
            if ledger.pause.take().is_some() {
                // What passed while it stood still was not meant to run.
                ledger.decided_to = ledger.decided_to.max(now);
            }
            Ok(())
        });
        self.answer(&caller, &seen.await.map_err(|e| status(&e))?)
    }

    async fn trigger(
        &self,
        request: Request<v1::TriggerScheduleRequest>,
    ) -> Result<Response<v1::ScheduleView>, Status> {
        let caller = caller(&request)?;
        let name = named(&request.get_ref().name)?;
        self.seen(&name).await.map_err(|e| status(&e))?;
        self.act(&caller, "schedule-trigger", rpc!("Trigger"), &name, "").await.map_err(|e| status(&e))?;
        let now = clock::now();
        let ask = |ledger: &mut Ledger| ledger.ask([Time::Triggered(now)]).then_some(()).ok_or_else(full);
        let seen = self.change(&name, |_, ledger| ask(ledger)).await.map_err(|e| status(&e))?;
        self.answer(&caller, &seen)
    }

    async fn backfill(
        &self,
        request: Request<v1::BackfillScheduleRequest>,
    ) -> Result<Response<v1::BackfillScheduleResponse>, Status> {
        let caller = caller(&request)?;
        let v1::BackfillScheduleRequest { name, from_unix_nanos, to_unix_nanos } = request.into_inner();
        let name = named(&name)?;
        let there = self.seen(&name).await.map_err(|e| status(&e))?;
        let schedule = read(&there.record.manifest).map_err(|e| status(&e))?;
        let times = stretch(&schedule, from_unix_nanos, to_unix_nanos).map_err(|e| status(&e))?;
        let reason = format!("{} times", times.len());
        self.act(&caller, "schedule-backfill", rpc!("Backfill"), &name, &reason).await.map_err(|e| status(&e))?;
        let ask = |ledger: &mut Ledger| ledger.ask(times.iter().copied()).then_some(()).ok_or_else(full);
        self.change(&name, |_, ledger| ask(ledger)).await.map_err(|e| status(&e))?;
        let times = u32::try_from(times.len()).unwrap_or(u32::MAX);
        Ok(Response::new(v1::BackfillScheduleResponse { times }))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteScheduleRequest>,
    ) -> Result<Response<v1::DeleteScheduleResponse>, Status> {
        let caller = caller(&request)?;
        let name = named(&request.get_ref().name)?;
        self.seen(&name).await.map_err(|e| status(&e))?;
        self.act(&caller, "schedule-delete", rpc!("Delete"), &name, "").await.map_err(|e| status(&e))?;
        for _ in 0..TRIES_MAX {
            let seen = self.seen(&name).await.map_err(|e| status(&e))?;
            match self.context.schedules.delete(&name, seen.revision).await {
                Ok(()) => return Ok(Response::new(v1::DeleteScheduleResponse {})),
                Err(error) if error.refusal() == Some(Refusal::NotFirst) => {}
                Err(error) => return Err(status(&unavailable(&error))),
            }
        }
        Err(status(&changed(&name)))
    }
}
