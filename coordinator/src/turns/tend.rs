//! Gives out the turns of one agent version: lets in as many of those that wait as its workers can take, in the order of the
//! lanes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::FuturesUnordered;
use kapelle_bus::tail::Tail;
use kapelle_bus::turns::Turns;
use kapelle_bus::waiting::{Arrival, Waiting, mark};
use kapelle_bus::{Bus, Error, Refusal};
use kapelle_proto::stream;
use kapelle_retry::{Delays, Policy};
use kapelle_telemetry::clock;
use kapelle_telemetry::metrics::TURNS_GIVEN;
use kapelle_types::{AgentVersion, printed};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Capacity;
use super::keys::Keys;
use super::lanes::{Lanes, Turn};
use super::recent::Recent;
use super::window::Window;

/// The shortest time between two looks at a queue that something waits for, while it moves.
const LOOK_MIN: Duration = Duration::from_millis(2);
/// The same while it stands still: agents at work for long, keys at their limits.
const LOOK_MAX: Duration = Duration::from_millis(40);
/// Tasks that are let in at once, at most: each is three requests to the broker on its way.
const AT_ONCE_MAX: usize = 256;
/// How often keys that nothing waits for are looked at, and whether the stream is still the same.
const TIDY_EVERY: Duration = Duration::from_secs(10);
/// How long the broker may refuse a task that was taken before it is left to those who look for tasks that are missing.
const QUEUE_PATIENCE: Duration = Duration::from_secs(30);

/// Whoever gives out the turns of one agent version.
pub(super) struct Tender {
    pub(super) bus: Bus,
    pub(super) store: Turns,
    pub(super) agent: AgentVersion,
    pub(super) capacity: watch::Receiver<Capacity>,
}

/// What he knows of those that wait.
struct Known {
    arrivals: Tail<Arrival>,
    lanes: Lanes,
    window: Window,
    keys: Keys,
    recent: Recent,
    /// How many tasks stood in the queue after the last look, and when that was.
    length: u64,
    looked: Instant,
    /// Those that were let in just now and came once more.
    twice: Vec<u64>,
    /// When the stream was created that all this was read from.
    created: i64,
    /// Whether the broker held something that waits when we knew of nothing.
    missed: bool,
}

/// A task that was on its way into the queue since a look: whether it came there, and if not whether somebody else has it.
type Queued = (Turn, Waiting, Instant, Result<bool, Error>);
/// Those that are on their way. The next look at the queue does not wait for them.
type Underway<'t> = FuturesUnordered<BoxFuture<'t, Queued>>;

impl Known {
    /// What became of a task that was on its way into the queue. One that could not be taken waits on.
    fn queued(&mut self, agent: &AgentVersion, (turn, waiting, since, queued): Queued) {
        if matches!(queued, Ok(true)) {
            self.window.queued(since.elapsed());
            self.recent.add(mark(&waiting.task.waiting()), Instant::now());
            turn.limit.iter().for_each(|key| self.keys.queued(key, printed(&waiting.task)));
            TURNS_GIVEN.counter(&[agent.name.as_str(), &agent.version.to_string()]).increment(1);
            return;
        }
        turn.limit.iter().for_each(|key| self.keys.give_back(key, &printed(&waiting.task)));
        if let Err(error) = queued {
            tracing::debug!(%agent, %error, "a task that waits cannot be taken right now");
            self.lanes.put_back(&turn);
        }
    }

    /// Takes in what came. What was let in just now and came once more is to be taken out.
    fn arrived(&mut self, chunk: Vec<Arrival>) {
        let now = Instant::now();
        for Arrival { seq, attempt, flow } in chunk {
            if self.recent.contains(attempt, now) {
                self.twice.push(seq);
                continue;
            }
            flow.limit.iter().for_each(|limit| self.keys.learn(limit));
            self.lanes.add(seq, &flow);
        }
    }
}

