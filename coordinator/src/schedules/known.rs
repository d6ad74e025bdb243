//! The schedules that there are, and when each has to be looked at.

//!
//! The agenda is of our partitions alone, and a schedule that is being tended is not on it: what is due next is its first.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kapelle_bus::schedules::{Record, Seen};
use kapelle_manifest::Schedule;
use kapelle_types::{Partition, ScheduleName, Timestamp};

/// A schedule as it is known.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) name: ScheduleName,
    pub(crate) record: Record,
    pub(crate) revision: u64,
    /// What its manifest says.
    pub(crate) schedule: Arc<Schedule>,
}

/// All that are known, with an agenda.
#[derive(Debug, Default)]
pub(crate) struct Known {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    all: BTreeMap<ScheduleName, Entry>,
    ours: BTreeSet<Partition>,
    agenda: BTreeSet<(Timestamp, ScheduleName)>,
}

#[derive(Debug)]
struct Entry {
    held: Arc<Held>,
    partition: Partition,
    /// When it has to be looked at.
    at: Option<Timestamp>,
    /// Whether somebody does so now.
    tended: bool,
}

impl Held {
    /// When it has to be looked at next, as far as its own times and what it waits for say.
    fn look(&self) -> Option<Timestamp> {
        let ledger = &self.record.ledger;
        if ledger.pause.is_some() {
            return None;
        }
        let follows_runs = !ledger.waiting.is_empty() || (self.schedule.pause_on_failure && !ledger.open.is_empty());
        // At once; whoever finds nothing to do says when it looks again.
        if follows_runs { Some(Timestamp::default()) } else { self.schedule.rules.next(ledger).map(|(_, due)| due) }
    }
}

impl Known {
    /// Takes in a schedule as it is now; an older state than the known one is passed over.
    pub(crate) fn learn(&self, name: ScheduleName, partition: Partition, seen: Option<Seen>) {
        let mut inner = self.write();
        let before = inner.all.get(&name);
        if before.zip(seen.as_ref()).is_some_and(|(before, seen)| before.held.revision >= seen.revision) {
            return;
        }
        let schedule = |record: &Record| match before {
            Some(before) if before.held.record.manifest == record.manifest => Some(Arc::clone(&before.held.schedule)),
            _ => Schedule::read(&record.manifest).ok().map(Arc::new),
        };
        let tended = before.is_some_and(|before| before.tended);
        let held = seen.and_then(|Seen { record, revision }| {
            let Some(schedule) = schedule(&record) else {
                tracing::warn!(schedule = %name, "a schedule cannot be read by this release and stands still");
                return None;
            };
            Some(Arc::new(Held { name: name.clone(), record, revision, schedule }))
        });
        inner.forget(&name);
        if let Some(held) = held {
            inner.keep(Entry { at: held.look(), held, partition, tended });
        }
    }

    /// Forgets what is not among these.
    pub(crate) fn retain(&self, there: &HashSet<ScheduleName>) {
        let mut inner = self.write();
        let gone: Vec<_> = inner.all.keys().filter(|name| !there.contains(*name)).cloned().collect();
        gone.iter().for_each(|name| drop(inner.forget(name)));
    }

    /// Has the agenda be of these partitions from now on.
    pub(crate) fn serve(&self, ours: BTreeSet<Partition>) {
        let mut inner = self.write();
        inner.ours = ours;
        inner.agenda.clear();
        let all = std::mem::take(&mut inner.all);
        all.into_values().for_each(|entry| inner.keep(entry));
    }

    /// What has to be looked at first, if it has to be now; until it is put back, it is not on the agenda.
    pub(crate) fn take_due(&self, now: Timestamp) -> Option<Arc<Held>> {
        let mut inner = self.write();
        let due = inner.agenda.first().is_some_and(|(at, _)| *at <= now);
        let (_, name) = if due { inner.agenda.pop_first()? } else { return None };
        let entry = inner.all.get_mut(&name)?;
        entry.tended = true;
        Some(Arc::clone(&entry.held))
    }

    /// Puts back what was taken, to be looked at no sooner than this.
    pub(crate) fn put_back(&self, name: &ScheduleName, at_first: Option<Timestamp>) {
        let mut inner = self.write();
        if let Some(entry) = inner.forget(name) {
            let at = entry.at.map(|at| at_first.map_or(at, |first| at.max(first)));
            inner.keep(Entry { at, tended: false, ..entry });
        }
    }

    /// When the first that nobody tends has to be looked at.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.read().agenda.first().map(|(at, _)| *at)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.read().all.len()
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Held>> {
        self.read().all.values().map(|entry| Arc::clone(&entry.held)).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn keep(&mut self, entry: Entry) {
        let name = entry.held.name.clone();
        if let Some(at) = entry.at.filter(|_| !entry.tended && self.ours.contains(&entry.partition)) {
            self.agenda.insert((at, name.clone()));
        }
        self.all.insert(name, entry);
    }

    fn forget(&mut self, name: &ScheduleName) -> Option<Entry> {
        let entry = self.all.remove(name)?;
        if let Some(at) = entry.at {
            self.agenda.remove(&(at, name.clone()));
        }
        Some(entry)
    }
}
