//! Drives one partition's core with the real broker.

use std::collections::VecDeque;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use kapelle_bus::Bus;
use kapelle_bus::cursors::{Cursor, Cursors};
use kapelle_bus::runlog::RawRecord;
use kapelle_bus::tail::{Read, Tail};
use kapelle_engine::Body;
use kapelle_proto::{decode_record, stream};
use kapelle_telemetry::clock;
use kapelle_telemetry::metrics::{APPLY, ENTRIES_REFUSED, PARTITION_LAG, PARTITION_OWNER};
use kapelle_types::{Partition, RunId};
use metrics::{Gauge, Histogram};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::children::Family;
use super::core::{Core, CoreConfig};
use super::effect::{Effect, Item, Loaded, Token};
use super::load;
use super::observe::{Observed, observe};
use super::on_record::on_record;
use super::perform::Performer;
use super::service::{Config, Counts, Question, Shared};
use crate::listing::Ended;
use crate::pinned::Pinned;
use crate::runs::{RunRow, label_hashes, view};

/// How often overdue runs are looked for.
const TICK: Duration = Duration::from_millis(250);
/// How often the cursor is written while it moves.
const SAVE_EVERY: Duration = Duration::from_millis(500);
/// Entries after which the cursor is written earlier.
const SAVE_ENTRIES: u64 = 1_000;
/// How long after a failed rebuild the next is tried; the same for a stored payload.
const LOAD_AGAIN: Duration = Duration::from_millis(200);
/// Rebuilds at once.
const LOADS_MAX: usize = 64;
/// Acknowledgement batches that may wait for the loop.
const DONE_WAITING_MAX: usize = 4_096;
/// How long a partition that is let go waits for its last acknowledgements.
const LET_GO_PATIENCE: Duration = Duration::from_secs(2);

/// Why serving ended.
pub(super) enum Why {
    Stopped,
    Newer(String),
    StreamChanged,
}

pub(super) struct Driver {
    core: Core,
    ended: Ended,
    config: Config,
    shared: Shared,
    tail: Tail,
    /// What was read and is not applied yet.
    decoded: VecDeque<Item>,
    cursors: Cursors,
    saved: (u64, Instant),
    created: i64,
    performer: Performer,
    done: mpsc::Receiver<Vec<Token>>,
    loads: (mpsc::Sender<Answered>, mpsc::Receiver<Answered>),
    loading: Arc<Semaphore>,
    meters: Meters,
    tasks: watch::Receiver<Option<Observed>>,
    observer: JoinHandle<()>,
}

/// A rebuild that was asked for, and the last sequence of the run's log that it saw.
type Answered = (RunId, Loaded, u64);

struct Meters {
    lag: Gauge,
    owner: Gauge,
    apply: Histogram,
}

impl Driver {
    /// Reads the cursor, lists what is open and begins to read.
    pub(super) async fn take(config: &Config, shared: &Shared) -> Result<Self, kapelle_bus::Error> {
        let bus = &shared.bus;
        let partition = config.partition;
        let log = bus.stream_state(&stream::runs(partition)).await?;
        let cursors = Cursors::open(bus).await?;
        let cursor = match cursors.load(partition).await? {
            Some(c) if c.stream_created == log.created && c.seq <= log.last_seq => c.seq,
            Some(_) | None => log.first_seq.saturating_sub(1),
        };
        let looks_per_tick = (config.looks_per_second / 4).max(1);
        let cache_bytes_max = config.cache_bytes_max;
        let (high_water, outcomes) = (log.last_seq, Arc::clone(&shared.outcomes));
        let mut core = Core::new(CoreConfig { cursor, high_water, cache_bytes_max, looks_per_tick, outcomes });
        let mut ended = Ended::default();
        if log.messages > 0 {
            let mut open = Vec::new();
            for raw in bus.last_controls(partition).await? {
                match mark(&raw) {
                    Some(row) => ended.push(row),
                    None => open.push((raw.run, raw.stamp.at)),
                }
            }
            core.discovered(open, clock::now());
        }
        let (sender, done) = mpsc::channel(DONE_WAITING_MAX);
        let family = Family::new(bus.clone(), Arc::clone(&shared.plans), Arc::clone(&shared.submitter));
        let access = Arc::clone(&shared.access);
        let performer =
            Performer::new((bus.clone(), Arc::clone(&shared.takers)), access, family, &config.coordinator, sender);
        let (observed, tasks) = watch::channel(None);
        let observer = tokio::spawn(observe(bus.clone(), partition, observed));
        Ok(Self {
            core,
            ended,
            tail: Tail::start(bus.clone(), partition, cursor),
            decoded: VecDeque::new(),
            cursors,
            saved: (cursor, Instant::now()),
            created: log.created,
            performer,
            done,
            loads: mpsc::channel(LOADS_MAX * 2),
            loading: Arc::new(Semaphore::new(LOADS_MAX)),
            meters: Meters::new(partition),
            tasks,
            observer,
            config: config.clone(),
            shared: shared.clone(),
        })
    }

