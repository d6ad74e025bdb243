//! The account of what was asked for. Pure: it knows neither the broker nor the clock.
//!
//! A task does not say which request brought it, but the end of a request says how many it did not bring. So the sum is
//! exact as long as every end is heard; where one is lost, `expire` and `void` make sure that no credit is lost with it.

use std::collections::VecDeque;

use tokio::time::Instant;

/// Requests of one puller.
#[derive(Debug)]
pub(super) struct Requests {
    slots: usize,
    /// Tasks asked for that did not come yet.
    requested: usize,
    /// Requests that may stand, oldest first; their ids are consecutive. One that ended has batch 0.
    live: VecDeque<Request>,
    /// The sum of the batches in `live`: `requested` is never more.
    live_batches: usize,
    first_id: u64,
}

#[derive(Debug)]
struct Request {
    batch: usize,
    gone_at: Instant,
}

impl Requests {
    pub(super) const fn new(slots: usize) -> Self {
        let slots = if slots == 0 { 1 } else { slots };
        Self { slots, requested: 0, live: VecDeque::new(), live_batches: 0, first_id: 0 }
    }

    pub(super) const fn slots(&self) -> usize {
        self.slots
    }

    pub(super) const fn requested(&self) -> usize {
        self.requested
    }

    /// How many to ask for now: only if nothing is asked for or a quarter of the slots is free, so that at a high rate one
    /// request stands for many tasks.
    pub(super) fn due(&self, held: usize) -> Option<usize> {
        let free = self.slots.saturating_sub(held).saturating_sub(self.requested);
        let enough = if self.requested == 0 { 1 } else { self.quarter() };
        (free >= enough).then_some(free)
    }

    /// The number of held tasks at or below which [`Requests::due`] answers; `None` if no release changes that.
    pub(super) fn held_to_ask(&self) -> Option<usize> {
        let enough = if self.requested == 0 { 1 } else { self.quarter() };
        self.slots.checked_sub(self.requested)?.checked_sub(enough)
    }

    const fn quarter(&self) -> usize {
        if self.slots < 8 { 1 } else { self.slots / 4 }
    }

    pub(super) fn next_id(&self) -> u64 {
        self.first_id + self.live.len() as u64
    }

    /// Whether a status with this id is about a request that counts.
    pub(super) fn is_current(&self, id: u64) -> bool {
        (self.first_id..self.next_id()).contains(&id)
    }

    pub(super) fn sent(&mut self, batch: usize, gone_at: Instant) {
        self.live.push_back(Request { batch, gone_at });
        self.live_batches += batch;
        self.requested += batch;
    }

    pub(super) const fn delivered(&mut self) {
        // Zero when a task of a forgotten request comes late.
        self.requested = self.requested.saturating_sub(1);
    }

    /// A request ended with this many undelivered; `None` means that it was never taken.
    pub(super) fn ended(&mut self, id: u64, undelivered: Option<usize>) {
        let Some(request) = id.checked_sub(self.first_id).and_then(|at| self.live.get_mut(usize::try_from(at).ok()?))
        else {
            return;
        };
        let batch = std::mem::take(&mut request.batch);
        self.live_batches -= batch;
        self.requested = self.requested.saturating_sub(undelivered.unwrap_or(batch).min(batch));
        self.settle();
    }

    /// Gives up the requests that must have ended by now.
    pub(super) fn expire(&mut self, now: Instant) {
        for request in self.live.iter_mut().take_while(|r| r.gone_at <= now) {
            self.live_batches -= std::mem::take(&mut request.batch);
        }
        self.settle();
    }

    /// Forgets all requests.
    pub(super) fn void(&mut self) {
        self.first_id = self.next_id();
        self.live.clear();
        self.live_batches = 0;
        self.requested = 0;
    }

    fn settle(&mut self) {
        while self.live.front().is_some_and(|r| r.batch == 0) {
            self.live.pop_front();
            self.first_id += 1;
        }
        self.requested = self.requested.min(self.live_batches);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Instant {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        *START.get_or_init(Instant::now) + Duration::from_secs(seconds)
    }

    #[test]
    fn a_quarter_must_be_free_unless_nothing_is_asked_for() {
        let mut r = Requests::new(16);
        assert_eq!(r.due(0), Some(16));
        r.sent(16, at(10));
        assert_eq!((r.due(0), r.held_to_ask()), (None, None));
        (0..4).for_each(|_| r.delivered());
        assert_eq!((r.due(4), r.due(1), r.due(0)), (None, None, Some(4)));
        assert_eq!(r.held_to_ask(), Some(0));
        (0..12).for_each(|_| r.delivered());
        assert_eq!((r.due(16), r.due(15), r.held_to_ask()), (None, Some(1), Some(15)));
    }

    #[test]
    fn every_end_gives_its_credit_back() {
        let mut r = Requests::new(8);
        r.sent(8, at(10));
        r.delivered();
        r.ended(0, Some(7));
        assert_eq!((r.requested(), r.due(1)), (0, Some(7)));
        r.sent(7, at(20));
        assert!(!r.is_current(0) && r.is_current(1));
        r.ended(1, None);
        assert_eq!(r.requested(), 0);
        r.ended(1, Some(7)); // said twice
        assert_eq!(r.due(0), Some(8));
    }

    #[test]
    fn an_end_that_was_never_told_costs_nothing_for_long() {
        let mut r = Requests::new(4);
        r.sent(4, at(10));
        r.delivered();
        r.expire(at(9));
        assert_eq!(r.requested(), 3);
        r.expire(at(10));
        assert_eq!((r.requested(), r.due(1)), (0, Some(3)));
    }

    #[test]
    fn after_a_void_old_statuses_and_late_tasks_do_no_harm() {
        let mut r = Requests::new(4);
        r.sent(4, at(10));
        r.void();
        assert!(!r.is_current(0));
        r.delivered();
        assert_eq!(r.due(1), Some(3));
        r.sent(3, at(10));
        r.ended(0, Some(3));
        assert_eq!(r.requested(), 3);
        r.ended(1, Some(3));
        assert_eq!(r.requested(), 0);
    }
}
