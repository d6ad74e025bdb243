//! The cache of rebuilt runs, bounded by weight. Losing an entry costs one read of that run's log and nothing else.

use kapelle_engine::Run;
use kapelle_types::RunId;
use lru::LruCache;

/// Runs by id, the least recently used one leaving first.
pub(crate) struct Cache {
    runs: LruCache<RunId, (Run, usize)>,
    weight: usize,
    weight_max: usize,
}

impl Cache {
    pub(crate) fn new(weight_max: usize) -> Self {
        Self { runs: LruCache::unbounded(), weight: 0, weight_max }
    }

    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    pub(crate) fn contains(&self, run: &RunId) -> bool {
        self.runs.contains(run)
    }

    pub(crate) fn peek(&self, run: &RunId) -> Option<&Run> {
        self.runs.peek(run).map(|(run, _)| run)
    }

    /// Takes a run out to change it; put it back with [`Cache::put`].
    pub(crate) fn take(&mut self, run: &RunId) -> Option<Run> {
        let (run, weight) = self.runs.pop(run)?;
        self.weight -= weight;
        Some(run)
    }

    /// Puts a run in, as the most recently used, and lets others go if the cache is too heavy. The one put in stays.
    pub(crate) fn put(&mut self, run: Run) {
        let weight = run.weight_bytes();
        self.weight += weight;
        if let Some((_, old)) = self.runs.put(run.id(), (run, weight)) {
            self.weight -= old;
        }
        while self.weight > self.weight_max && self.runs.len() > 1 {
            let Some((_, (_, weight))) = self.runs.pop_lru() else { return };
            self.weight -= weight;
        }
    }
}