    /// Everything up to here is done.
    pub(super) const fn cursor(&self) -> u64 {
        self.core.cursor()
    }

    /// Serves until it is stopped or cannot go on.
    pub(super) async fn run(
        &mut self,
        stop: &CancellationToken,
        asked: &mut mpsc::Receiver<Question>,
        counts: &watch::Sender<Counts>,
    ) -> Why {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut effects = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Why::Stopped,
                Some(tokens) = self.done.recv() => tokens.into_iter().for_each(|t| self.core.performed(t)),
                Some((run, loaded, seen)) = self.loads.1.recv() => self.core.loaded(run, loaded, seen, &mut effects),
                _ = ticks.tick() => {
                    if let Some(why) = self.tick(&mut effects, counts) { return why }
                }
                Some(question) = asked.recv() => self.answer(question),
                () = ready(()), if self.core.wants_reads() && !self.decoded.is_empty() => self.apply(&mut effects),
                Some(chunk) = self.tail.next(), if self.core.wants_reads() => self.read(chunk).await,
            }
            if let Some(reason) = self.carry_out(&mut effects).await {
                return Why::Newer(reason);
            }
            self.save_cursor(false).await;
        }
    }

    /// Decodes a chunk.
    async fn read(&mut self, chunk: Vec<Read>) {
        let payloads = self.shared.bus.payloads();
        for read in &chunk {
            loop {
                match load::decode(payloads, read).await {
                    Ok(item) => break self.decoded.extend(item),
                    Err(error) => {
                        tracing::warn!(%error, "a stored payload cannot be fetched yet");
                        sleep(LOAD_AGAIN).await;
                    }
                }
            }
        }
    }

    /// Applies what is decoded, as much of it as there is room for what it leads to: an entry may have ten thousand tasks
    /// queued.
    fn apply(&mut self, effects: &mut Vec<Effect>) {
        let started = Instant::now();
        while self.core.wants_reads() && !matches!(effects.last(), Some(Effect::LetGo { .. })) {
            let Some(item) = self.decoded.pop_front() else { break };
            self.core.read([item], &*self.shared.plans, effects);
        }
        self.meters.apply.record(started.elapsed().as_secs_f64());
    }

    /// Does what the core wants done. Says why if the partition has to be let go.
    async fn carry_out(&mut self, effects: &mut Vec<Effect>) -> Option<String> {
        let mut orders = Vec::new();
        let mut newer = None;
        for effect in effects.drain(..) {
            match effect {
                Effect::Perform(order) => orders.push(*order),
                Effect::Load { run, at_least } => self.load(run, at_least),
                Effect::Settled(run) => self.settled(run).await,
                Effect::Orphan { run, up_to } => self.remove_orphan(run, up_to),
                Effect::Refused(refused) => {
                    on_record(&self.shared.trail, self.config.partition, self.created, *refused)
                }
                Effect::LetGo { reason } => newer = Some(reason),
            }
        }
        self.performer.perform(orders).await;
        newer
    }

    /// Rebuilds a run in the background.
    fn load(&self, run: RunId, at_least: u64) {
        let (answer, shared, slots) = (self.loads.0.clone(), self.shared.clone(), Arc::clone(&self.loading));
        tokio::spawn(async move {
            let Ok(_slot) = slots.acquire_owned().await else { return };
            while !answer.is_closed() {
                let loaded = tokio::select! {
                    () = answer.closed() => return,
                    loaded = load::load_whole(&shared.bus, &shared.plans, run, at_least) => loaded,
                };
                match loaded {
                    Ok((loaded, seen)) => {
                        let _ = answer.send((run, loaded, seen)).await;
                        return;
                    }
                    Err(error) => {
                        tracing::warn!(%run, %error, "a run cannot be rebuilt yet");
                        sleep(LOAD_AGAIN).await;
                    }
                }
            }
        });
    }

    fn remove_orphan(&self, run: RunId, up_to: u64) {
        ENTRIES_REFUSED.counter(&["no_such_run"]).increment(1);
        tracing::warn!(%run, "entries that belong to no run; removing them");
        let bus = self.shared.bus.clone();
        tokio::spawn(async move {
            if let Err(error) = bus.purge_run(run, up_to).await {
                tracing::warn!(%run, %error, "they stay for now");
            }
        });
    }

    fn tick(&mut self, effects: &mut Vec<Effect>, counts: &watch::Sender<Counts>) -> Option<Why> {
        let observed = *self.tasks.borrow_and_update();
        self.core.tick(clock::now(), observed.map(|o| o.tasks), effects);
        let (open, stalled) = self.core.open_counts();
        counts.send_replace(Counts { open, stalled, overdue: self.core.oldest_overdue() });
        let lag = observed.map_or(0, |o| o.tasks.log_end.saturating_sub(self.core.read_seq()));
        self.meters.lag(lag);
        let changed = |o: Observed| o.log_created != self.created || o.log_shrunk;
        observed.is_some_and(changed).then_some(Why::StreamChanged)
    }

    fn answer(&self, question: Question) {
        match question {
            Question::List(query, answer) => {
                let open = self.core.open_runs().map(|(id, row)| RunRow::open(*id, row));
                let _ = answer.send(query.pick(self.config.partition, open, self.ended.iter()));
            }
            Question::Pinned(wanted, answer) => {
                let (unlisted, read_to) = (self.core.unlisted(), self.core.read_seq());
                let _ = answer.send(Pinned::among(&wanted, self.core.open_runs(), unlisted, read_to));
            }
        }
    }

    /// A run ended or stalled: whoever waits is told, and a listing remembers the end.
    async fn settled(&mut self, id: RunId) {
        let Some(run) = self.core.cached(&id) else { return };
        // Only a key can have made others wait for the same run elsewhere.
        let last_seq = run.last_seq();
        let all_told = self.shared.waiters.settled(id, || view(run)) && run.key().is_none();
        if run.is_finished() {
            let times = (run.submitted_at().unwrap_or_default(), run.last_progress());
            let labels = run.labels().map(label_hashes).unwrap_or_default();
            self.ended.push(RunRow::ended(id, Some(run.plan().workflow.clone()), run.status(), labels, times));
        }
        if !all_told {
            self.shared.bus.tell_settled(id, last_seq).await;
        }
    }

    async fn save_cursor(&mut self, last: bool) {
        let seq = self.core.cursor();
        let (saved, at) = self.saved;
        let due = at.elapsed() >= SAVE_EVERY || seq >= saved + SAVE_ENTRIES;
        if seq == saved || !(due || last) {
            return;
        }
        self.saved = (seq, Instant::now());
        let (cursors, partition) = (self.cursors.clone(), self.config.partition);
        let cursor = Cursor { seq, stream_created: self.created };
        let save = async move {
            if let Err(error) = cursors.save(partition, cursor).await {
                tracing::debug!(%partition, %error, "the cursor is not written; entries behind it are read again");
            }
        };
        if last {
            save.await;
        } else {
            tokio::spawn(save);
        }
    }

    /// Waits a little for what is in flight, then writes the cursor.
    pub(super) async fn let_go(mut self) {
        let deadline = Instant::now() + LET_GO_PATIENCE;
        while !self.core.is_idle() {
            match tokio::time::timeout_at(deadline, self.done.recv()).await {
                Ok(Some(tokens)) => tokens.into_iter().for_each(|t| self.core.performed(t)),
                Ok(None) | Err(_) => break,
            }
        }
        self.save_cursor(true).await;
        self.meters.owner.set(0.0);
        tracing::info!(partition = %self.config.partition, cursor = self.core.cursor(), "let the partition go");
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.observer.abort();
    }
}

