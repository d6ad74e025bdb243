//! Clients and what the broker writes by itself: submissions, requests, timers that go off, garbage.

use kapelle_engine::{Body, Channel, Entry, FailureKind, RunStatus, SignalReceived, TimerId};
use kapelle_types::{Principal, RunId, StepRef, TaskId, Timestamp};

use super::agents::{failed, succeeded};
use super::event::{Care, Event, Message, Publish, Sender};
use super::log::Kept;
use super::plans::run_id;
use super::wire::describe;
use super::world::World;

/// How late a timer goes off at most, in ms.
const TIMER_LATE_MS: u64 = 300;
/// How early one may go off and still count, less a margin, in ms.
const TIMER_EARLY_MS: u64 = 200;

impl World {
    /// A client submits its job, some of them twice at once.
    pub(crate) fn submit(&mut self, job: usize) {
        let job = &self.jobs.all[job];
        let (run, keyed) = (job.id, job.keyed);
        let entries = vec![entry(run.to_string(), job.submission())];
        let times = if keyed && self.dice.hit(300) { 2 } else { 1 };
        for _ in 0..times {
            let message = Message::Record {
                channel: Channel::Control,
                entries: entries.clone(),
                reported: Vec::new(),
                only_first: true,
            };
            self.send(Publish { sender: Sender::Submitter(run), run, message });
        }
    }

    /// A client asks for something, of a run in any state.
    pub(crate) fn steer(&mut self) {
        let runs: Vec<_> = self.oracle.runs().map(|run| run.id()).collect();
        if runs.is_empty() {
            return;
        }
        let run = *self.dice.pick(&runs);
        let reason = String::new;
        let body = match self.dice.below(24) {
            0..4 => Body::PauseRequested { reason: reason() },
            4..8 => Body::ResumeRequested,
            8..11 => Body::RetryRequested { steps: self.some_steps(run) },
            11 => Body::FailRequested { reason: reason() },
            12 => Body::CancelRequested { reason: reason() },
            18.. => return self.decide(),
            14.. => signal(if self.dice.hit(500) { "go" } else { "stop" }),
            _ => Body::TerminateRequested { reason: reason() },
        };
        self.ask(run, body);
    }

    pub(crate) fn ask(&mut self, run: RunId, body: Body) {
        let entries = vec![entry(format!("request-{}", self.dice.below(u64::MAX)), body)];
        let message = Message::Record { channel: Channel::Control, entries, reported: Vec::new(), only_first: false };
        self.send(Publish { sender: Sender::Steerer, run, message });
    }

    /// All steps that gave up, or one step, stuck or not.
    fn some_steps(&mut self, run: RunId) -> Vec<StepRef> {
        let Some(job) = self.jobs.get(run) else { return Vec::new() };
        let steps: Vec<_> = job.plan.steps.iter().map(|s| s.id.clone()).collect();
        if self.dice.hit(600) { Vec::new() } else { vec![StepRef::whole(self.dice.pick(&steps).clone())] }
    }

    /// In quiet times, people look after what waits for them.
    pub(crate) fn care(&mut self, care: Care) {
        let waits = |status: RunStatus| match care {
            Care::Resume => status != RunStatus::Stalled,
            Care::Retry | Care::Fail => status == RunStatus::Stalled,
        };
        let open = self.oracle.runs().filter(|run| !run.is_finished() && waits(run.status()));
        let runs: Vec<_> = open.map(|run| run.id()).collect();
        self.signal_who_waits();
        self.agree_to_all();
        for run in runs {
            let body = match care {
                Care::Resume => Body::ResumeRequested,
                Care::Retry => Body::RetryRequested { steps: Vec::new() },
                Care::Fail => Body::FailRequested { reason: "enough".into() },
            };
            self.ask(run, body);
        }
    }

    /// Whoever waits for a signal gets it.
    fn signal_who_waits(&mut self) {
        let waits =
            |run: &kapelle_engine::Run| run.awaited_signals().map(|name| (run.id(), name.to_string())).collect();
        let waiting: Vec<Vec<(RunId, String)>> = self.oracle.runs().map(waits).collect();
        for (run, name) in waiting.into_iter().flatten() {
            self.ask(run, signal(&name));
        }
    }

    /// Sets a timer. It may be lost, or go off early or late.
    pub(crate) fn start_timer(&mut self, run: RunId, timer: TimerId, due: Timestamp) {
        let due_ms = u64::try_from(due.millis()).unwrap_or(0);
        let setting = self.log.set_timer(run, timer.clone(), due_ms);
        if self.dice.hit(self.faults.timer_lost) {
            self.note(|| format!("broker: timer {timer} will be lost"));
            return;
        }
        let wait = due_ms.saturating_sub(self.now);
        let early = if self.dice.hit(self.faults.timer_early) { self.dice.between(0, TIMER_EARLY_MS * 3) } else { 0 };
        let late = self.dice.between(0, TIMER_LATE_MS);
        let wait = if early > 0 { wait.saturating_sub(early) } else { wait + late };
        self.after(wait, Event::Fire { run, timer, setting });
    }

    pub(crate) fn fire(&mut self, run: RunId, timer: TimerId, setting: u64) {
        if self.log.take_timer(run, &timer, setting) {
            self.append_control(run, String::new(), Body::TimerFired { timer }, false);
        }
    }

