//! Whose turn it is: the tasks that wait for one agent version, and which of them goes next.
//!
//! ```text
//!   priority 1 ┬ acme   (weight 2) ┬ limit "repo-1": 17 21 90        strict between priorities, but every 20th turn is the
//!              │                   └ limit "repo-2": 18              oldest task's, so that nothing starves;
//!              └ initech (weight 1) ─ 19 20 22 …                     between keys of a priority start-time fair queueing
//!   priority 3 ─ …
//! ```
//!
//! A key that was served moves back by one over its weight; the one furthest in front is served next (Goyal, Vin and Cheng,
//! *Start-time Fair Queuing*, SIGCOMM 1996, with every task of the same length). A key that comes anew begins where the others
//! are, so that having waited for nothing earns nothing. What waits is kept by its sequence alone: eight bytes a task.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use kapelle_types::{Flow, Priority};

/// How far a key of weight 1 moves back for one task. Divisible by many weights without rest.
const STRIDE: u64 = 5_040 << 16;
/// One turn of this many is the oldest task's, whatever its priority and key: what bounds the waiting of the lowest.
const OLDEST_EVERY: u64 = 20;

/// A key, or none: tasks without one share like those of one key.
type Key = Option<Arc<str>>;

/// All that wait.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    levels: BTreeMap<Priority, Level>,
    turns: u64,
    waiting: usize,
}

/// Those of one priority.
#[derive(Debug, Default)]
struct Level {
    shares: HashMap<Key, Share>,
    /// Keys with something that waits, the furthest in front first.
    order: BTreeSet<(u64, Key)>,
    /// Where the key stood that was served last.
    now: u64,
}

/// Those of one fairness key.
#[derive(Debug)]
struct Share {
    place: u64,
    weight: u32,
    /// By what limits them, oldest first.
    queues: BTreeMap<Key, VecDeque<u64>>,
}

/// A task whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    /// Where it stands among those that wait.
    pub(super) seq: u64,
    priority: Priority,
    fairness: Key,
    /// The key that limits it.
    pub(super) limit: Key,
}

impl Lanes {
    /// How many wait, those included that were withdrawn meanwhile.
    pub(super) const fn len(&self) -> usize {
        self.waiting
    }

    /// The keys of limits that something waits for.
    pub(super) fn limited(&self) -> BTreeSet<Arc<str>> {
        let shares = self.levels.values().flat_map(|level| level.shares.values());
        shares.flat_map(|share| share.queues.keys().flatten().cloned()).collect()
    }

    /// Takes in a task that waits, behind all others of its keys.
    pub(super) fn add(&mut self, seq: u64, flow: &Flow) {
        let fairness: Key = flow.fairness.as_ref().map(|it| it.key.as_str().into());
        let weight = flow.fairness.as_ref().map_or(1, |it| it.weight);
        let limit = flow.limit.as_ref().map(|it| it.key.as_str().into());
        let level = self.levels.entry(flow.priority).or_default();
        level.share(&fairness).weight = weight.max(1);
        level.queue(&fairness, limit).push_back(seq);
        self.waiting += 1;
    }

    /// Puts a task back whose turn came to nothing. It keeps its place in its queue.
    pub(super) fn put_back(&mut self, turn: &Turn) {
        let level = self.levels.entry(turn.priority).or_default();
        let queue = level.queue(&turn.fairness, turn.limit.clone());
        let at = queue.partition_point(|seq| *seq < turn.seq);
        queue.insert(at, turn.seq);
        self.waiting += 1;
    }

    /// The task whose turn it is, of those whose limit is `free`.
    pub(super) fn next(&mut self, mut free: impl FnMut(&Arc<str>) -> bool) -> Option<Turn> {
        let mut free = |limit: &Key| limit.as_ref().is_none_or(&mut free);
        let turn = if (self.turns + 1).is_multiple_of(OLDEST_EVERY) { self.oldest(&mut free) } else { None };
        let turn = turn.or_else(|| self.foremost(&mut free))?;
        self.turns += 1;
        self.waiting -= 1;
        self.levels.get_mut(&turn.priority)?.serve(&turn);
        Some(turn)
    }