/// Runs whose end is not marked, by their logs: for whoever has to know it where no coordinator answers.
///
/// # Errors
/// [`kapelle_bus::Error::Unavailable`] if the broker stopped answering.
pub async fn open_runs(bus: &Bus) -> Result<usize, kapelle_bus::Error> {
    let mut open = 0;
    for partition in bus.partitions().all() {
        open += bus.last_controls(partition).await?.iter().filter(|raw| mark(raw).is_none()).count();
    }
    Ok(open)
}

/// The row of a run whose last control record is the mark of its end.
fn mark(raw: &RawRecord) -> Option<RunRow> {
    let record = decode_record(raw.channel, raw.stamp, &raw.payload).ok()?;
    let Body::RunFinished(finished) = &record.entries.last()?.body else { return None };
    Some(RunRow::ended(raw.run, None, finished.status, Arc::default(), (raw.stamp.at, raw.stamp.at)))
}

impl Meters {
    fn new(partition: Partition) -> Self {
        let label = partition.to_string();
        let owner = PARTITION_OWNER.gauge(&[&label]);
        owner.set(1.0);
        Self { owner, lag: PARTITION_LAG.gauge(&[&label]), apply: APPLY.histogram(&[]) }
    }

    #[allow(clippy::cast_precision_loss)] // counts far below 2^52
    fn lag(&self, entries: u64) {
        self.lag.set(entries as f64);
    }
}
