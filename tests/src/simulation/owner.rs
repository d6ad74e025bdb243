//! Coordinators: what the partition's service does with a core, in virtual time, and how they die.

use kapelle_coordinator::partition::core::{Core, CoreConfig};
use kapelle_coordinator::partition::effect::{Effect, Loaded, TasksState, Token};
use kapelle_engine::{Body, Channel, Record};
use kapelle_types::{RunId, Timestamp};

use super::dice::Dice;
use super::event::{Event, Message, Process, Publish, Sender};
use super::log::Kept;
use super::plans::AtHand;
use super::world::{World, at};

/// Coordinators at most.
const PLACES: usize = 3;
/// How often overdue runs are looked for, in ms; slower in quiet times, when little happens.
const TICK_MS: u64 = 250;
const QUIET_TICK_MS: u64 = 1_000;
/// How often the queue is looked at, in ms.
const OBSERVE_MS: u64 = 1_000;
/// How long one that lets go waits for its last acknowledgements, in ms.
const LET_GO_MS: u64 = 2_000;
/// How much a coordinator's clock may be off, in ms, either way.
const SKEW_MS: u64 = 200;

/// All coordinators, alive or not.
pub(crate) struct Owners {
    places: Vec<Place>,
    cache_bytes_max: usize,
    looks_per_tick: usize,
    /// Some run a build that does not know all entries.
    pub(crate) some_are_old: bool,
}

#[derive(Default)]
struct Place {
    life: u32,
    /// It was started and did not die since.
    up: bool,
    /// It serves the partition.
    serving: Option<Owner>,
}

pub(crate) struct Owner {
    pub(crate) core: Core,
    /// The last sequence that its reader delivered.
    tail: u64,
    delivering: bool,
    observed: Option<TasksState>,
    saved: u64,
    letting_go: bool,
    old_build: bool,
    skew: u64,
}

impl Owners {
    pub(crate) fn new(dice: &mut Dice) -> Self {
        Self {
            places: (0..PLACES).map(|_| Place::default()).collect(),
            cache_bytes_max: *dice.pick(&[1, 4_000, 20_000, 1 << 30]),
            looks_per_tick: *dice.pick(&[1, 2, 100]),
            some_are_old: dice.hit(100),
        }
    }

    pub(crate) fn is_alive(&self, process: Process) -> bool {
        let place = &self.places[process.slot];
        place.up && place.life == process.life
    }

    pub(crate) fn alive(&self) -> Vec<usize> {
        (0..PLACES).filter(|slot| self.places[*slot].up).collect()
    }

    /// Those that will not let go in a moment.
    pub(crate) fn staying(&self) -> usize {
        self.places.iter().filter(|p| p.up && !p.serving.as_ref().is_some_and(|owner| owner.letting_go)).count()
    }

    pub(crate) fn dead(&self) -> Vec<usize> {
        (0..PLACES).filter(|slot| !self.places[*slot].up).collect()
    }

    pub(crate) fn serving(&self) -> impl Iterator<Item = &Owner> {
        self.places.iter().filter_map(|place| place.serving.as_ref())
    }

    fn get(&mut self, process: Process) -> Option<&mut Owner> {
        let place = &mut self.places[process.slot];
        if place.life == process.life { place.serving.as_mut() } else { None }
    }
}

impl Owner {
    pub(crate) fn is_done(&self, log_end: u64) -> bool {
        self.core.is_idle() && self.tail >= log_end && !self.letting_go
    }
}

impl World {
    /// A coordinator believes that the partition is its own now.
    pub(crate) fn take_over(&mut self, slot: usize) {
        let place = &mut self.owners.places[slot];
        place.life += 1;
        place.up = true;
        place.serving = None;
        let owner = Process { slot, life: place.life };
        let wait = self.dice.between(1, 50);
        self.after(wait, Event::Take(owner));
    }

    pub(crate) fn crash(&mut self, slot: usize) {
        self.note(|| format!("coordinator {slot} dies"));
        let place = &mut self.owners.places[slot];
        place.up = false;
        place.serving = None;
    }

    /// It asks where to begin and how long the log is.
    pub(crate) fn take(&mut self, owner: Process) {
        if self.owners.is_alive(owner) {
            let (cursor, high_water) = (self.log.cursor.unwrap_or(0), self.log.end());
            let wait = self.dice.between(1, 100);
            self.after(wait, Event::Begin { owner, cursor, high_water });
        }
    }

