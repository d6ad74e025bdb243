//! The world: virtual time, one queue of events, everything that exists, and the loop that lets things happen.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap, HashSet, VecDeque};
use std::time::Duration;

use kapelle_types::{AgentVersion, RunId, StepRef, Timestamp};

use super::agents::Agents;
use super::dice::Dice;
use super::event::Event;
use super::faults::Faults;
use super::log::Log;
use super::oracle::{Identity, Oracle};
use super::owner::Owners;
use super::plans::Jobs;
use super::rest::{Ends, Looks};
use super::tasks::Tasks;
use super::worker::Worker;

/// Events of one simulation at most: far beyond what any seed needs.
const EVENTS_MAX: usize = 200_000;
/// Lines of a trace that are kept.
const TRACE_MAX: usize = 2_000;
/// When virtual time begins.
const EPOCH_MS: u64 = 1_000_000;

/// A named invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its name.
    pub name: &'static str,
    /// What was found.
    pub detail: String,
}

/// What a simulation amounted to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Things that happened.
    pub events: u64,
    /// Records in the log.
    pub records: u64,
    /// Runs that ended.
    pub finished: u64,
    /// Runs that wait for people.
    pub waiting: u64,
    /// Virtual milliseconds from the end of the faults to rest.
    pub rest_ms: u64,
}

/// Lets one seed happen.
///
/// # Errors
/// The first invariant that did not hold.
pub fn simulate(seed: u64) -> Result<Report, Violation> {
    World::new(seed, false).live()
}

/// The last things that happened under a seed, one a line.
#[must_use]
pub fn trace(seed: u64) -> Vec<String> {
    let mut world = World::new(seed, true);
    if let Err(violation) = world.live() {
        world.note(|| format!("VIOLATION {}: {}", violation.name, violation.detail));
    }
    world.trace.map_or_else(Vec::new, Vec::from)
}

/// Whose dead letter it is: one who had a step before another one may have left one, too.
pub(crate) type Letter = (RunId, StepRef, AgentVersion);

pub(crate) struct World {
    pub(crate) seed: u64,
    /// Virtual milliseconds.
    pub(crate) now: u64,
    pub(crate) dice: Dice,
    pub(crate) faults: Faults,
    /// When faults stopped.
    pub(crate) quiet_since: Option<u64>,
    pub(crate) jobs: Jobs,
    pub(crate) agents: Agents,
    pub(crate) log: Log,
    pub(crate) tasks: Tasks,
    /// Dead letters: of which run, which step, which attempt.
    pub(crate) dead: BTreeMap<Letter, u32>,
    /// Removals of dead letters that were performed: a letter that was sent before one and stored after it stays.
    pub(crate) removed_dead: HashSet<Letter>,
    /// Commands that reached the broker.
    pub(crate) performed: HashSet<(RunId, Identity)>,
    pub(crate) owners: Owners,
    pub(crate) workers: Vec<Worker>,
    /// Until then no worker takes a task.
    pub(crate) away_until: u64,
    pub(crate) oracle: Oracle,
    /// Rebuilds that each reconciler asked for, by run.
    pub(crate) looks: BTreeMap<(usize, RunId), Looks>,
    events: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    /// Scheduled events that are not routine.
    pub(crate) awaited: usize,
    happened: u64,
    /// How long rest took after the faults, in ms.
    rest_ms: u64,
    /// How everything stood when all coordinators were started anew.
    pub(crate) before_restart: Option<Ends>,
    violation: Option<Violation>,
    trace: Option<VecDeque<String>>,
}

struct Scheduled {
    at: u64,
    order: u64,
    event: Event,
}

impl World {
    fn new(seed: u64, traced: bool) -> Self {
        let mut dice = Dice::new(seed);
        let faults = Faults::of(&mut dice);
        let (trouble, poison) = (*dice.pick(&[0, 100, 300, 600]), *dice.pick(&[0, 0, 0, 30]));
        let agents = Agents { seed, trouble, poison };
        let jobs = Jobs::of(seed, &mut dice);
        let workers = (0..dice.between(1, 3)).map(|_| Worker::new(dice.index(4) + 1)).collect();
        let owners = Owners::new(&mut dice);
        let mut world = Self {
            seed,
            now: EPOCH_MS,
            dice,
            faults,
            quiet_since: None,
            jobs,
            agents,
            log: Log::default(),
            tasks: Tasks::new(),
            dead: BTreeMap::new(),
            removed_dead: HashSet::new(),
            performed: HashSet::new(),
            owners,
            workers,
            away_until: 0,
            oracle: Oracle::default(),
            looks: BTreeMap::new(),
            events: BinaryHeap::new(),
            scheduled: 0,
            awaited: 0,
            happened: 0,
            rest_ms: 0,
            before_restart: None,
            violation: None,
            trace: traced.then(VecDeque::new),
        };
        world.begin();
        world
    }

