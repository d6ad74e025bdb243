//! The partition's loop without IO: entries in, effects out.
//!
//! Rules that everything here keeps:
//! - Entries of one run are applied in stream order, each once; other runs do not wait while one is rebuilt.
//! - A command's acknowledgement is reported with the sequence that caused it; the cursor waits for it.
//! - What was in the stream before this owner came is not replayed command by command: the run is rebuilt as it is now
//!   and what it still waits for is performed (`outstanding`), so that work done before a take-over is not done again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use kapelle_engine::behaviour::knows;
use kapelle_engine::{Body, Channel, Command, Record, Run, RunStatus, Stamp, apply, outstanding};
use kapelle_telemetry::metrics::{ENTRIES_REFUSED, REBUILDS, RECONCILED_RUNS};
use kapelle_types::{RunId, Timestamp};
use lru::LruCache;

use super::cache::Cache;
pub use super::config::CoreConfig;
use super::effect::{Cause, Content, Effect, Item, Loaded, Order, Plans, Refused, TasksState, Token};
use super::meters::Meters;
use super::open::{OpenRun, OpenRuns};
use super::progress::Progress;
use super::queue::Queue;

/// Finished runs that are remembered, so that a late report does not cost a rebuild.
const FINISHED_MAX: usize = 8_192;
/// Things waited for beyond which no more is read.
const PENDING_MAX: usize = 20_000;
/// Rebuilds in progress beyond which no more is read.
const LOADING_MAX: usize = 2_000;
/// How long a run whose plan cannot be built waits for the next try.
const NO_PLAN_PAUSE: Duration = Duration::from_secs(30);

/// A run that is being rebuilt, and what came for it meanwhile.
#[derive(Debug, Default)]
struct Loading {
    waiting: Vec<Record>,
    /// How many were waiting when the log was asked for.
    asked: usize,
}

/// The loop of one partition.
pub struct Core {
    config: CoreConfig,
    read_seq: u64,
    now: Timestamp,
    cache: Cache,
    open: OpenRuns,
    loading: HashMap<RunId, Loading>,
    finished: LruCache<RunId, ()>,
    progress: Progress,
    queue: Queue,
    meters: Meters,
}

impl Core {
    /// A partition that was just taken.
    #[must_use]
    pub fn new(config: CoreConfig) -> Self {
        let finished = std::num::NonZeroUsize::new(FINISHED_MAX).map_or_else(LruCache::unbounded, LruCache::new);
        Self {
            read_seq: config.cursor,
            now: Timestamp::default(),
            cache: Cache::new(config.cache_bytes_max),
            open: OpenRuns::default(),
            loading: HashMap::new(),
            finished,
            progress: Progress::new(config.cursor),
            queue: Queue::default(),
            meters: Meters::new(Arc::clone(&config.outcomes)),
            config,
        }
    }

    /// Everything up to this sequence is read and performed.
    #[must_use]
    pub const fn cursor(&self) -> u64 {
        self.progress.cursor()
    }

    /// The last sequence that was read.
    #[must_use]
    pub const fn read_seq(&self) -> u64 {
        self.read_seq
    }

    /// Whether more should be read now, or acknowledgements waited for first.
    #[must_use]
    pub fn wants_reads(&self) -> bool {
        self.progress.pending() < PENDING_MAX && self.loading.len() < LOADING_MAX
    }