    fn foremost(&self, free: &mut impl FnMut(&Key) -> bool) -> Option<Turn> {
        self.levels.iter().find_map(|(priority, level)| {
            level.order.iter().find_map(|(_, fairness)| {
                let (limit, seq) = level.shares.get(fairness)?.head(free)?;
                Some(Turn { seq, priority: *priority, fairness: fairness.clone(), limit: limit.clone() })
            })
        })
    }

    fn oldest(&self, free: &mut impl FnMut(&Key) -> bool) -> Option<Turn> {
        let mut oldest: Option<Turn> = None;
        for (priority, level) in &self.levels {
            for (_, fairness) in &level.order {
                if let Some((limit, seq)) = level.shares.get(fairness).and_then(|share| share.head(free))
                    && oldest.as_ref().is_none_or(|oldest| seq < oldest.seq)
                {
                    let (fairness, limit) = (fairness.clone(), limit.clone());
                    oldest = Some(Turn { seq, priority: *priority, fairness, limit });
                }
            }
        }
        oldest
    }
}

impl Level {
    fn share(&mut self, fairness: &Key) -> &mut Share {
        let new = || Share { place: self.now, weight: 1, queues: BTreeMap::new() };
        self.shares.entry(fairness.clone()).or_insert_with(new)
    }

    /// The queue of a fairness key and a limit, for something that is put into it.
    fn queue(&mut self, fairness: &Key, limit: Key) -> &mut VecDeque<u64> {
        let now = self.now;
        let share = self.share(fairness);
        share.place = share.place.max(if share.queues.is_empty() { now } else { 0 });
        let place = share.place;
        self.order.insert((place, fairness.clone()));
        self.share(fairness).queues.entry(limit).or_default()
    }

    /// Takes a task out, and moves its key back.
    fn serve(&mut self, turn: &Turn) {
        let Some(share) = self.shares.get_mut(&turn.fairness) else { return };
        if let Some(queue) = share.queues.get_mut(&turn.limit) {
            // The head, but for a task that was put back while others were served.
            let at = queue.partition_point(|seq| *seq < turn.seq);
            queue.remove(at);
            if queue.is_empty() {
                share.queues.remove(&turn.limit);
            }
        }
        self.order.remove(&(share.place, turn.fairness.clone()));
        self.now = self.now.max(share.place);
        share.place += STRIDE / u64::from(share.weight);
        if !share.queues.is_empty() {
            self.order.insert((share.place, turn.fairness.clone()));
        }
        // A key without tasks is remembered for as long as it stands behind the others.
        let now = self.now;
        self.shares.retain(|_, share| !share.queues.is_empty() || share.place > now);
    }
}

impl Share {
    /// The oldest task of those whose limit is free.
    fn head(&self, free: &mut impl FnMut(&Key) -> bool) -> Option<(&Key, u64)> {
        let mut heads: Vec<_> =
            self.queues.iter().filter_map(|(limit, queue)| Some((*queue.front()?, limit))).collect();
        heads.sort_unstable();
        heads.into_iter().find(|(_, limit)| free(limit)).map(|(seq, limit)| (limit, seq))
    }
}

#[cfg(test)]
mod tests {
    use kapelle_types::{Fairness, KeyLimit};
    use proptest::prelude::*;

    use super::*;

    fn flow(priority: u8, key: &str, weight: u32, limit: Option<&str>) -> Flow {
        Flow {
            priority: Priority::new(priority).unwrap(),
            fairness: (!key.is_empty()).then(|| Fairness { key: key.into(), weight }),
            limit: limit.map(|key| KeyLimit { key: key.into(), concurrency: Some(1), rate: None }),
        }
    }

    /// Lanes with these, and who is next, each time.
    fn served(waiting: &[Flow], free: &[&str]) -> Vec<u64> {
        let mut lanes = Lanes::default();
        for (seq, flow) in (1..).zip(waiting) {
            lanes.add(seq, flow);
        }
        std::iter::from_fn(|| lanes.next(|key| free.contains(&&**key)).map(|turn| turn.seq)).collect()
    }

    #[test]
    fn what_says_nothing_is_served_in_order_of_its_coming() {
        let plain = vec![Flow::default(); 50];
        assert_eq!(served(&plain, &[]), (1..=50).collect::<Vec<_>>());
    }

