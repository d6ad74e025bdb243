//! When the next task of an agent with a `rate` may start, fleet-wide.
//!
//! ```text
//!   a task came ──▶ next ──is a start reserved?──yes──▶ wait for it ──▶ a slot ──▶ run
//!                              │ no                                      └── a start is good for a second, then not
//!                              └──▶ reserve: one for this task, some for what waits behind it
//! ```
//!
//! A task that waits for the rate waits in its queue: while no start is reserved a worker asks for one task and no more, and
//! for as many as it has starts when it has some. Only what a request brings that outlived its starts waits in the worker.
//! In any time at most the rate begins, and what began late: as much as one second's worth, since no start is used later.
//! What is not used is given back: with the next reservation if it came too late, at the drain otherwise.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use kapelle_bus::pace::{Pacer, Reserved, Start};
use kapelle_types::Rate;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::holds::Hold;

/// How long a reserved start may be used. It is what the documented burst stands on: one second's worth of the rate.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// How long before its start a task is asked for: the way from the broker and back.
const AHEAD: Duration = Duration::from_millis(100);
/// How long to wait before asking again when no start can be reserved.
const AGAIN: Duration = Duration::from_secs(1);
/// How often a task that waits for a start looks whether one was given back: what a drain elsewhere is noticed by.
const LOOK: Duration = Duration::from_secs(10);
/// How long a drain tries to give starts back.
const GIVE_BACK_WAIT_MAX: Duration = Duration::from_secs(2);

/// The starts of one agent version in one worker.
pub(crate) struct Turns {
    rate: Rate,
    /// `None` once the worker has drained.
    pacer: Mutex<Option<Pacer>>,
    book: std::sync::Mutex<Book>,
    /// Tasks that came and have no start yet.
    waiting: AtomicUsize,
    /// Tasks that waited in the queue when the last one came.
    behind: AtomicU64,
    /// More tasks that this worker could hold.
    free: AtomicUsize,
    changed: Notify,
    hold: Hold,
}

#[derive(Default)]
struct Book {
    /// Starts that are reserved and not given to a task, also those that are too old to be used.
    reserved: BTreeSet<Start>,
    /// When the fleet's next start is due, as far as this worker knows.
    next: Option<Instant>,
}

/// The start of one task. One that does not begin, because it was withdrawn or the worker drains, leaves it to others.
pub(crate) struct Turn {
    start: Option<Start>,
    turns: Arc<Turns>,
}

impl Turn {
    /// Uses the start.
    ///
    /// # Errors
    /// It is too late for it: the task needs another one.
    pub(crate) fn begin(mut self) -> Result<(), Outside> {
        if self.start.is_some_and(|start| is_good(start.due)) {
            self.start = None;
            return Ok(());
        }
        Err(self.again())
    }

    /// The task needs another start, whatever becomes of this one.
    pub(crate) fn again(&self) -> Outside {
        self.turns.again()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(start) = self.start {
            self.turns.book().reserved.insert(start);
            self.turns.changed.notify_one();
        }
    }
}

/// Whether a start may still be used.
fn is_good(due: Instant) -> bool {
    due.elapsed() <= GOOD_FOR
}

impl Turns {
    pub(crate) fn new(pacer: Pacer, hold: Hold) -> Self {
        Self {
            rate: pacer.rate(),
            pacer: Mutex::new(Some(pacer)),
            book: std::sync::Mutex::default(),
            waiting: AtomicUsize::new(0),
            behind: AtomicU64::new(0),
            free: AtomicUsize::new(0),
            changed: Notify::new(),
            hold,
        }
    }

    /// A task came, with so many behind it, and so many more could be held.
    pub(crate) fn came(self: &Arc<Self>, behind: u64, free: usize) -> Outside {
        self.behind.store(behind, Ordering::Relaxed);
        self.free.store(free, Ordering::Relaxed);
        self.again()
    }

    /// A task that came needs another start.
    fn again(self: &Arc<Self>) -> Outside {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Outside(Arc::clone(self))
    }

