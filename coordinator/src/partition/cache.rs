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

    /// A run to be changed, now the most recently used; [`Cache::weigh`] it afterwards.
    pub(crate) fn get_mut(&mut self, run: &RunId) -> Option<&mut Run> {
        self.runs.get_mut(run).map(|(run, _)| run)
    }

    /// Puts a run in, as the most recently used. It weighs nothing until it is weighed.
    pub(crate) fn put(&mut self, run: Run) {
        if let Some((_, old)) = self.runs.put(run.id(), (run, 0)) {
            self.weight -= old;
        }
    }

    /// Weighs a run that was changed and lets others go if the cache is too heavy. The one weighed stays.
    pub(crate) fn weigh(&mut self, run: &RunId) {
        let Some((run, weight)) = self.runs.get_mut(run) else { return };
        let before = std::mem::replace(weight, run.weight_bytes());
        self.weight = self.weight - before + *weight;
        while self.weight > self.weight_max && self.runs.len() > 1 {
            let Some((_, (_, weight))) = self.runs.pop_lru() else { return };
            self.weight -= weight;
        }
    }

    pub(crate) fn remove(&mut self, run: &RunId) {
        if let Some((_, weight)) = self.runs.pop(run) {
            self.weight -= weight;
        }
    }
}