impl Tender {
    /// Gives out turns until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let policy = Policy { initial: LOOK_MAX, max: Duration::from_secs(1), ..Policy::default() };
        let mut delays = Delays::new(&policy);
        while !stop.is_cancelled() {
            match self.open().await {
                Ok(known) => self.tend(known, &stop).await,
                Err(error) => tracing::debug!(agent = %self.agent, %error, "turns cannot be given out right now"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(delays.next()) => {}
            }
        }
    }

    async fn open(&self) -> Result<Known, Error> {
        let created = self.bus.stream_state(stream::WAITING).await?.created;
        let keys = Keys::open(self.agent.clone(), self.store.clone()).await?;
        let arrivals = self.bus.arrivals(&self.agent);
        Ok(Known {
            arrivals,
            lanes: Lanes::default(),
            window: Window::default(),
            keys,
            recent: Recent::default(),
            length: 0,
            looked: Instant::now(),
            twice: Vec::new(),
            created,
            missed: false,
        })
    }

    /// Gives out turns until `stop`, or until what waits has to be read anew: over a new connection, since a broker that was
    /// killed may have back what was taken, and where there is something that we know nothing of.
    async fn tend(&self, mut known: Known, stop: &CancellationToken) {
        let mut pause = LOOK_MIN;
        let mut look_at = Instant::now();
        let mut tidied = Instant::now();
        let mut epochs = self.bus.connection().epochs();
        epochs.mark_unchanged();
        let mut underway = Underway::new();
        loop {
            // Arrivals are read between two looks and not one look made for each of them: thousands may come at once.
            let look = if known.lanes.len() > 0 { look_at } else { tidied + TIDY_EVERY };
            tokio::select! {
                () = stop.cancelled() => break,
                _ = epochs.changed() => break,
                Some(queued) = underway.next() => {
                    known.queued(&self.agent, queued);
                    continue;
                }
                chunk = known.arrivals.next() => match chunk {
                    Some(chunk) => {
                        known.arrived(chunk);
                        continue;
                    }
                    None => break,
                },
                () = sleep_until(look) => {}
            }
            join_all(known.twice.drain(..).map(|seq| self.bus.take_waiting(seq))).await;
            if tidied.elapsed() >= TIDY_EVERY {
                tidied = Instant::now();
                match self.tidy(&mut known).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => tracing::debug!(agent = %self.agent, %error, "not tidied"),
                }
            }
            pause = match self.give_out(&mut known, &mut underway).await {
                Ok(true) => known.window.pause().clamp(LOOK_MIN, LOOK_MAX),
                Ok(false) => (pause * 2).min(LOOK_MAX),
                Err(error) => {
                    tracing::debug!(agent = %self.agent, %error, "turns are given out again in a moment");
                    LOOK_MAX
                }
            };
            look_at = Instant::now() + pause;
        }
        while let Some(queued) = underway.next().await {
            known.queued(&self.agent, queued);
        }
    }

    /// False if what waits has to be read anew: the stream is another one, or holds what we know nothing of.
    async fn tidy(&self, known: &mut Known) -> Result<bool, Error> {
        let limited = known.lanes.limited();
        known.keys.tidy(&self.bus, &limited, clock::now()).await?;
        let missed = known.lanes.len() == 0 && self.bus.waiting_count(&self.agent).await? > 0;
        // Once it may have come just now.
        let still = std::mem::replace(&mut known.missed, missed) && missed;
        Ok(!still && self.bus.stream_state(stream::WAITING).await?.created == known.created)
    }

    /// Lets in those whose turn it is, and says whether the queue moves.
    async fn give_out<'t>(&'t self, known: &mut Known, underway: &mut Underway<'t>) -> Result<bool, Error> {
        if known.lanes.len() == 0 {
            return Ok(false);
        }
        let looked = Instant::now();
        let state = self.bus.queue_state(&self.agent).await?;
        let capacity = self.capacity.borrow().of(&self.agent).min(state.max_in_flight);
        let length = state.pending + state.in_flight + underway.len() as u64;
        let since = looked.saturating_duration_since(std::mem::replace(&mut known.looked, looked));
        let before = std::mem::replace(&mut known.length, length);
        known.window.finished(before.saturating_sub(length), since);
        let moves = before != length;
        let room = known.window.room(length, capacity).min(AT_ONCE_MAX);
        if room == 0 {
            return Ok(moves);
        }
        let now = clock::now();
        known.keys.refresh(&self.bus, &known.lanes.limited(), now).await?;
        let mut turns = Vec::with_capacity(room);
        while turns.len() < room
            && let Some(turn) = known.lanes.next(|key| known.keys.is_free(key, now))
        {
            turn.limit.iter().for_each(|key| known.keys.give(key));
            turns.push(turn);
        }
        let let_in = self.let_in(known, turns).await;
        known.keys.take_back();
        known.length += let_in.len() as u64;
        let moves = moves || !let_in.is_empty();
        underway.extend(let_in.into_iter().map(|(turn, waiting)| {
            Box::pin(async move {
                let queued = self.queue(&turn, &waiting).await;
                (turn, waiting, looked, queued)
            }) as BoxFuture<'t, Queued>
        }));
        Ok(moves)
    }

    /// Those of these tasks that may go into the queue: they are there and have a place, if their keys limit them.
    async fn let_in(&self, known: &mut Known, turns: Vec<Turn>) -> Vec<(Turn, Waiting)> {
        let mut ready: Vec<(Turn, Waiting)> = Vec::with_capacity(turns.len());
        let read = join_all(turns.iter().map(|turn| self.bus.waiting(turn.seq))).await;
        for (turn, read) in turns.into_iter().zip(read) {
            match read {
                Ok(Some(waiting)) => ready.push((turn, waiting)),
                // It was withdrawn.
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(agent = %self.agent, %error, "a task that waits cannot be read right now");
                    known.lanes.put_back(&turn);
                }
            }
        }
        self.hold(known, ready).await
    }

    /// Those of these tasks that have a place, if their keys limit them; the others wait on.
    async fn hold(&self, known: &mut Known, ready: Vec<(Turn, Waiting)>) -> Vec<(Turn, Waiting)> {
        let mut by_key: BTreeMap<Option<Arc<str>>, Vec<(Turn, Waiting)>> = BTreeMap::new();
        for (turn, waiting) in ready {
            by_key.entry(turn.limit.clone()).or_default().push((turn, waiting));
        }
        let mut have = by_key.remove(&None).unwrap_or_default();
        for (key, tasks) in by_key {
            let subjects: Vec<String> = tasks.iter().map(|(_, waiting)| printed(&waiting.task)).collect();
            let held = match key {
                Some(key) => known.keys.hold(&key, &subjects, clock::now()).await,
                None => Ok(true),
            };
            match held {
                Ok(true) => have.extend(tasks),
                Ok(false) => tasks.iter().for_each(|(turn, _)| known.lanes.put_back(turn)),
                Err(error) => {
                    tracing::debug!(agent = %self.agent, %error, "places of a key cannot be given out right now");
                    tasks.iter().for_each(|(turn, _)| known.lanes.put_back(turn));
                }
            }
        }
        have
    }

    /// Takes a task out and queues it. False if somebody else did, or it was withdrawn.
    ///
    /// # Errors
    /// It could not be taken; it may wait on.
    async fn queue(&self, turn: &Turn, waiting: &Waiting) -> Result<bool, Error> {
        if !self.bus.take_waiting(turn.seq).await? {
            return Ok(false);
        }
        let policy = Policy { initial: LOOK_MAX, total: Some(QUEUE_PATIENCE), ..Policy::default() };
        let send = |_| async {
            let sent = self.bus.queue_task(&waiting.task, waiting.message.clone()).await?.await;
            match sent {
                Err(error) if error.refusal() == Some(Refusal::AlreadyThere) => Ok(()),
                sent => sent.map(drop),
            }
        };
        if let Err(gave_up) = kapelle_retry::retry(&policy, |_| kapelle_retry::Verdict::Retry, send).await {
            tracing::warn!(task = %waiting.task, error = %gave_up.error, "its turn came and it is not queued; it will be missed");
        }
        Ok(true)
    }
}
