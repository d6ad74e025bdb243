//! Workers: pull, hold the lease, execute once, report first and acknowledge second. And how they die.

use std::collections::BTreeMap;
use std::time::Duration;

use kapelle_engine::{Body, Channel, DispatchTask, Entry, FailureKind};
use kapelle_types::{RunId, limits};

use super::agents::{Answer, failed, succeeded};
use super::client::entry;
use super::event::{Event, Message, Process, Publish, Sender};
use super::tasks::Key;
use super::world::{World, at};

/// How long a worker holds a task without a sign of life, in ms.
const LEASE_MS: u64 = limits::LEASE.as_millis() as u64;

/// One worker.
pub(crate) struct Worker {
    life: u32,
    slots: usize,
    held: BTreeMap<Key, Held>,
    /// Reports that are not written yet, by run.
    outbox: BTreeMap<RunId, Vec<(Entry, Key)>>,
}

struct Held {
    /// What its acknowledgement names.
    seq: u64,
    /// It keeps its lease alive.
    renews: bool,
}

impl Worker {
    pub(crate) const fn new(slots: usize) -> Self {
        Self { life: 1, slots, held: BTreeMap::new(), outbox: BTreeMap::new() }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.held.is_empty() && self.outbox.is_empty()
    }
}

impl World {
    pub(crate) fn worker_lives(&self, worker: Process) -> bool {
        self.workers[worker.slot].life == worker.life
    }

    fn worker(&mut self, worker: Process) -> Option<&mut Worker> {
        let found = &mut self.workers[worker.slot];
        (found.life == worker.life).then_some(found)
    }

    /// A queued task will be offered to workers.
    pub(crate) fn offer_soon(&mut self, seq: u64) {
        let wait = self.dice.between(1, 30);
        self.after(wait, Event::Offer { created: self.tasks.created, seq });
    }

    /// A worker with a free slot takes the first task in the line; this one is offered again if it has to wait.
    pub(crate) fn offer(&mut self, created: i64, seq: u64) {
        let Some(first) = self.tasks.first_in_line(created, seq) else { return };
        if self.now < self.away_until {
            let wait = self.away_until - self.now;
            return self.after(wait, Event::Offer { created, seq });
        }
        let from = self.dice.index(self.workers.len());
        let order = (0..self.workers.len()).map(|i| (from + i) % self.workers.len());
        let free = order.into_iter().find(|w| self.workers[*w].held.len() < self.workers[*w].slots);
        if free.is_none() || first != seq {
            let wait = self.dice.between(20, 100);
            self.after(wait, Event::Offer { created, seq });
        }
        if let Some(slot) = free {
            self.give(slot, created, first);
        }
    }

    /// Delivers a task to a worker.
    fn give(&mut self, slot: usize, created: i64, seq: u64) {
        let Some(message) = self.tasks.get(created, seq) else { return };
        message.holder = Some(slot);
        message.delivered += 1;
        let (key, task, delivered) = (message.key.clone(), message.task.clone(), message.delivered);
        self.after(LEASE_MS, Event::LeaseEnds { created, seq, delivered });
        let worker = Process { slot, life: self.workers[slot].life };
        self.note(|| format!("worker {slot}.{}: takes {} {}, delivery {delivered}", worker.life, key.0, key.1));
        if let Some(held) = self.workers[slot].held.get_mut(&key) {
            // The very attempt goes on here; from now on the new delivery stands for it.
            held.seq = seq;
            return;
        }
        self.workers[slot].held.insert(key.clone(), Held { seq, renews: true });
        self.admit(worker, key, &task, delivered);
    }

    /// Starts an attempt, or reports why not.
    fn admit(&mut self, worker: Process, key: Key, task: &DispatchTask, delivered: u32) {
        let refusal = if delivered > 1 {
            Some(failed(key.0, &key.1, FailureKind::LeaseLost, true, None))
        } else if task.deadline.is_some_and(|deadline| deadline <= at(self.now)) {
            Some(failed(key.0, &key.1, FailureKind::Timeout, false, None))
        } else if self.dice.hit(self.faults.returned) {
            Some(failed(key.0, &key.1, FailureKind::Returned, true, None))
        } else {
            None
        };
        match refusal {
            Some(report) => self.after(1, Event::Done { worker, key, report: Box::new(report) }),
            None => self.execute(worker, key, task),
        }
    }