    /// Whether nothing is waited for: every effect so far is done.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.progress.pending() == 0 && self.loading.is_empty()
    }

    /// A run that is in memory.
    #[must_use]
    pub fn cached(&self, run: &RunId) -> Option<&Run> {
        self.cache.peek(run)
    }

    /// Runs in memory.
    #[must_use]
    pub fn cached_runs(&self) -> usize {
        self.cache.len()
    }

    /// All open runs of the partition.
    pub fn open_runs(&self) -> impl Iterator<Item = (&RunId, &OpenRun)> {
        self.open.iter()
    }

    /// Runs that are being read and of which not even that they are open is known yet.
    #[must_use]
    pub fn unlisted(&self) -> usize {
        self.loading.keys().filter(|run| !self.open.contains(run)).count()
    }

    /// How many runs are open, and how many of them are STALLED.
    #[must_use]
    pub fn open_counts(&self) -> (usize, usize) {
        (self.open.len(), self.open.stalled())
    }

    /// How long the most overdue run has been waiting for a look.
    #[must_use]
    pub fn oldest_overdue(&self) -> Duration {
        self.open.oldest_overdue(self.now)
    }

    /// A listing at the take-over found these runs open; `now` is the listing's own time.
    pub fn discovered(&mut self, runs: impl IntoIterator<Item = (RunId, Timestamp)>, now: Timestamp) {
        self.now = self.now.max(now);
        for (run, at) in runs {
            if !self.finished.contains(&run) {
                self.open.discovered(run, at, self.now);
            }
        }
    }

    /// Takes what was read, in stream order.
    pub fn read(&mut self, items: impl IntoIterator<Item = Item>, plans: &dyn Plans, out: &mut Vec<Effect>) {
        for item in items {
            if item.seq <= self.read_seq {
                continue; // the reader was made anew and repeats itself
            }
            self.read_seq = item.seq;
            self.progress.begin(item.seq);
            match item.content {
                Content::Record(record) => self.take(item.run, record, Some(plans), out),
                Content::Garbage { reason } => {
                    ENTRIES_REFUSED.counter(&[reason]).increment(1);
                    tracing::warn!(run = %item.run, seq = item.seq, reason, "an entry cannot be read and is passed over");
                    self.progress.release(item.seq);
                }
                // The cursor stays in front of it: a newer coordinator will read it.
                Content::FromTheFuture { reason } => {
                    out.push(Effect::LetGo { reason });
                    return;
                }
            }
        }
    }

    /// One record: apply it, or let it wait for its run.
    fn take(&mut self, id: RunId, record: Record, plans: Option<&dyn Plans>, out: &mut Vec<Effect>) {
        let seq = record.stamp.seq;
        self.now = self.now.max(record.stamp.at);
        let _again = record.asks_for_an_end().then(|| self.finished.pop(&id)); // whoever has ended may have to pass that on
        if self.finished.contains(&id) {
            self.meters.ignored("run_finished");
            return self.progress.release(seq);
        }
        if let Some(loading) = self.loading.get_mut(&id) {
            return loading.waiting.push(record);
        }
        match self.cache.peek(&id).map(Run::last_seq) {
            Some(last) if last >= seq => return self.progress.release(seq), // a rebuild ran ahead of the reader and has it
            Some(_) => {}
            None => {
                let fresh = plans.and_then(|plans| self.fresh(id, &record, plans));
                let Some(run) = fresh else { return self.load(id, record, out) };
                self.cache.put(run);
            }
        }
        self.advance(id, &record, out);
        self.progress.release(seq);
    }

    /// The record waits until its run is rebuilt.
    fn load(&mut self, id: RunId, record: Record, out: &mut Vec<Effect>) {
        let seq = record.stamp.seq;
        self.loading.insert(id, Loading { waiting: vec![record], asked: 1 });
        out.push(Effect::Load { run: id, at_least: seq });
    }

    /// A run whose first entry this is, if nothing has to be read for it.
    fn fresh(&self, id: RunId, record: &Record, plans: &dyn Plans) -> Option<Run> {
        if record.channel != Channel::Control || record.stamp.seq <= self.config.high_water {
            return None;
        }
        match &record.entries.first()?.body {
            Body::RunSubmitted(submitted) if knows(submitted.behaviour) => plans.at_hand(id, submitted),
            _ => None,
        }
    }

    /// Applies a record to a run that is in memory and emits its commands.
    fn advance(&mut self, id: RunId, record: &Record, out: &mut Vec<Effect>) {
        let Some(run) = self.cache.get_mut(&id) else { return };
        let before = run.status();
        for (nth, entry) in record.entries.iter().enumerate() {
            let decision = apply(run, entry, record.channel, record.stamp);
            self.meters.applied(run, &entry.body, &decision);
            out.extend(Refused::told(id, record.stamp, nth, entry, &decision));
            emit(&mut self.progress, run, (record.stamp, false), decision.commands, out);
        }
        if run.status() != before && (run.is_finished() || run.status() == RunStatus::Stalled) {
            self.meters.settled(run);
            out.push(Effect::Settled(id));
        }
        self.keep(id, false);
    }

    /// Sees to the books after a run has changed: it is weighed, and is out of sight if its end is marked. `looked`: what it
    /// waits for was just performed.
    fn keep(&mut self, id: RunId, looked: bool) {
        let Some(run) = self.cache.peek(&id) else { return };
        if run.is_marked() {
            self.cache.remove(&id);
            self.open.remove(id);
            self.finished.put(id, ());
            return;
        }
        if looked {
            self.open.looked_again(run, self.now);
        } else {
            self.open.update(run);
        }
        self.cache.weigh(&id);
    }

    /// A command is acknowledged, or was found to be done already.
    pub fn performed(&mut self, token: Token) {
        self.progress.release(token.0);
    }

    /// The answer to [`Effect::Load`]; `seen` is the last sequence of the run's log that it was made from.
    pub fn loaded(&mut self, id: RunId, loaded: Loaded, seen: u64, out: &mut Vec<Effect>) {
        let Some(loading) = self.loading.remove(&id) else { return };
        match loaded {
            Loaded::Run { run, records } => {
                if seen < loading.waiting.first().map_or(0, |r| r.stamp.seq) {
                    return self.ask_again(id, loading, out); // a lagging replica answered short
                }
                self.rebuilt(*run, &records, loading, out);
            }
            Loaded::NotARun => {
                if loading.waiting.len() > loading.asked {
                    // More came while the log was read: perhaps the submission that makes it a run.
                    return self.ask_again(id, loading, out);
                }
                self.open.remove(id);
                out.push(Effect::Orphan { run: id, up_to: seen });
                self.release_all(&loading);
            }
            Loaded::NoPlan { reason } => {
                tracing::error!(run = %id, reason, "the run's definition cannot be loaded; it waits");
                self.open.discovered(id, self.now, self.now);
                self.open.postpone(id, self.now, NO_PLAN_PAUSE);
                self.release_all(&loading);
            }
            Loaded::FromTheFuture { reason } => out.push(Effect::LetGo { reason }),
        }
    }

    /// Asks for a log again, as far as its entries were read by now.
    fn ask_again(&mut self, id: RunId, loading: Loading, out: &mut Vec<Effect>) {
        let (asked, at_least) = (loading.waiting.len(), loading.waiting.last().map_or(0, |r| r.stamp.seq));
        self.loading.insert(id, Loading { asked, ..loading });
        out.push(Effect::Load { run: id, at_least });
    }

    /// Goes on with a run that was rebuilt: performs what it waits for, then takes what came meanwhile.
    fn rebuilt(&mut self, mut run: Run, records: &[Record], loading: Loading, out: &mut Vec<Effect>) {
        REBUILDS.counter(&[]).increment(1);
        // A look goes no further than the reader: what it performs is tied to no entry, and the cursor would pass those that
        // are still to be read before their commands are acknowledged.
        let until = if loading.waiting.is_empty() { self.read_seq } else { u64::MAX };
        // From here on nothing was counted: the reader passes over what a rebuild has.
        let unseen = loading.waiting.first().map_or(u64::MAX, |r| r.stamp.seq);
        for record in records.iter().filter(|r| r.stamp.seq <= until) {
            for (nth, entry) in record.entries.iter().enumerate() {
                // `outstanding` gives what is still wanted.
                let decision = apply(&mut run, entry, record.channel, record.stamp);
                if record.stamp.seq >= unseen {
                    self.meters.applied(&run, &entry.body, &decision);
                    out.extend(Refused::told(run.id(), record.stamp, nth, entry, &decision));
                }
            }
        }
        if loading.waiting.is_empty() && run.status() == RunStatus::Pending {
            return; // the reader has not come to its first entry
        }
        let known = run.last_seq();
        let (old, new): (Vec<_>, Vec<_>) = loading.waiting.into_iter().partition(|r| r.stamp.seq <= known);
        let seq = old.first().map_or(0, |r| r.stamp.seq);
        let commands = outstanding(&run, self.now);
        emit(&mut self.progress, &run, (Stamp { seq, at: self.now }, true), commands, out);
        if run.is_finished() || run.status() == RunStatus::Stalled {
            out.push(Effect::Settled(run.id()));
        }
        let id = run.id();
        self.cache.put(run);
        self.keep(id, true);
        for record in &old {
            self.progress.release(record.stamp.seq);
        }
        new.into_iter().for_each(|record| self.take(id, record, None, out)); // one may be its end, and the next a wish behind it
    }

    fn release_all(&mut self, loading: &Loading) {
        for record in &loading.waiting {
            self.progress.release(record.stamp.seq);
        }
    }

    /// Time passes: look at what is overdue, and whether the task queue lost something.
    pub fn tick(&mut self, now: Timestamp, tasks: Option<TasksState>, out: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        self.open.on_its_way(self.now, self.cursor(), self.loading.keys());
        tasks.into_iter().for_each(|tasks| self.compare_tasks(tasks));
        for id in self.open.due(self.now, self.config.looks_per_tick) {
            if out.len() < PENDING_MAX {
                self.look(id, out); // the others are due with the next tick
            }
        }
    }

    /// Suspects what the queue should hold and does not, once that can be said.
    fn compare_tasks(&mut self, tasks: TasksState) {
        let Some(recreated) = self.queue.compare(tasks, self.read_seq, self.now) else { return };
        let suspected = self.open.suspect(self.now, tasks.oldest, recreated);
        if suspected > 0 {
            tracing::warn!(recreated, suspected, "the task queue does not hold what it should; queueing again");
            RECONCILED_RUNS.counter(&["tasks_lost"]).increment(suspected as u64);
        }
    }

    /// Performs what a run waits for, rebuilding it first if it is not in memory.
    fn look(&mut self, id: RunId, out: &mut Vec<Effect>) {
        RECONCILED_RUNS.counter(&["overdue"]).increment(1);
        if let Some(run) = self.cache.get_mut(&id) {
            let commands = outstanding(run, self.now);
            emit(&mut self.progress, run, (Stamp { seq: 0, at: self.now }, true), commands, out);
            self.open.looked_at(run, self.now);
            return;
        }
        self.open.postpone(id, self.now, NO_PLAN_PAUSE);
        // A rebuild that is on its way performs what is outstanding, whoever asked for it.
        if let Entry::Vacant(place) = self.loading.entry(id) {
            place.insert(Loading::default());
            out.push(Effect::Load { run: id, at_least: 0 });
        }
    }

    /// Whether a run's state is in memory or on its way.
    #[must_use]
    pub fn knows_run(&self, run: &RunId) -> bool {
        self.cache.contains(run) || self.loading.contains_key(run)
    }
}

/// What a run wants done becomes orders, which the entry at `cause` waits for (none: sequence 0); and whether again.
fn emit(progress: &mut Progress, run: &Run, (cause, again): Cause, commands: Vec<Command>, out: &mut Vec<Effect>) {
    for command in commands {
        progress.hold(cause.seq);
        out.push(Effect::Perform(Box::new(Order::of(run, (cause, again), command))));
    }
}