    /// It lists what is open and begins to read.
    pub(crate) fn begin_owner(&mut self, process: Process, cursor: u64, high_water: u64) {
        if !self.owners.is_alive(process) {
            return;
        }
        self.note(|| format!("coordinator {}.{} begins behind {cursor}", process.slot, process.life));
        let (cache_bytes_max, looks_per_tick) = (self.owners.cache_bytes_max, self.owners.looks_per_tick);
        let mut core = Core::new(CoreConfig {
            cursor,
            high_water,
            cache_bytes_max,
            looks_per_tick,
            outcomes: std::sync::Arc::default(),
        });
        let skew = self.dice.between(0, SKEW_MS * 2);
        core.discovered(self.log.open_by_last_control(), self.coordinator_clock(skew));
        let old_build = self.owners.some_are_old && process.slot == 0 && self.quiet_since.is_none();
        let owner = Owner {
            core,
            tail: cursor,
            delivering: false,
            observed: None,
            saved: cursor,
            letting_go: false,
            old_build,
            skew,
        };
        self.owners.places[process.slot].serving = Some(owner);
        self.after(0, Event::Tick(process));
        self.after(OBSERVE_MS, Event::Observe(process));
        self.wake_readers();
    }

    fn coordinator_clock(&self, skew: u64) -> Timestamp {
        at(self.now + skew - SKEW_MS)
    }

    /// Something new stands in the log.
    pub(crate) fn wake_readers(&mut self) {
        for slot in 0..PLACES {
            let place = &mut self.owners.places[slot];
            let process = Process { slot, life: place.life };
            let Some(owner) = &mut place.serving else { continue };
            if owner.delivering || owner.letting_go || owner.tail >= self.log.last_readable() {
                continue;
            }
            owner.delivering = true;
            let stalls = self.dice.hit(self.faults.read_stall);
            let wait = if stalls { self.dice.between(500, 10_000) } else { self.dice.between(1, 20) };
            self.after(wait, Event::Deliver(process));
        }
    }

    /// The reader hands over a chunk.
    pub(crate) fn deliver(&mut self, process: Process) {
        let (most, rereads) = (self.dice.between(1, 12), self.dice.hit(self.faults.reread));
        let back = if rereads { self.dice.between(1, 10) } else { 0 };
        let at_hand = !self.dice.hit(self.faults.plan_away);
        let Some(owner) = self.owners.get(process) else { return };
        owner.delivering = false;
        if owner.letting_go {
            return;
        }
        if owner.core.wants_reads() {
            let from = owner.tail.saturating_sub(back);
            let items = self.log.items(from, usize::try_from(most + back).unwrap_or(1), owner.old_build);
            owner.tail = items.last().map_or_else(|| self.log.last_readable(), |item| item.seq.max(owner.tail));
            let mut effects = Vec::new();
            owner.core.read(items, &AtHand { jobs: &self.jobs, at_hand }, &mut effects);
            self.carry_out(process, effects);
        }
        self.wake_readers();
    }

    pub(crate) fn tick(&mut self, process: Process) {
        let Some(owner) = self.owners.get(process) else { return };
        if !owner.letting_go {
            let (mut effects, observed, skew) = (Vec::new(), owner.observed, owner.skew);
            let now = at(self.now + skew - SKEW_MS);
            owner.core.tick(now, observed, &mut effects);
            self.carry_out(process, effects);
            self.check_views(process);
        }
        self.save_cursor(process, false);
        let quiet = self.quiet_since.is_some_and(|since| self.now > since + 10_000);
        self.after(if quiet { QUIET_TICK_MS } else { TICK_MS }, Event::Tick(process));
    }

    /// The queue first, then the log.
    pub(crate) fn observe(&mut self, owner: Process) {
        if self.owners.get(owner).is_some() {
            let (created, oldest) = (self.tasks.created, self.tasks.oldest());
            let wait = self.dice.between(1, 30);
            self.after(wait, Event::Observed { owner, created, oldest });
            self.after(OBSERVE_MS, Event::Observe(owner));
        }
    }

    pub(crate) fn observed(&mut self, owner: Process, created: i64, oldest: Option<u64>) {
        let log_end = self.log.end();
        if let Some(owner) = self.owners.get(owner) {
            owner.observed = Some(TasksState { created: [created; 2], oldest: oldest.map(at), log_end });
        }
    }

    /// Does what a core wants done, unless it dies in between.
    fn carry_out(&mut self, process: Process, effects: Vec<Effect>) {
        for effect in effects {
            if self.dice.hit(self.faults.crash_between) {
                return self.crash(process.slot);
            }
            match effect {
                Effect::Perform(order) => {
                    let message = Message::Command(order.command);
                    self.send(Publish { sender: Sender::Owner(process, order.token), run: order.run, message });
                }
                Effect::Load { run, at_least } => {
                    self.note(|| format!("coordinator {} loads {run}, at least {at_least}", process.slot));
                    self.check_looks(process.slot, run, at_least);
                    let wait = self.dice.between(1, 20);
                    self.after(wait, Event::Load { owner: process, run, at_least });
                }
                Effect::Settled(_) | Effect::Refused(_) => {}
                Effect::Orphan { run, up_to } => {
                    let sender = Sender::Owner(process, Token(0));
                    self.send(Publish { sender, run, message: Message::PurgeRun { through: up_to } });
                }
                Effect::LetGo { reason } => {
                    self.note(|| format!("coordinator {} lets go: {reason}", process.slot));
                    self.let_go(process.slot);
                }
            }
        }
    }

