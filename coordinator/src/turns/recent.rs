//! Attempts that were let in just now. Two owners of one partition dispatch the same: what one of them writes when the other's
//! has been let in already would wait once more, and be done twice.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// How long an attempt that comes again is taken for the same dispatch. One that is missed in the queue comes again later.
const SAME: Duration = Duration::from_secs(5);

/// Marks of attempts, oldest first.
#[derive(Debug, Default)]
pub(super) struct Recent {
    order: VecDeque<(Instant, u64)>,
    known: HashSet<u64>,
}

impl Recent {
    /// An attempt was let in.
    pub(super) fn add(&mut self, attempt: u64, now: Instant) {
        self.forget(now);
        if self.known.insert(attempt) {
            self.order.push_back((now, attempt));
        }
    }

    /// Whether an attempt was let in just now.
    pub(super) fn contains(&mut self, attempt: u64, now: Instant) -> bool {
        self.forget(now);
        self.known.contains(&attempt)
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, attempt)) = self.order.front().filter(|(at, _)| now.duration_since(*at) >= SAME) {
            debug_assert!(*at <= now);
            self.known.remove(attempt);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_the_same_for_a_while() {
        let (mut recent, begin) = (Recent::default(), Instant::now());
        recent.add(1, begin);
        recent.add(2, begin + SAME / 2);
        assert!(recent.contains(1, begin + SAME / 2) && !recent.contains(3, begin));
        assert!(!recent.contains(1, begin + SAME) && recent.contains(2, begin + SAME));
        assert!(!recent.contains(2, begin + SAME * 2) && recent.order.is_empty() && recent.known.is_empty());
    }
}