    /// The first events: somebody owns the partition, clients come, faults stop at some time.
    fn begin(&mut self) {
        self.note_faults();
        self.take_over(0);
        let longest = *self.dice.pick(&[2_000, 8_000, 25_000, 60_000]);
        let span = self.dice.between(1_000, longest);
        for job in 0..self.jobs.all.len() {
            let at = self.dice.below(span);
            self.after(at, Event::Submit(job));
        }
        self.disturb_later();
        self.after(span, Event::Quiet);
    }

    fn live(&mut self) -> Result<Report, Violation> {
        while let Some(Reverse(next)) = self.events.pop() {
            self.now = next.at;
            self.awaited -= usize::from(!next.event.is_routine());
            self.happened += 1;
            self.happen(next.event);
            if self.violation.is_none() && self.happened > EVENTS_MAX as u64 {
                self.fail("it_comes_to_rest", || format!("{EVENTS_MAX} events happened"));
            }
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
            if self.is_at_rest() {
                self.check_end();
                if self.before_restart.is_some() || self.violation.is_some() {
                    break;
                }
                self.rest_ms = self.quiet_since.map_or(0, |since| self.now - since);
                self.restart();
            }
        }
        if self.before_restart.is_none() {
            self.fail("it_comes_to_rest", || "nothing happens any more".into());
        }
        self.violation.take().map_or_else(|| Ok(self.report()), Err)
    }

    fn report(&self) -> Report {
        let finished = self.oracle.runs().filter(|run| run.is_finished()).count() as u64;
        Report {
            events: self.happened,
            records: self.log.end(),
            finished,
            waiting: self.oracle.runs().count() as u64 - finished,
            rest_ms: self.rest_ms,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Take(owner) => self.take(owner),
            Event::Begin { owner, cursor, high_water } => self.begin_owner(owner, cursor, high_water),
            Event::Deliver(owner) => self.deliver(owner),
            Event::Tick(owner) => self.tick(owner),
            Event::Observe(owner) => self.observe(owner),
            Event::Observed { owner, created, oldest } => self.observed(owner, created, oldest),
            Event::Load { owner, run, at_least } => self.load(owner, run, at_least),
            Event::Loaded { owner, run, loaded, seen } => self.loaded(owner, run, *loaded, seen),
            Event::SaveCursor { seq } => self.log.save_cursor(seq),
            Event::LetGo(owner) => self.let_go_now(owner),
            Event::Arrive(publish) => self.arrive(publish),
            Event::Acked(publish) => self.acked(*publish),
            Event::Resend(publish) => self.resend(*publish),
            Event::Fire { run, timer, setting } => self.fire(run, timer, setting),
            Event::Offer { created, seq } => self.offer(created, seq),
            Event::LeaseEnds { created, seq, delivered } => self.lease_ends(created, seq, delivered),
            Event::Done { worker, key, report } => self.done(worker, key, *report),
            Event::Flush { worker, run } => self.flush(worker, run),
            Event::WorkerDies(worker) => self.worker_dies(worker),
            Event::TaskAck { seq } => self.tasks.ack(seq),
            Event::Again { run, entries } => self.append_report(run, entries),
            Event::Submit(job) => self.submit(job),
            Event::Disturb(disturbance) => self.disturb(disturbance),
            Event::Quiet => self.quiet(),
            Event::Person(care) => self.care(care),
            Event::Requeued => self.check_requeued(),
        }
    }

    /// Lets something happen later.
    pub(crate) fn after(&mut self, ms: u64, event: Event) {
        self.scheduled += 1;
        self.awaited += usize::from(!event.is_routine());
        self.events.push(Reverse(Scheduled { at: self.now + ms, order: self.scheduled, event }));
    }

    /// The broker's clock.
    pub(crate) fn clock(&self) -> Timestamp {
        at(self.now)
    }

    /// Notes that an invariant does not hold; the first one counts.
    pub(crate) fn fail(&mut self, name: &'static str, detail: impl FnOnce() -> String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { name, detail: detail() });
        }
    }

    /// Fails unless something holds.
    pub(crate) fn hold(&mut self, name: &'static str, holds: bool, detail: impl FnOnce() -> String) {
        if !holds {
            self.fail(name, detail);
        }
    }

    /// Writes a line of the trace, if there is one.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            if trace.len() == TRACE_MAX {
                trace.pop_front();
            }
            trace.push_back(format!("{:>9.3} {}", Duration::from_millis(self.now - EPOCH_MS).as_secs_f64(), line()));
        }
    }

    fn note_faults(&mut self) {
        let (faults, agents) = (format!("{:?}", self.faults), self.agents);
        self.note(|| format!("{agents:?} {faults}"));
    }
}

/// A point of virtual time as the log writes it.
pub(crate) const fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms.cast_signed())
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
