//! How many tasks may stand in an agent version's queue at a time: as many as its workers execute at once, and some ahead.
//!
//! What stands in the queue is served in order of its coming, so as little as possible shall stand there; yet until the next
//! look has led to something no slot may run dry. So as many stand ahead as are finished meanwhile: their rate times the time that
//! a look takes to lead to something (Little's law), both as they are measured, and half as many more.

use std::time::Duration;

/// Never fewer ahead.
const AHEAD_MIN: f64 = 1.0;
/// Never more ahead.
const AHEAD_MAX: f64 = 4_096.0;
/// What is added for rates that vary.
const MARGIN: f64 = 1.5;
/// The time over which the rate is averaged: long beside tasks that begin and end together.
const AVERAGED_OVER: f64 = 0.25;
/// How much a single look counts in the average time that looks take.
const WEIGHT: f64 = 0.125;

/// The window of one agent version.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Tasks that are finished in a second.
    rate: f64,
    /// Seconds from one look to the next.
    between: f64,
    /// Seconds from a look until what it let in stands in the queue.
    underway: f64,
}

impl Window {
    /// So many tasks were finished in the time since the look before.
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(super) fn finished(&mut self, tasks: u64, since: Duration) {
        let since = since.as_secs_f64().max(1e-6);
        self.rate += (tasks as f64 / since - self.rate) * (since / (since + AVERAGED_OVER));
        self.between += (since.min(AVERAGED_OVER) - self.between) * WEIGHT;
    }

    /// What a look let in stands in the queue this long after it.
    pub(super) fn queued(&mut self, after: Duration) {
        self.underway += (after.as_secs_f64().min(AVERAGED_OVER) - self.underway) * WEIGHT;
    }

    /// How many tasks may be let in now, if this many are queued or executed, and the workers execute `capacity` at once.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between the two limits")]
    pub(super) fn room(&self, queued: u64, capacity: u64) -> usize {
        // Where nobody works one is let in, since somebody might come: more would be served in this order later.
        let meanwhile = if capacity == 0 { 0.0 } else { self.rate * (self.between + self.underway) };
        let ahead = (meanwhile * MARGIN).ceil().clamp(AHEAD_MIN, AHEAD_MAX) as u64;
        usize::try_from((capacity + ahead).saturating_sub(queued)).unwrap_or(usize::MAX)
    }

    /// How long it takes until one more is finished.
    pub(super) fn pause(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate.max(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which part of the slots' time was used, and how many stood ahead at most in the second half, if `slots` tasks of this
    /// length are executed at a time, looks are this long apart and always enough waits.
    fn served(slots: u64, task_ms: u64, look_ms: u64) -> (f64, u64) {
        let (mut window, mut ready, mut busy) =
            (Window::default(), 0_u64, vec![None::<u64>; usize::try_from(slots).unwrap()]);
        let (mut used, mut most, mut after) = (0, 0, 0);
        let span = 4_000;
        for ms in 0..span {
            for slot in &mut busy {
                if slot.is_some_and(|ends| ends <= ms) {
                    *slot = None;
                }
                if slot.is_none() && ready > 0 {
                    (*slot, ready) = (Some(ms + task_ms), ready - 1);
                }
            }
            let length = ready + busy.iter().flatten().count() as u64;
            if ms % look_ms == 0 {
                window.finished(after - length, Duration::from_millis(look_ms));
                window.queued(Duration::from_millis(1));
                let room = window.room(length, slots) as u64;
                ready += room;
                after = length + room;
            }
            if ms >= span / 2 {
                used += busy.iter().flatten().count() as u64;
                most = most.max(ready);
            }
        }
        (used as f64 / (slots * span / 2) as f64, most)
    }

    #[test]
    fn no_slot_runs_dry_for_long_and_little_stands_ahead() {
        for (slots, task_ms, look_ms, ahead) in
            [(8, 20, 3, 4), (8, 200, 20, 3), (64, 20, 3, 24), (8, 1, 3, 60), (1, 50, 5, 2)]
        {
            let (used, most) = served(slots, task_ms, look_ms);
            // Those that begin together end together: the slots wait for a look then.
            assert!(used > 0.8, "{slots} slots, {task_ms} ms, looks every {look_ms} ms: {used} used, {most} ahead");
            assert!(
                most <= slots + ahead,
                "{slots} slots, {task_ms} ms, looks every {look_ms} ms: {used} used, {most} ahead"
            );
        }
    }

    #[test]
    fn lets_one_in_where_nobody_works() {
        let mut window = Window::default();
        assert_eq!(window.room(0, 0), 1);
        assert_eq!(window.room(1, 0), 0);
        window.finished(1_000, Duration::from_millis(100));
        assert_eq!(window.room(0, 0), 1);
        assert!(window.room(0, 4) > 5);
        assert_eq!(window.room(500, 4), 0);
        assert!(window.pause() < Duration::from_millis(1));
    }
}