    pub(crate) fn performed_order(&mut self, owner: Process, token: Token) {
        if let Some(owner) = self.owners.get(owner) {
            owner.core.performed(token);
        }
    }

    /// A load reaches the broker; the answer may be that of a replica that lags, and takes its time.
    pub(crate) fn load(&mut self, process: Process, run: RunId, at_least: u64) {
        let (lags, no_plan) = (self.dice.hit(self.faults.lag), self.dice.hit(self.faults.no_plan));
        let lag = if lags && at_least > 0 { self.dice.below(8) } else { 0 };
        let seen = self.log.end().saturating_sub(lag);
        let wait = self.dice.between(1, 60);
        let Some(old_build) = self.owners.get(process).map(|owner| owner.old_build) else { return };
        let loaded = match self.read_run(run, seen, at_least, old_build) {
            Loaded::Run { .. } if no_plan => {
                self.oracle.unplanned(run);
                Loaded::NoPlan { reason: "no manifest".into() }
            }
            loaded => loaded,
        };
        // That there is no run is only said with everything that was asked for at hand; a run may come short.
        let through = if matches!(loaded, Loaded::Run { .. }) { seen } else { seen.max(at_least) };
        let seen = self.log.of(run).map(|s| s.seq).filter(|seq| *seq <= through).last().unwrap_or(0);
        self.after(wait, Event::Loaded { owner: process, run, loaded: Box::new(loaded), seen });
    }

    fn read_run(&self, run: RunId, seen: u64, at_least: u64, old_build: bool) -> Loaded {
        let stored: Vec<_> = self.log.of(run).collect();
        let is_newer = |kept: &Kept| matches!(kept, Kept::Newer(_));
        if old_build && stored.iter().any(|s| s.seq <= seen && is_newer(&s.kept)) {
            return Loaded::FromTheFuture { reason: "a newer entry".into() };
        }
        let records = || stored.iter().filter_map(|s| s.record());
        let mut known = records().filter(|r| r.stamp.seq <= seen.max(at_least));
        let first = known.find(|r| r.channel == Channel::Control).and_then(|r| r.entries.first());
        match (first.map(|entry| &entry.body), self.jobs.get(run)) {
            (Some(Body::RunSubmitted(_)), Some(job)) => {
                let records: Vec<Record> = records().filter(|r| r.stamp.seq <= seen).cloned().collect();
                Loaded::Run { run: Box::new(job.run(run)), records }
            }
            _ => Loaded::NotARun,
        }
    }

    pub(crate) fn loaded(&mut self, process: Process, run: RunId, loaded: Loaded, seen: u64) {
        let Some(owner) = self.owners.get(process) else { return };
        let mut effects = Vec::new();
        owner.core.loaded(run, loaded, seen, &mut effects);
        self.carry_out(process, effects);
    }

    fn save_cursor(&mut self, process: Process, last: bool) {
        let unsaved = !last && self.dice.hit(self.faults.cursor_unsaved);
        let Some(owner) = self.owners.get(process) else { return };
        let seq = owner.core.cursor();
        let moved = seq != owner.saved;
        self.check_cursor(seq);
        if let Some(owner) = self.owners.get(process).filter(|_| moved && !unsaved) {
            owner.saved = seq;
            let wait = self.dice.between(1, 40);
            self.after(wait, Event::SaveCursor { seq });
        }
    }

    /// It reads no more, waits a little for what is in flight, and writes the cursor.
    pub(crate) fn let_go(&mut self, slot: usize) {
        let place = &mut self.owners.places[slot];
        let process = Process { slot, life: place.life };
        match &mut place.serving {
            Some(owner) => owner.letting_go = true,
            None => place.up = false,
        }
        let wait = self.dice.between(0, LET_GO_MS);
        self.after(wait, Event::LetGo(process));
    }

    pub(crate) fn let_go_now(&mut self, process: Process) {
        self.save_cursor(process, true);
        if self.owners.is_alive(process) {
            self.crash(process.slot);
        }
    }

    /// The core of a coordinator that serves.
    pub(crate) fn core_of(&mut self, process: Process) -> Option<&Core> {
        self.owners.get(process).map(|owner| &owner.core)
    }
}
