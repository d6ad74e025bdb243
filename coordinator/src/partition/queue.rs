//! The task queue as it was last seen, and when it can be compared with the open runs.
//!
//! Tasks are derived from the log: what should be in the queue and is not, is due. A worker appends its report before it
//! acks its task. So once everything that stood in the log after the queue was looked at is read, a task that is neither
//! reported nor queued is lost. Suspecting wrongly costs one refused publish.

use std::time::Duration;

use kapelle_types::Timestamp;

use super::effect::TasksState;

/// A log that grows no more for this long counts as read: its last sequences may be timers or purged entries, which no
/// reader is given.
const LOG_STILL: Duration = Duration::from_secs(2);

/// What was last seen.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    created: Option<[i64; 2]>,
    /// Where the log ended, and since when it does.
    log_end: (u64, Timestamp),
}

impl Queue {
    /// Takes in what was seen now. `None`: the reader stands before something that may explain what is missing. Otherwise
    /// whether the queue is another one than before, which holds nothing of what was queued.
    pub(crate) fn compare(&mut self, tasks: TasksState, read_seq: u64, now: Timestamp) -> Option<bool> {
        let recreated = self.created.is_some_and(|before| before != tasks.created);
        self.created = Some(tasks.created);
        if self.log_end.0 != tasks.log_end {
            self.log_end = (tasks.log_end, now);
        }
        let read = read_seq >= tasks.log_end || now.since(self.log_end.1) > LOG_STILL;
        (recreated || read).then_some(recreated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_what_is_read_another_queue_and_a_log_that_stands_still() {
        let mut queue = Queue::default();
        let at = Timestamp::from_millis;
        let seen = |created, log_end| TasksState { created: [created, 7], oldest: None, log_end };
        assert_eq!(queue.compare(seen(1, 5), 4, at(0)), None);
        assert_eq!(queue.compare(seen(1, 5), 5, at(1)), Some(false));
        assert_eq!(queue.compare(seen(2, 6), 5, at(2)), Some(true));
        assert_eq!(queue.compare(seen(2, 6), 5, at(2_002)), None);
        assert_eq!(queue.compare(seen(2, 6), 5, at(2_003)), Some(false));
        assert_eq!(queue.compare(seen(2, 7), 5, at(2_004)), None);
    }
}
