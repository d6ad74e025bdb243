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

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use kapelle_bus::Error;
use kapelle_bus::pace::Pacer;
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

/// The starts of one agent version in one worker.
pub(crate) struct Turns {
    rate: Rate,
    book: Mutex<Book>,
    /// Tasks that came and have no start yet.
    waiting: AtomicUsize,
    /// Tasks that waited in the queue when the last one came.
    behind: AtomicU64,
    /// More tasks that this worker could hold.
    free: AtomicUsize,
    changed: Notify,
    hold: Hold,
}

struct Book {
    pacer: Pacer,
    /// Starts that are reserved and not given to a task.
    reserved: VecDeque<Instant>,
    /// When the fleet's next start is due, as far as this worker knows.
    next: Option<Instant>,
}

/// The start of one task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn(Instant);

impl Turn {
    /// Whether it may still be used.
    pub(crate) fn is_good(self) -> bool {
        self.0.elapsed() <= GOOD_FOR
    }
}

impl Turns {
    pub(crate) fn new(pacer: Pacer, hold: Hold) -> Self {
        Self {
            rate: pacer.rate(),
            book: Mutex::new(Book { pacer, reserved: VecDeque::new(), next: None }),
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
    pub(crate) fn again(self: &Arc<Self>) -> Outside {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Outside(Arc::clone(self))
    }

    /// How many tasks may be asked for now, and when to look again.
    pub(crate) fn room(&self) -> (usize, Instant) {
        let now = Instant::now();
        // While somebody reserves, the task that it does so for is the one that may wait outside.
        let Ok(book) = self.book.try_lock() else { return (0, now + AHEAD) };
        let waiting = self.waiting.load(Ordering::Relaxed);
        let soon = book.reserved.iter().filter(|at| **at <= now + AHEAD && now <= **at + GOOD_FOR).count();
        if soon > waiting {
            return (soon - waiting, now + AHEAD / 2);
        }
        match (book.reserved.front(), book.next) {
            _ if waiting > 0 => (0, now + AHEAD / 2),
            (Some(at), _) if *at > now => (0, *at - AHEAD),
            // Nobody can start before: the task waits where others see it.
            (None, Some(next)) if next > now + AHEAD => (0, next - AHEAD),
            _ => (1, now + AGAIN),
        }
    }

    /// Waits until [`Turns::room`] may say something else.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    async fn start(&self) -> Instant {
        loop {
            {
                let mut book = self.book.lock().await;
                while let Some(start) = book.reserved.pop_front() {
                    if Turn(start).is_good() {
                        return start;
                    }
                }
                match book.reserve(self.wanted()).await {
                    Ok(()) => {
                        self.hold.release();
                        continue;
                    }
                    Err(error) => self.hold.because(&format!("its rate of {} cannot be kept: {error}", self.rate)),
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// How many starts to reserve: one write for a second's worth, but none that nobody here could use.
    fn wanted(&self) -> u32 {
        let behind = usize::try_from(self.behind.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let more = behind.min(self.free.load(Ordering::Relaxed));
        u32::try_from(more).unwrap_or(u32::MAX).saturating_add(1).min(self.rate.burst())
    }
}

impl Book {
    async fn reserve(&mut self, count: u32) -> Result<(), Error> {
        self.reserved.extend(self.pacer.reserve(count).await?);
        self.next = self.reserved.back().map(|last| *last + self.pacer.rate().interval());
        Ok(())
    }
}

/// A task that is out of its queue without a start.
pub(crate) struct Outside(Arc<Turns>);

impl Outside {
    /// The task's start, when it is due; `None` if the worker drains before.
    pub(crate) async fn turn(self, draining: &CancellationToken) -> Option<(Turn, Arc<Turns>)> {
        let start = tokio::select! {
            biased;
            () = draining.cancelled() => return None,
            start = self.0.start() => start,
        };
        let turns = Arc::clone(&self.0);
        drop(self);
        tokio::select! {
            biased;
            () = draining.cancelled() => None,
            () = sleep_until(start) => Some((Turn(start), turns)),
        }
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}