    /// How many tasks may be asked for now, and when to look again.
    pub(crate) fn room(&self) -> (usize, Instant) {
        let now = Instant::now();
        let book = self.book();
        let waiting = self.waiting.load(Ordering::Relaxed);
        let good = || book.reserved.iter().map(|start| start.due).filter(|due| is_good(*due));
        let soon = good().filter(|due| *due <= now + AHEAD).count();
        if soon > waiting {
            return (soon - waiting, now + AHEAD / 2);
        }
        match (good().next(), book.next) {
            _ if waiting > 0 => (0, now + AGAIN),
            (Some(due), _) if due > now => (0, due - AHEAD),
            // Nobody can start before: the task waits where others see it.
            (None, Some(next)) if book.reserved.is_empty() && next > now + AHEAD => (0, next - AHEAD),
            _ => (1, now + AGAIN),
        }
    }

    /// Waits until [`Turns::room`] may say something else.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Gives back what is reserved; nothing starts here any more.
    pub(crate) async fn close(&self) {
        let given_back = async {
            let Some(pacer) = self.pacer.lock().await.take() else { return Ok(()) };
            let unused = std::mem::take(&mut self.book().reserved);
            if unused.is_empty() { Ok(()) } else { pacer.give_back(&unused).await }
        };
        match tokio::time::timeout(GIVE_BACK_WAIT_MAX, given_back).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "starts that were not used are lost"),
            Err(_) => tracing::warn!("starts that were not used are lost: the broker did not answer"),
        }
    }

    async fn start(self: &Arc<Self>) -> Turn {
        loop {
            if let Some(start) = self.book().take() {
                return Turn { start: Some(start), turns: Arc::clone(self) };
            }
            // A task of its own: what the broker grants is in the book even if whoever waits for it is withdrawn meanwhile.
            let reserved = tokio::spawn(Arc::clone(self).reserve()).await;
            if let Some(again_at) = reserved.unwrap_or_else(|_| Some(Instant::now() + AGAIN)) {
                sleep_until(again_at).await;
            }
        }
    }

    /// Reserves starts unless some are there; says when to try again if there is none.
    async fn reserve(self: Arc<Self>) -> Option<Instant> {
        let mut pacer = self.pacer.lock().await;
        let now = Instant::now();
        let Some(pacer) = pacer.as_mut() else { return Some(now + AGAIN) };
        if self.book().reserved.iter().any(|start| is_good(start.due)) {
            return None;
        }
        let unused = self.book().reserved.clone();
        match pacer.reserve(self.wanted(), &unused).await {
            Ok(reserved) => {
                self.hold.release();
                let again_at = self.book().enter(reserved, &unused, self.rate);
                self.changed.notify_one();
                again_at
            }
            Err(error) => {
                self.hold.because(&format!("its rate of {} cannot be kept: {error}", self.rate));
                Some(now + AGAIN)
            }
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing in here panics half-way, so what is there is whole.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many starts to reserve: one write for a second's worth, but none that nobody here could use.
    fn wanted(&self) -> u32 {
        let behind = usize::try_from(self.behind.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let more = behind.min(self.free.load(Ordering::Relaxed));
        u32::try_from(more).unwrap_or(u32::MAX).saturating_add(1).min(self.rate.burst())
    }
}

impl Book {
    /// The first start that may be used.
    fn take(&mut self) -> Option<Start> {
        let start = self.reserved.iter().find(|start| is_good(start.due)).copied()?;
        self.reserved.take(&start)
    }

    /// Enters what came of asking, after these were given back; says when to ask again if there is no start.
    fn enter(&mut self, came: Reserved, unused: &BTreeSet<Start>, rate: Rate) -> Option<Instant> {
        self.reserved.retain(|start| !unused.contains(start));
        match came {
            Reserved::Starts(starts) => {
                self.next = starts.last().map(|last| last.due + rate.interval());
                self.reserved.extend(starts);
                None
            }
            Reserved::NotBefore(at) => {
                self.next = Some(at + AHEAD);
                Some(at.min(Instant::now() + LOOK))
            }
        }
    }
}

/// A task that is out of its queue without a start.
pub(crate) struct Outside(Arc<Turns>);

impl Outside {
    /// The task's start, when it is due; `None` if the worker drains before.
    pub(crate) async fn turn(self, draining: &CancellationToken) -> Option<Turn> {
        let turn = tokio::select! {
            biased;
            () = draining.cancelled() => return None,
            turn = self.0.start() => turn,
        };
        drop(self);
        let due = turn.start.map_or_else(Instant::now, |start| start.due);
        tokio::select! {
            biased;
            () = draining.cancelled() => None,
            () = sleep_until(due) => Some(turn),
        }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}