    /// Runs the agent for as long as it takes, or as it may.
    fn execute(&mut self, worker: Process, key: Key, task: &DispatchTask) {
        self.check_execution(&key, task);
        let left = task.deadline.map_or(task.timeout, |deadline| task.timeout.min(deadline.since(at(self.now))));
        let limit = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let slow = self.dice.hit(50);
        let takes = if slow { self.dice.between(200, 4_000) } else { self.dice.between(1, 150) };
        let answer = self.agents.answer(key.0, &key.1);
        let in_time = takes <= limit && answer != Answer::Hang;
        let report =
            if in_time { self.result(&key, answer) } else { failed(key.0, &key.1, FailureKind::Timeout, true, None) };
        let mut wait = if in_time { takes } else { limit };
        if self.dice.hit(self.faults.freeze) && answer == Answer::Success {
            // The whole machine stands still: no renewals, and afterwards it does not know that it is late.
            wait = LEASE_MS + self.dice.between(1, 5_000);
            if let Some(held) = self.workers[worker.slot].held.get_mut(&key) {
                held.renews = false;
            }
            let report = Box::new(self.result(&key, answer));
            return self.after(wait, Event::Done { worker, key, report });
        }
        if answer == Answer::Poison || self.dice.hit(self.faults.worker_crash) {
            let dies = self.dice.below(if answer == Answer::Poison { wait } else { wait + 30 });
            self.after(dies, Event::WorkerDies(worker));
        }
        self.after(wait, Event::Done { worker, key, report: Box::new(report) });
    }

    fn result(&self, key: &Key, answer: Answer) -> Body {
        let retry_after = Some(Duration::from_millis(300));
        match answer {
            Answer::Success => succeeded(key.0, &key.1, self.agents.output(key.0, &key.1.step)),
            Answer::Failure => failed(key.0, &key.1, FailureKind::Agent, true, None),
            Answer::NotNow => failed(key.0, &key.1, FailureKind::Agent, true, retry_after),
            Answer::Final => failed(key.0, &key.1, FailureKind::Agent, false, None),
            Answer::Hang | Answer::Poison => failed(key.0, &key.1, FailureKind::Timeout, true, None),
        }
    }

    /// An attempt ended: its report is written together with others of the run.
    pub(crate) fn done(&mut self, process: Process, key: Key, report: Body) {
        let run = key.0;
        let wait = self.dice.between(0, 20);
        let Some(worker) = self.worker(process) else { return };
        let waiting = worker.outbox.entry(run).or_default();
        waiting.push((entry(String::new(), report), key));
        if waiting.len() == 1 {
            self.after(wait, Event::Flush { worker: process, run });
        }
    }

    pub(crate) fn flush(&mut self, process: Process, run: RunId) {
        let Some(worker) = self.worker(process) else { return };
        let (entries, reported) = worker.outbox.remove(&run).unwrap_or_default().into_iter().unzip();
        let message = Message::Record { channel: Channel::Report, entries, reported, only_first: false };
        self.send(Publish { sender: Sender::Worker(process), run, message });
    }

    /// The reports are in the log: now the tasks are acknowledged.
    pub(crate) fn report_stored(&mut self, process: Process, run: RunId, message: Message) {
        let Message::Record { entries, reported, .. } = message else { return };
        if self.dice.hit(self.faults.report_again) {
            let wait = self.dice.between(1, 15_000);
            self.after(wait, Event::Again { run, entries });
        }
        for key in reported {
            let (lost, wait) = (self.dice.hit(self.faults.task_ack_lost), self.dice.between(1, 20));
            let Some(held) = self.worker(process).and_then(|worker| worker.held.remove(&key)) else { continue };
            if !lost {
                self.after(wait, Event::TaskAck { seq: held.seq });
            }
        }
    }

    /// All workers die at once.
    pub(crate) fn all_workers_die(&mut self) {
        for slot in 0..self.workers.len() {
            let life = self.workers[slot].life;
            self.worker_dies(Process { slot, life });
        }
    }

    /// A worker dies with all that it has, and another begins in its place.
    pub(crate) fn worker_dies(&mut self, process: Process) {
        if let Some(worker) = self.worker(process) {
            worker.life += 1;
            worker.held.clear();
            worker.outbox.clear();
            self.note(|| format!("worker {}.{} dies", process.slot, process.life));
        }
    }

    /// A lease is renewed, or the task is offered again.
    pub(crate) fn lease_ends(&mut self, created: i64, seq: u64, delivered: u32) {
        let Some(message) = self.tasks.get(created, seq).filter(|m| m.delivered == delivered) else { return };
        let Some(slot) = message.holder else { return };
        let renewed = self.workers[slot].held.get(&message.key).is_some_and(|held| held.renews && held.seq == seq);
        if renewed {
            return self.after(LEASE_MS, Event::LeaseEnds { created, seq, delivered });
        }
        message.holder = None;
        self.offer_soon(seq);
    }
}
