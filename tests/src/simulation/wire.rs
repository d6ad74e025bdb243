//! Messages on their way to the broker: lost, late, stored without anybody hearing of it, and sent again.

use kapelle_engine::{Body, Command};
use kapelle_types::RunId;

use super::agents::succeeded;
use super::client::entry;
use super::event::{Event, Message, Publish, Sender};
use super::oracle::Identity;
use super::world::World;

/// The longest that a slow message takes, in ms.
const SLOW_MS: u64 = 3_000;

impl World {
    /// Sends a message. It may never arrive.
    pub(crate) fn send(&mut self, publish: Publish) {
        let latency = self.latency();
        if self.dice.hit(self.faults.drop) {
            self.note(|| format!("lost on the way: {}", publish.describe()));
            let pause = self.dice.between(50, 2_000);
            return self.after(pause, Event::Resend(Box::new(publish)));
        }
        self.after(latency, Event::Arrive(Box::new(publish)));
    }

    fn latency(&mut self) -> u64 {
        if self.dice.hit(self.faults.slow) { self.dice.between(20, SLOW_MS) } else { self.dice.between(1, 15) }
    }

    /// Sends it again, if its sender still lives.
    pub(crate) fn resend(&mut self, publish: Publish) {
        let lives = match publish.sender {
            Sender::Owner(owner, _) => self.owners.is_alive(owner),
            Sender::Worker(worker) => self.worker_lives(worker),
            Sender::Submitter(_) | Sender::Steerer => true,
        };
        if lives {
            self.send(publish);
        }
    }

    /// A message reached the broker: it does what it says, and tells the sender, who may not hear it.
    pub(crate) fn arrive(&mut self, publish: Box<Publish>) {
        self.note(|| format!("broker: {}", publish.describe()));
        match &publish.message {
            Message::Command(command) => {
                if !self.perform(publish.run, command.clone()) {
                    let patience = self.dice.between(200, 2_500);
                    return self.after(patience, Event::Resend(publish));
                }
                self.performed.extend(Identity::of(command).map(|identity| (publish.run, identity)));
            }
            Message::Record { only_first: true, .. } if self.is_blocked(publish.run) => {
                // Something stands there that is no submission; the client is told so, and tries again.
                return self.after(500, Event::Resend(publish));
            }
            Message::Record { channel, entries, only_first, .. } => {
                // "Only if it is empty": a refusal says that the run exists, which is what the client wants to know.
                if !only_first || self.log.is_new(publish.run) {
                    self.append(publish.run, *channel, entries.clone(), false);
                }
            }
            Message::PurgeRun { through } => self.log.purge(publish.run, *through),
        }
        if self.dice.hit(self.faults.ack_lost) {
            let patience = self.dice.between(200, 2_500);
            return self.after(patience, Event::Resend(publish));
        }
        let latency = self.latency();
        self.after(latency, Event::Acked(publish));
    }

    fn is_blocked(&self, run: RunId) -> bool {
        !self.log.is_new(run) && self.oracle.get(run).is_none()
    }

    /// The sender hears that it is done.
    pub(crate) fn acked(&mut self, publish: Publish) {
        match publish.sender {
            Sender::Owner(owner, token) => self.performed_order(owner, token),
            Sender::Worker(worker) => self.report_stored(worker, publish.run, publish.message),
            Sender::Submitter(run) => self.oracle.acknowledged(run),
            Sender::Steerer => {}
        }
    }

    /// What the broker does with a command; false if only a part of it was done.
    fn perform(&mut self, run: RunId, command: Command) -> bool {
        match command {
            Command::DispatchTask(task) => {
                self.check_dispatch(run, &task);
                if let Some(seq) = self.tasks.queue(run, *task, self.now) {
                    self.offer_soon(seq);
                }
            }
            Command::EmitEvent(event) => {
                // The coordinator reports that it told the event, each time that it did.
                let body = succeeded(run, &event.task, serde_json::Value::Null);
                self.append_report(run, vec![entry(String::new(), body)]);
            }
            Command::StartRun(start) => return self.start_run(&start),
            Command::StopRun(stop) => self.stop_run(&stop),
            Command::ReportOutcome(report) => self.report_outcome(run, &report),
            Command::WithdrawTask { task, .. } => self.tasks.withdraw(&(run, task)),
            Command::StartTimer { timer, due } => self.start_timer(run, timer, due),
            Command::CancelTimer { timer } => {
                self.log.timers.remove(&(run, timer));
            }
            Command::CheckApproval(check) => self.look_again(run, *check),
            Command::WriteDeadLetter(letter) => {
                self.check_dead_letter(run, &letter);
                self.dead.insert((run, letter.task.step, letter.agent), letter.task.attempt);
            }
            Command::RemoveDeadLetter { step, agent } => {
                self.dead.remove(&(run, step.clone(), agent.clone()));
                self.removed_dead.insert((run, step, agent));
            }
            Command::FinishRun(outcome) => self.append_control(run, String::new(), Body::RunFinished(outcome), false),
        }
        true
    }
}

impl Publish {
    /// As a line of the trace.
    pub(crate) fn describe(&self) -> String {
        let run = &self.run.to_string()[..8];
        let from = match self.sender {
            Sender::Owner(owner, token) => format!("owner {}.{} for {}", owner.slot, owner.life, token.0),
            Sender::Worker(worker) => format!("worker {}.{}", worker.slot, worker.life),
            Sender::Submitter(_) | Sender::Steerer => "client".into(),
        };
        match &self.message {
            Message::Command(command) => format!("{from}: {run} {}", kapelle_engine::testing::describe(command)),
            Message::Record { entries, .. } => {
                let told: Vec<_> = entries.iter().map(|e| describe(&e.body)).collect();
                format!("{from}: {run} writes {}", told.join(", "))
            }
            Message::PurgeRun { through } => format!("{from}: {run} purge the log through {through}"),
        }
    }
}

/// An entry as a few words.
pub(crate) fn describe(body: &Body) -> String {
    match body {
        Body::RunSubmitted(_) => "submitted".into(),
        Body::StepSucceeded(report) => format!("{} succeeded", report.task),
        Body::StepFailed(report) => format!("{} failed {:?}", report.task, report.failure.kind),
        Body::TimerFired { timer } => format!("timer {timer}"),
        Body::SignalReceived(signal) => format!("signal {}", signal.name),
        Body::ApprovalDecided(decided) => format!("{} {}", decided.step, decided.verdict.name()),
        Body::ApprovalChecked(checked) => format!("{} checked", checked.step),
        Body::CancelRequested { .. } => "cancel".into(),
        Body::TerminateRequested { .. } => "terminate".into(),
        Body::PauseRequested { .. } => "pause".into(),
        Body::ResumeRequested => "resume".into(),
        Body::RetryRequested { steps } => format!("retry {steps:?}"),
        Body::FailRequested { .. } => "give up".into(),
        Body::RunFinished(mark) => format!("finished {} decided at {}", mark.status, mark.decided_seq),
    }
}