    #[test]
    fn priorities_come_first_and_every_twentieth_turn_is_the_oldests() {
        let mut waiting = vec![flow(5, "", 1, None); 3];
        waiting.extend(vec![flow(1, "", 1, None); 40]);
        waiting.push(flow(2, "", 1, None));
        let served = served(&waiting, &[]);
        let mut expected: Vec<u64> = (4..=22).chain([1]).chain(23..=41).chain([2]).chain([42, 43, 44]).collect();
        expected.push(3);
        assert_eq!(served, expected);
    }

    #[test]
    fn a_limit_holds_back_its_own_key_alone() {
        let waiting = [
            flow(1, "a", 1, Some("full")),
            flow(1, "a", 1, Some("free")),
            flow(1, "b", 1, Some("full")),
            flow(3, "b", 1, None),
        ];
        assert_eq!(served(&waiting, &["free"]), [2, 4]);
        assert_eq!(served(&waiting, &["free", "full"]), [1, 3, 2, 4]);
    }

    #[test]
    fn what_is_put_back_keeps_its_place() {
        let mut lanes = Lanes::default();
        let same = flow(3, "a", 1, None);
        (1..=3).for_each(|seq| lanes.add(seq, &same));
        let turns: Vec<Turn> = (0..3).filter_map(|_| lanes.next(|_| true)).collect();
        assert_eq!(lanes.len(), 0);
        turns.iter().rev().for_each(|turn| lanes.put_back(turn));
        assert_eq!((lanes.len(), lanes.limited().len()), (3, 0));
        let again: Vec<u64> = std::iter::from_fn(|| lanes.next(|_| true)).map(|turn| turn.seq).collect();
        assert_eq!(again, [1, 2, 3]);
    }

    #[test]
    fn having_waited_for_nothing_earns_nothing() {
        let mut lanes = Lanes::default();
        (0..1_000).for_each(|seq| lanes.add(seq, &flow(3, "busy", 1, None)));
        for _ in 0..500 {
            lanes.next(|_| true);
        }
        // It comes anew each time that it was served: half of the turns are its, no more.
        let mut of_single = 0;
        lanes.add(10_000, &flow(3, "single", 1, None));
        for turn in 0..200 {
            if lanes.next(|_| true).is_some_and(|turn| turn.seq >= 10_000) {
                of_single += 1;
                lanes.add(10_001 + turn, &flow(3, "single", 1, None));
            }
        }
        assert!((90..=101).contains(&of_single), "{of_single}");
    }

    proptest! {
        /// While all have something that waits, each is served in proportion to its weight, to within one task.
        #[test]
        fn shares_are_as_the_weights(weights in proptest::collection::vec(1_u32..10, 2..6), turns in 20_usize..200) {
            let mut lanes = Lanes::default();
            let mut seq = 0;
            for (name, weight) in weights.iter().enumerate() {
                for _ in 0..turns {
                    seq += 1;
                    lanes.add(seq, &flow(3, &name.to_string(), *weight, None));
                }
            }
            let mut counts = vec![0_u32; weights.len()];
            for _ in 0..turns {
                let turn = lanes.next(|_| true).unwrap();
                counts[turn.fairness.unwrap().parse::<usize>().unwrap()] += 1;
            }
            let sum: u32 = weights.iter().sum();
            for (count, weight) in counts.iter().zip(&weights) {
                let due = turns as f64 * f64::from(*weight) / f64::from(sum);
                // One turn of twenty is the oldest's, which are those of the first key here: charged to it all the same.
                let slack = 2.0 + turns as f64 / 20.0;
                prop_assert!((f64::from(*count) - due).abs() <= slack, "{counts:?} for {weights:?}");
            }
        }

        /// Whatever comes, everything is served in the end, once, and never by far later than what came after it in its lane.
        #[test]
        fn everything_is_served_once(flows in proptest::collection::vec((1_u8..=5, 0_usize..4, 1_u32..5), 0..200)) {
            let waiting: Vec<Flow> = flows.iter().map(|(p, k, w)| flow(*p, ["", "a", "b", "c"][*k], *w, None)).collect();
            let served = served(&waiting, &[]);
            let mut sorted = served.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (1..=waiting.len() as u64).collect::<Vec<_>>());
            for (at, seq) in served.iter().enumerate() {
                let bound = 20 * *seq as usize + 20;
                prop_assert!(at <= bound, "number {seq} was served at {at}");
            }
        }
    }
}
