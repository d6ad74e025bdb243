//! A slot: the attempts of one step, or of one member of a `foreach`, one after another.

use kapelle_types::limits::EVIDENCE_BYTES_MAX;
use kapelle_types::{Attempt, Payload, Timestamp};

use crate::entry::Failure;
use crate::weight::payload_bytes;

/// Failures that a slot remembers for its dead letter, the latest ones: with evidence they stay far below what one
/// message may hold.
pub(crate) const HISTORY_MAX: usize = 20;
const _: () = assert!(HISTORY_MAX * EVIDENCE_BYTES_MAX < 256 * 1024);

/// The attempts of one step or member.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Slot {
    /// The highest attempt that was dispatched; 0 before the first.
    pub(crate) attempt: Attempt,
    /// When the first attempt of the present retry budget was dispatched.
    pub(crate) first_at: Option<Timestamp>,
    /// Where it stands.
    pub(crate) state: SlotState,
    /// What went wrong so far. Most slots have none.
    pub(crate) trouble: Option<Box<Trouble>>,
    /// What the round before left. Most slots have one round only.
    pub(crate) rounds: Option<Box<Rounds>>,
}

/// Where a slot stands; the picture is in `state.rs`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum SlotState {
    /// The next attempt may be dispatched as soon as the run is not held and the fan-out has room.
    #[default]
    Due,
    /// `attempt` is queued or running.
    InFlight,
    /// `attempt` waits for something that no report tells: for a signal, for this time, or for whichever comes first.
    Awaiting(Option<Timestamp>),
    /// The attempt after `attempt` is dispatched when this timer fires.
    Retrying(Timestamp),
    /// It exhausted its budget at this time; its dead letter is written.
    GaveUp(Timestamp),
    /// Its `with` could not be evaluated.
    Broken(Box<Failure>),
    /// It succeeded, or gave up and is gone on without.
    Done,
}

/// What went wrong with a slot.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Trouble {
    /// Failures that burnt an attempt of the present budget.
    pub(crate) counted: u32,
    /// Times that the worker was lost in the present budget.
    pub(crate) lost: u32,
    /// The latest failures, oldest first, of earlier budgets too.
    pub(crate) history: Vec<(Attempt, Timestamp, Failure)>,
}

/// What the rounds before left to a slot whose step is repeated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rounds {
    /// The present round; the first was 0.
    number: u32,
    /// The last attempt that belongs to the rounds before.
    before: Attempt,
    /// What the round before gave.
    last: Payload,
    /// What that weighs.
    bytes: usize,
}

impl Slot {
    /// The present round, from 0.
    pub(crate) fn round(&self) -> u32 {
        self.rounds.as_ref().map_or(0, |it| it.number)
    }

    /// The last attempt of the rounds before; 0 in the first.
    pub(crate) fn before(&self) -> Attempt {
        self.rounds.as_ref().map_or(0, |it| it.before)
    }

    /// What the round before gave; null in the first.
    pub(crate) fn last(&self) -> Payload {
        self.rounds.as_ref().map_or_else(Payload::null, |it| it.last.clone())
    }

    /// The next round: a new retry budget; attempt numbers go on.
    pub(crate) fn begin_round(&mut self, last: Payload) {
        let bytes = payload_bytes(&last);
        let rounds = Rounds { number: self.round().saturating_add(1), before: self.attempt, last, bytes };
        self.rounds = Some(Box::new(rounds));
        self.renew();
    }

    /// The rounds are used up: what an attempt has said so far was not good enough, and is not heard again.
    pub(crate) fn end_attempts(&mut self) {
        let rounds = || Box::new(Rounds { number: 0, before: 0, last: Payload::null(), bytes: 0 });
        self.rounds.get_or_insert_with(rounds).before = self.attempt;
    }

    /// Adds a failure to what is remembered.
    pub(crate) fn remember(&mut self, at: Timestamp, failure: &Failure) {
        let attempt = self.attempt;
        let trouble = self.trouble.get_or_insert_default();
        if trouble.history.len() >= HISTORY_MAX {
            trouble.history.remove(0);
        }
        trouble.history.push((attempt, at, failure.clone()));
    }

    /// A new retry budget; attempt numbers and the history go on.
    pub(crate) fn renew(&mut self) {
        self.first_at = None;
        if let Some(trouble) = &mut self.trouble {
            trouble.counted = 0;
            trouble.lost = 0;
        }
    }

    /// The failure that people should see first.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match &self.state {
            SlotState::Broken(failure) => Some(failure),
            SlotState::Done => None,
            SlotState::Due
            | SlotState::InFlight
            | SlotState::Awaiting(_)
            | SlotState::Retrying(_)
            | SlotState::GaveUp(_) => {
                self.trouble.as_ref().and_then(|t| t.history.last()).map(|(_, _, failure)| failure)
            }
        }
    }

    /// Bytes on the heap beside the slot itself. Bounded by `HISTORY_MAX`, so it may be asked for at every change.
    pub(crate) fn heap_bytes(&self) -> usize {
        let history = |t: &Trouble| t.history.iter().map(|(_, _, f)| 16 + failure_bytes(f)).sum::<usize>();
        let trouble = self.trouble.as_deref().map_or(0, |t| size_of::<Trouble>() + history(t));
        let broken = if let SlotState::Broken(failure) = &self.state { failure_bytes(failure) } else { 0 };
        let rounds = self.rounds.as_deref().map_or(0, |it| size_of::<Rounds>() + it.bytes);
        trouble + broken + rounds
    }
}

/// What a failure weighs.
pub(crate) fn failure_bytes(failure: &Failure) -> usize {
    size_of::<Failure>() + failure.code.len() + failure.message.len() + failure.evidence.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::FailureKind;

    #[test]
    fn the_history_keeps_the_latest_failures() {
        let mut slot = Slot::default();
        let failure = |n: u32| Failure {
            kind: FailureKind::Agent,
            code: n.to_string(),
            message: String::new(),
            retryable: true,
            retry_after: None,
            evidence: String::new(),
        };
        for attempt in 1..=50 {
            slot.attempt = attempt;
            slot.remember(Timestamp::default(), &failure(attempt));
        }
        let history = &slot.trouble.as_ref().unwrap().history;
        assert_eq!((history.len(), history[0].0, slot.failure().unwrap().code.as_str()), (HISTORY_MAX, 31, "50"));
    }
}
