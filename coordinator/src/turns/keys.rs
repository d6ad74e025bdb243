//! Limits by key: how many tasks of one key may be queued or run at a time, and how often one may start.
//!
//! Who holds the places of a key stands in the bucket `turns`. What is kept of it here may be ahead of it by places that are free
//! again; it is written whenever one is given out, over what was seen. A place is free again when its task is gone from the queue.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use kapelle_bus::turns::{Seen, Turns};
use kapelle_bus::{Bus, Error};
use kapelle_types::{AgentVersion, KeyLimit, Timestamp};

/// How long a place is kept for a task that is not in the queue and that somebody else let in: he may be about to queue it.
const ON_ITS_WAY: Duration = Duration::from_secs(5);
/// How far behind its rate a key may catch up: some looks at the queue, so that what starts between two of them is not lost.
const CATCH_UP: Duration = Duration::from_millis(100);

/// The keys that limit tasks of one agent version.
#[derive(Debug)]
pub(super) struct Keys {
    agent: AgentVersion,
    store: Turns,
    keys: HashMap<Arc<str>, Key>,
}

/// One key.
#[derive(Debug, Default)]
struct Key {
    concurrency: Option<u32>,
    interval: Option<Duration>,
    /// Who holds its places; `None` until that is read, or when somebody else has written.
    seen: Option<Seen>,
    /// Turns that were given out and are not written yet.
    given: u32,
    /// Tasks that we have queued: once they are gone from the queue, they are done.
    ours: HashSet<String>,
}

impl Keys {
    /// The keys of an agent version, with what is known of their places.
    pub(super) async fn open(agent: AgentVersion, store: Turns) -> Result<Self, Error> {
        let all = store.all_places(&agent).await?;
        let known = |seen: Seen| (seen.places.key.as_str().into(), Key { seen: Some(seen), ..Key::default() });
        Ok(Self { agent, store, keys: all.into_iter().map(known).collect() })
    }

    /// What limits the tasks of a key, as the latest of them says.
    pub(super) fn learn(&mut self, limit: &KeyLimit) {
        let key = self.keys.entry(limit.key.as_str().into()).or_default();
        key.concurrency = limit.concurrency;
        key.interval = limit.rate.map(kapelle_types::Rate::interval);
    }

    /// Whether a task of this key may be let in now.
    pub(super) fn is_free(&self, key: &str, now: Timestamp) -> bool {
        self.keys.get(key).is_some_and(|key| key.is_free(now))
    }

    /// A turn of this key was given out.
    pub(super) fn give(&mut self, key: &str) {
        if let Some(key) = self.keys.get_mut(key) {
            key.given += 1;
        }
    }

    /// Learns which places are free again, of keys that something waits for.
    pub(super) async fn refresh(
        &mut self,
        bus: &Bus,
        waited_for: &BTreeSet<Arc<str>>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let unknown: Vec<Arc<str>> = waited_for.iter().filter(|key| self.is_unknown(key)).cloned().collect();
        let (agent, store) = (&self.agent, &self.store);
        let read = join_all(unknown.iter().map(|key| store.places(agent, key))).await;
        for (key, seen) in unknown.into_iter().zip(read) {
            self.keys.entry(key).or_default().seen = Some(seen?);
        }
        if waited_for.iter().any(|key| self.keys.get(key).is_some_and(Key::is_full)) {
            self.settle(bus, now).await?;
        }
        Ok(())
    }

    fn is_unknown(&self, key: &str) -> bool {
        self.keys.get(key).is_none_or(|key| key.seen.is_none())
    }

    /// Frees the places of tasks that are gone.
    async fn settle(&mut self, bus: &Bus, now: Timestamp) -> Result<(), Error> {
        let queued = bus.queued_tasks(&self.agent).await?;
        let queued: HashSet<String> = queued.iter().map(ToString::to_string).collect();
        self.keys.values_mut().for_each(|key| key.settle(&queued, now));
        Ok(())
    }

    /// Gives these tasks places of a key. False if somebody else has given out places since they were read: then none of
    /// these has one.
    pub(super) async fn hold(&mut self, name: &str, tasks: &[String], now: Timestamp) -> Result<bool, Error> {
        let Some(key) = self.keys.get_mut(name) else { return Ok(false) };
        let Some(mut seen) = key.seen.take() else { return Ok(false) };
        key.given = 0;
        seen.places.held.extend(tasks.iter().map(|task| (task.clone(), now)));
        if let Some(interval) = key.interval {
            let first = seen.places.next.max(now.minus(CATCH_UP));
            seen.places.next = first.plus(interval.saturating_mul(u32::try_from(tasks.len()).unwrap_or(u32::MAX)));
        }
        let Some(revision) = self.store.write(&self.agent, name, &seen).await? else { return Ok(false) };
        key.seen = Some(Seen { revision, ..seen });
        Ok(true)
    }

