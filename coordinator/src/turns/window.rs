//! How many tasks may stand in an agent version's queue at a time: as many as its workers execute at once, and some ahead.
//!
//! What stands in the queue is served in order of its coming, so as little as possible shall stand there; yet between two looks
//! no slot may run dry. How many ahead that takes depends on how long tasks take, which nobody says beforehand: the number doubles
//! when slots ran dry although something waited, and shrinks when much of it was left over.

/// Never fewer ahead.
const AHEAD_MIN: u32 = 1;
/// Never more ahead.
const AHEAD_MAX: u32 = 4_096;

/// The window of one agent version.
#[derive(Debug)]
pub(super) struct Window {
    ahead: u32,
    /// Whether everything was used that there was room for.
    used_up: bool,
}

impl Default for Window {
    fn default() -> Self {
        Self { ahead: AHEAD_MIN, used_up: false }
    }
}

impl Window {
    /// How many tasks may be let in now, if this many are queued or executed, and the workers execute `capacity` at once.
    pub(super) fn room(&mut self, queued: u64, capacity: u64) -> usize {
        if capacity == 0 {
            // Nobody is there: what is let in now would be served in this order later.
            self.ahead = AHEAD_MIN;
        } else if queued < capacity && self.used_up {
            self.ahead = (self.ahead * 2).min(AHEAD_MAX);
        } else if queued > capacity + u64::from(self.ahead / 2) {
            self.ahead = (self.ahead - self.ahead / 4).max(AHEAD_MIN);
        }
        usize::try_from((capacity + u64::from(self.ahead)).saturating_sub(queued)).unwrap_or(usize::MAX)
    }

    /// This many were let in, of as many as there was room for.
    pub(super) const fn used(&mut self, let_in: usize, room: usize) {
        self.used_up = let_in >= room;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The queue's length at each look if this many are finished between two looks and always enough waits.
    fn lengths(capacity: u64, finished: u64, looks: usize) -> Vec<u64> {
        let mut window = Window::default();
        let mut queued = 0;
        let look = |_| {
            let room = window.room(queued, capacity);
            window.used(room, room);
            let before = queued + room as u64;
            queued = before - finished.min(before);
            queued
        };
        (0..looks).map(look).collect()
    }

    #[test]
    fn opens_until_no_slot_runs_dry_and_no_further() {
        for finished in [1, 10, 100, 1_000] {
            let lengths = lengths(8, finished, 200);
            let settled = &lengths[100..];
            let dry = settled.iter().filter(|left| **left < 8).count();
            assert!(dry <= settled.len() / 3, "{finished}: {settled:?}");
            assert!(settled.iter().all(|left| *left <= 8 + 3 * finished), "{finished}: {settled:?}");
        }
    }

    #[test]
    fn lets_one_in_where_nobody_works_and_opens_only_for_what_waits() {
        let mut window = Window::default();
        assert_eq!(window.room(0, 0), 1);
        assert_eq!(window.room(1, 0), 0);
        for _ in 0..100 {
            let room = window.room(0, 4);
            window.used(1, room);
            assert_eq!(room, 5, "one task at a time needs no more");
        }
        assert_eq!(window.room(50, 4), 0);
    }
}
