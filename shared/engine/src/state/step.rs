//! A step inside a run, and the members of one that is a `foreach`.

use std::collections::BTreeSet;
use std::sync::Arc;

use kapelle_types::{Attempt, Payload};
use serde_json::Value;

use super::slot::Slot;
use crate::entry::Failure;

/// One step of the plan, in this run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Step {
    /// How many of its needs have not ended.
    pub(crate) waits: usize,
    /// Where it stands.
    pub(crate) state: StepState,
}

/// Where a step stands; the picture is in `state.rs`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StepState {
    /// Some of its needs have not ended.
    Waiting,
    /// Its needs ended; the run is held.
    Ready,
    /// Its `when` or `foreach` could not be evaluated.
    Broken(Box<Failure>),
    /// One attempt after another.
    Single(Slot),
    /// Once for each item of a list.
    FanOut(Box<FanOut>),
    /// Its `when` was false.
    Skipped,
    /// Nobody waited for it any more: enough of the steps that were joined with it had succeeded.
    Abandoned {
        /// The attempts that were begun.
        attempts: u32,
        /// Those of them that run another workflow and were in flight, with their members: the command that ends those runs
        /// may be lost.
        below: Vec<(Option<u32>, Attempt)>,
    },
    /// It gave up and the run goes on without its output.
    PassedOver {
        /// The attempts it took.
        attempts: u32,
        /// Why it gave up.
        failure: Box<Failure>,
    },
    /// It has its output.
    Succeeded {
        /// What it returned; of a `foreach` the list of what its members returned.
        output: Payload,
        /// The attempts it took; of a `foreach` those of all its members.
        attempts: u32,
        /// How many members it had, if it was a `foreach`.
        members: Option<u32>,
    },
}

impl StepState {
    /// Whether the steps that need this one may start.
    pub(crate) const fn is_ended(&self) -> bool {
        match self {
            Self::Skipped | Self::Abandoned { .. } | Self::PassedOver { .. } | Self::Succeeded { .. } => true,
            Self::Waiting | Self::Ready | Self::Broken(_) | Self::Single(_) | Self::FanOut(_) => false,
        }
    }
}

/// The members of a `foreach` step. Counters and sets are kept so that the end of one member is found its place in
/// logarithmic time, however many there are.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct FanOut {
    /// The list; an item is let go when its member is done.
    pub(crate) items: Vec<Option<Arc<Value>>>,
    /// The slots of the members that were started: always those with the lowest indices.
    pub(crate) members: Vec<Slot>,
    /// What the members returned; `None` until then, and where the value could not be fetched.
    pub(crate) outputs: Vec<Option<Arc<Value>>>,
    /// Members that may be dispatched as soon as there is room.
    pub(crate) due: BTreeSet<u32>,
    /// Members in flight.
    pub(crate) in_flight: u32,
    /// Members that wait for a retry timer.
    pub(crate) retrying: u32,
    /// Members that wait for a time or a signal.
    pub(crate) awaiting: u32,
    /// Members that are done.
    pub(crate) done: u32,
    /// Members of these that gave up: their output is null.
    pub(crate) passed_over: u32,
    /// Attempts of all members that were dispatched.
    pub(crate) attempts: u32,
    /// Why it cannot go on as a whole: its agent has spent what it may, or outputs could not be put together.
    pub(crate) broken: Option<Box<Failure>>,
}

impl FanOut {
    pub(crate) fn new(items: Vec<Arc<Value>>) -> Self {
        let outputs = vec![None; items.len()];
        Self { items: items.into_iter().map(Some).collect(), outputs, ..Self::default() }
    }

    /// How many members there are to be.
    pub(crate) fn total(&self) -> u32 {
        u32::try_from(self.items.len()).unwrap_or(u32::MAX) // FAN_OUT_MAX is far below
    }

    /// Members that take one of the `max_parallel` places.
    pub(crate) const fn busy(&self) -> u32 {
        self.in_flight + self.retrying + self.awaiting
    }

    /// Whether there is a member to be dispatched.
    pub(crate) fn has_next(&self) -> bool {
        !self.due.is_empty() || self.members.len() < self.items.len()
    }

    /// The next member to be dispatched: the lowest that is due, else the next of the list, which is started by asking.
    pub(crate) fn next(&mut self) -> Option<u32> {
        if let Some(due) = self.due.first() {
            return Some(*due);
        }
        let next = u32::try_from(self.members.len()).ok().filter(|n| *n < self.total())?;
        self.members.push(Slot::default());
        self.due.insert(next);
        Some(next)
    }

    /// What the bookkeeping of the members weighs, items and outputs not counted.
    pub(crate) fn frame_bytes(&self) -> usize {
        size_of::<Self>() + self.items.len() * (size_of::<Slot>() + 2 * size_of::<Option<Arc<Value>>>())
    }
}