    /// Writes one entry on a run's control subject.
    pub(crate) fn append_control(&mut self, run: RunId, id: String, body: Body, newer: bool) {
        self.append(run, Channel::Control, vec![entry(id, body)], newer);
    }

    /// Writes reports on a run.
    pub(crate) fn append_report(&mut self, run: RunId, entries: Vec<Entry>) {
        self.append(run, Channel::Report, entries, false);
    }

    /// The log takes a record: it is judged, and readers hear of it.
    pub(crate) fn append(&mut self, run: RunId, channel: Channel, entries: Vec<Entry>, newer: bool) {
        let clock = self.clock();
        let stored = self.log.append(run, channel, entries, clock, newer);
        let Some(record) = stored.record().cloned() else { return };
        self.note(|| {
            let told: Vec<_> = record.entries.iter().map(|e| describe(&e.body)).collect();
            format!("log {}: {} {}", record.stamp.seq, &run.to_string()[..8], told.join(", "))
        });
        self.judge(run, &record);
        self.wake_readers();
    }

    /// Something that is no run's, that no worker may say, or that is no entry at all.
    pub(crate) fn garbage(&mut self) {
        let runs: Vec<_> = self.oracle.runs().map(|run| run.id()).collect();
        // No run's, or that of a job which will be submitted yet.
        let early = self.jobs.all.iter().find(|job| self.oracle.get(job.id).is_none()).map(|job| job.id);
        let stranger = run_id(self.seed, 1_000 + self.dice.below(2));
        let stranger = early.filter(|_| self.dice.hit(500)).unwrap_or(stranger);
        match self.dice.below(7) {
            0 => self.append_control(stranger, String::new(), Body::ResumeRequested, false),
            5 => self.early_report(stranger),
            6 if !runs.is_empty() => {
                let run = *self.dice.pick(&runs);
                self.forged_report(run);
            }
            1 if !runs.is_empty() => {
                let run = *self.dice.pick(&runs);
                self.bogus_report(run);
            }
            2 if !runs.is_empty() => {
                let run = *self.dice.pick(&runs);
                self.log.store(run, Kept::Garbage("not_protobuf"));
                self.wake_readers();
            }
            3 if self.owners.some_are_old && !runs.is_empty() => {
                let run = *self.dice.pick(&runs);
                self.append_control(run, String::new(), Body::ResumeRequested, true);
            }
            _ => {
                self.log.store(stranger, Kept::Garbage("not_protobuf"));
                self.wake_readers();
            }
        }
    }

    /// A report on a run that is not there.
    fn early_report(&mut self, run: RunId) {
        let step = StepRef::whole(self.jobs.all[0].plan.steps[0].id.clone());
        let body = succeeded(run, &TaskId { step, attempt: 1 }, "bogus".into());
        self.append_report(run, vec![entry(String::new(), body)]);
    }

    /// An outcome of an attempt that may well be under way, from somebody who has the token of another run's.
    fn forged_report(&mut self, run: RunId) {
        let Some(job) = self.jobs.get(run) else { return };
        let steps: Vec<_> = job.plan.steps.iter().map(|s| (s.id.clone(), s.foreach.is_some())).collect();
        let (step, foreach) = self.dice.pick(&steps).clone();
        let item = foreach.then(|| u32::try_from(self.dice.below(3)).unwrap_or(0));
        let task = TaskId { step: StepRef { step, item }, attempt: 1 };
        let elsewhere = run_id(self.seed, 1_000);
        let body = if self.dice.hit(500) {
            succeeded(elsewhere, &task, "forged".into())
        } else {
            failed(elsewhere, &task, FailureKind::LeaseLost, true, None)
        };
        self.append_report(run, vec![entry(String::new(), body)]);
    }

    /// A success of an attempt that was never dispatched, or on the wrong subject.
    fn bogus_report(&mut self, run: RunId) {
        let Some(job) = self.jobs.get(run) else { return };
        let steps: Vec<_> = job.plan.steps.iter().map(|s| (s.id.clone(), s.foreach.is_some())).collect();
        let (step, foreach) = self.dice.pick(&steps).clone();
        let step = StepRef { step, item: foreach.then(|| u32::try_from(self.dice.below(3)).unwrap_or(0)) };
        let task = self.oracle.never_dispatched(run, step, u32::try_from(self.dice.between(1, 2)).unwrap_or(1));
        let body = succeeded(run, &task, "bogus".into());
        if self.dice.hit(300) {
            self.append_control(run, String::new(), body, false);
        } else {
            self.append_report(run, vec![entry(String::new(), body)]);
        }
    }
}

/// An entry of somebody.
pub(crate) fn entry(id: String, body: Body) -> Entry {
    Entry { id, principal: Principal("simulation".into()), traceparent: None, body }
}

/// What every signal says.
#[must_use]
pub fn signalled() -> serde_json::Value {
    serde_json::json!({"n": 5, "list": [1, 2]})
}

fn signal(name: &str) -> Body {
    let payload = signalled().into();
    #[allow(clippy::expect_used, reason = "the simulation's own names are names")]
    let name = name.parse().expect("a name of a signal");
    Body::SignalReceived(SignalReceived { name, payload })
}