    /// A task of this key that has a place is queued: from now on it is done when it is gone.
    pub(super) fn queued(&mut self, key: &str, task: String) {
        if let Some(key) = self.keys.get_mut(key) {
            key.ours.insert(task);
        }
    }

    /// Frees the place of a task that was not queued after all.
    pub(super) fn give_back(&mut self, key: &str, task: &str) {
        if let Some(key) = self.keys.get_mut(key)
            && let Some(seen) = &mut key.seen
        {
            seen.places.held.retain(|(held, _)| held != task);
        }
    }

    /// Turns that were given out came to nothing.
    pub(super) fn take_back(&mut self) {
        self.keys.values_mut().for_each(|key| key.given = 0);
    }

    /// Forgets keys that nothing waits for and whose places are all free.
    pub(super) async fn tidy(
        &mut self,
        bus: &Bus,
        waited_for: &BTreeSet<Arc<str>>,
        now: Timestamp,
    ) -> Result<(), Error> {
        if self.keys.keys().all(|key| waited_for.contains(key)) {
            return Ok(());
        }
        self.settle(bus, now).await?;
        let idle =
            |(name, key): (&Arc<str>, &Key)| (!waited_for.contains(name) && key.is_idle(now)).then(|| name.clone());
        let idle: Vec<Arc<str>> = self.keys.iter().filter_map(idle).collect();
        for name in idle {
            let revision = self.keys.remove(&name).and_then(|key| key.seen).map_or(0, |seen| seen.revision);
            if revision > 0 {
                self.store.forget(&self.agent, &name, revision).await?;
            }
        }
        Ok(())
    }
}

impl Key {
    fn held(&self) -> usize {
        self.seen.as_ref().map_or(0, |seen| seen.places.held.len()) + self.given as usize
    }

    fn is_full(&self) -> bool {
        self.concurrency.is_some_and(|places| self.held() >= places as usize)
    }

    fn is_free(&self, now: Timestamp) -> bool {
        let Some(seen) = &self.seen else { return false };
        let after = self.interval.unwrap_or_default().saturating_mul(self.given);
        !self.is_full() && after <= CATCH_UP && seen.places.next.plus(after) <= now
    }

    fn is_idle(&self, now: Timestamp) -> bool {
        self.given == 0 && self.seen.as_ref().is_none_or(|seen| seen.places.held.is_empty() && seen.places.next <= now)
    }

    fn settle(&mut self, queued: &HashSet<String>, now: Timestamp) {
        let Some(seen) = &mut self.seen else { return };
        let ours = &self.ours;
        let stays = |(task, at): &(String, Timestamp)| {
            queued.contains(task) || (!ours.contains(task) && now.since(*at) < ON_ITS_WAY)
        };
        seen.places.held.retain(stays);
        let held: HashSet<&String> = seen.places.held.iter().map(|(task, _)| task).collect();
        self.ours.retain(|task| held.contains(task));
    }
}

#[cfg(test)]
mod tests {
    use kapelle_bus::turns::Places;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    fn key(concurrency: Option<u32>, interval: Option<Duration>) -> Key {
        Key { concurrency, interval, seen: Some(Seen { places: Places::of("acme"), revision: 0 }), ..Key::default() }
    }

    #[test]
    fn a_place_is_free_when_its_task_is_gone_and_that_is_known() {
        let mut key = key(Some(2), None);
        assert!(key.is_free(NOW) && key.is_idle(NOW));
        let hold = |key: &mut Key, task: &str| key.seen.as_mut().unwrap().places.held.push((task.into(), NOW));
        hold(&mut key, "ours");
        key.ours.insert("ours".into());
        key.given = 1;
        assert!(!key.is_free(NOW), "what is given out counts before it is written");
        key.given = 0;
        hold(&mut key, "theirs");
        assert!(!key.is_free(NOW) && !key.is_idle(NOW));
        key.settle(&["ours".to_owned()].into(), NOW);
        assert!(key.is_full(), "another one may be about to queue what he let in");
        key.settle(&HashSet::new(), NOW.plus(Duration::from_secs(1)));
        assert_eq!(key.held(), 1, "ours was queued and is gone");
        key.settle(&HashSet::new(), NOW.plus(ON_ITS_WAY));
        assert!(key.is_idle(NOW));
    }

    #[test]
    fn starts_of_a_key_are_an_interval_apart() {
        let mut key = key(None, Some(Duration::from_millis(50)));
        let after = |ms| NOW.plus(Duration::from_millis(ms));
        let free = |key: &mut Key, now| {
            key.given = 0;
            while key.is_free(now) {
                key.given += 1;
            }
            key.given
        };
        key.seen.as_mut().unwrap().places.next = after(200);
        let counted: Vec<u32> = [0, 199, 200, 250, 310].map(|ms| free(&mut key, after(ms))).into();
        assert_eq!(counted, [0, 0, 1, 2, 3], "as many as the time since has room for, {CATCH_UP:?} at most");
        assert!(Key::default().seen.is_none() && !Key::default().is_free(NOW), "unknown is not free");
    }
}
