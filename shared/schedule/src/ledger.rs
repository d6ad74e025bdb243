//! What a schedule has done: as much as decides what it does next, and the last of it for people.

use std::collections::VecDeque;

use kapelle_types::{Principal, RunId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::turn::Time;

/// Decisions that are kept for people.
pub const RECENT_MAX: usize = 20;
/// Times that may wait for runs to end, backfilled ones included: they are in one message at the broker (1 MiB).
pub const WAITING_MAX: usize = 1_000;
/// Open runs that are followed; of more, which only `allow_all` starts, the oldest are no longer looked at.
pub(crate) const OPEN_MAX: usize = 100;

/// A run that was started and is not known to have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The time that it was started for.
    pub time: Timestamp,
    /// The run.
    pub run: RunId,
}

/// What became of a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Outcome {
    /// It is a run.
    Started {
        /// Which.
        run: RunId,
    },
    /// It passed because of a run that was open.
    Skipped {
        /// Why, as a sentence.
        why: String,
    },
    /// Nobody was there for longer than `catch_up`.
    Missed,
    /// It could not be started.
    Failed {
        /// Why, with its code.
        why: String,
    },
}

/// A time and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// The time of the schedule.
    pub time: Timestamp,
    /// When it was decided.
    pub at: Timestamp,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A schedule that stands still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who wanted it.
    pub by: Principal,
    /// Since when.
    pub at: Timestamp,
    /// Why; may be empty.
    pub note: String,
}

/// What a schedule has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Every time up to here is decided.
    pub decided_to: Timestamp,
    /// Its runs that are not known to have ended, the oldest first.
    pub open: Vec<Started>,
    /// Times that wait, the first to run first.
    pub waiting: VecDeque<Time>,
    /// The last decisions, the oldest first.
    pub recent: VecDeque<Firing>,
    /// Times that became runs.
    pub started: u64,
    /// Times that passed because of open runs.
    pub skipped: u64,
    /// Times that nobody was there for.
    pub missed: u64,
    /// Times that could not be started.
    pub failed: u64,
    /// Set while it stands still.
    pub pause: Option<Pause>,
}

impl Ledger {
    /// The ledger of a schedule that begins now.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            decided_to: now,
            open: Vec::new(),
            waiting: VecDeque::new(),
            recent: VecDeque::new(),
            started: 0,
            skipped: 0,
            missed: 0,
            failed: 0,
            pause: None,
        }
    }

    /// Keeps what became of a time.
    pub fn decided(&mut self, time: Timestamp, at: Timestamp, outcome: Outcome) {
        match &outcome {
            Outcome::Started { run } => {
                self.started += 1;
                if self.open.iter().all(|it| it.run != *run) {
                    self.open.push(Started { time, run: *run });
                }
                if self.open.len() > OPEN_MAX {
                    self.open.remove(0);
                }
            }
            Outcome::Skipped { .. } => self.skipped += 1,
            Outcome::Missed => self.missed += 1,
            Outcome::Failed { .. } => self.failed += 1,
        }
        self.recent.push_back(Firing { time, at, outcome });
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
    }

    /// Has times wait for their turn that somebody asks for; those that wait already do so once. False, and nothing is changed,
    /// if they are too many.
    #[must_use]
    pub fn ask(&mut self, times: impl IntoIterator<Item = Time>) -> bool {
        let new: Vec<Time> = times.into_iter().filter(|it| !self.waiting.contains(it)).collect();
        if self.waiting.len() + new.len() > WAITING_MAX {
            return false;
        }
        self.waiting.extend(new);
        true
    }
}
