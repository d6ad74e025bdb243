//! The cursor: it moves past an entry only when everything that it and all entries before it caused is acknowledged.

use std::collections::VecDeque;

/// Which entries are still waiting for something.
#[derive(Debug)]
pub(crate) struct Progress {
    cursor: u64,
    /// (sequence, things it waits for), ascending; the front is the oldest that is not done.
    window: VecDeque<(u64, u32)>,
    pending: usize,
}

impl Progress {
    pub(crate) const fn new(cursor: u64) -> Self {
        Self { cursor, window: VecDeque::new(), pending: 0 }
    }

    /// Everything up to here is done.
    pub(crate) const fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Things that are waited for, over all entries.
    pub(crate) const fn pending(&self) -> usize {
        self.pending
    }

    /// An entry was read; it waits for one thing: to be handled. Sequences come in ascending order.
    pub(crate) fn begin(&mut self, seq: u64) {
        self.window.push_back((seq, 1));
        self.pending += 1;
    }

    /// The entry waits for one thing more. Unknown sequences (already done, or 0) are not tracked.
    pub(crate) fn hold(&mut self, seq: u64) {
        if let Ok(at) = self.window.binary_search_by_key(&seq, |(s, _)| *s) {
            self.window[at].1 += 1;
            self.pending += 1;
        }
    }

    /// One thing that the entry waited for is done.
    pub(crate) fn release(&mut self, seq: u64) {
        let Ok(at) = self.window.binary_search_by_key(&seq, |(s, _)| *s) else { return };
        let Some(left) = self.window[at].1.checked_sub(1) else { return };
        self.window[at].1 = left;
        self.pending -= 1;
        while let Some((seq, 0)) = self.window.front() {
            self.cursor = *seq;
            self.window.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_only_behind_what_is_done() {
        let mut p = Progress::new(10);
        p.begin(11);
        p.begin(14);
        p.hold(11);
        p.release(14);
        assert_eq!((p.cursor(), p.pending()), (10, 2));
        p.release(11);
        assert_eq!(p.cursor(), 10);
        p.release(11);
        assert_eq!((p.cursor(), p.pending()), (14, 0));
        p.release(11);
        p.release(0);
        p.hold(0);
        assert_eq!((p.cursor(), p.pending()), (14, 0));
    }
}
