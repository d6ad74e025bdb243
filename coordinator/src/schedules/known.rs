//! The schedules that there are, and when each has to be looked at.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use kapelle_bus::schedules::{Record, Seen};
use kapelle_manifest::Schedule;
use kapelle_types::{ScheduleName, Timestamp};

/// A schedule as it is known.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) name: ScheduleName,
    pub(crate) record: Record,
    pub(crate) revision: u64,
    /// What its manifest says.
    pub(crate) schedule: Schedule,
}

/// All that are known, with an agenda.
#[derive(Debug, Default)]
pub(crate) struct Known {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    all: BTreeMap<ScheduleName, (Arc<Held>, Option<Timestamp>)>,
    agenda: BTreeSet<(Timestamp, ScheduleName)>,
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
    pub(crate) fn learn(&self, name: ScheduleName, seen: Option<Seen>) {
        let held = seen.and_then(|Seen { record, revision }| match Schedule::read(&record.manifest) {
            Ok(schedule) => Some(Arc::new(Held { name: name.clone(), record, revision, schedule })),
            Err(_) => {
                tracing::warn!(schedule = %name, "a schedule cannot be read by this release and stands still");
                None
            }
        });
        let mut inner = self.write();
        let newer = |held: &Arc<Held>| inner.all.get(&name).is_none_or(|(known, _)| known.revision < held.revision);
        if held.as_ref().is_some_and(|held| !newer(held)) {
            return;
        }
        inner.forget(&name);
        if let Some(held) = held {
            let at = held.look();
            inner.agenda.extend(at.map(|at| (at, name.clone())));
            inner.all.insert(name, (held, at));
        }
    }

    /// Forgets what is not among these.
    pub(crate) fn keep(&self, there: &HashSet<ScheduleName>) {
        let mut inner = self.write();
        let gone: Vec<_> = inner.all.keys().filter(|name| !there.contains(*name)).cloned().collect();
        gone.iter().for_each(|name| inner.forget(name));
    }

    /// Has a schedule looked at no sooner than this.
    pub(crate) fn look_at(&self, name: &ScheduleName, at: Timestamp) {
        let mut inner = self.write();
        let Some((held, before)) = inner.all.get(name).cloned() else { return };
        inner.forget(name);
        let at = before.map(|before| before.max(at));
        inner.agenda.extend(at.map(|at| (at, name.clone())));
        inner.all.insert(name.clone(), (held, at));
    }

    /// What has to be looked at now.
    pub(crate) fn due(&self, now: Timestamp) -> impl Iterator<Item = Arc<Held>> + use<> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        let due = inner.agenda.iter().take_while(|(at, _)| *at <= now);
        let due: Vec<_> = due.filter_map(|(_, name)| inner.all.get(name).map(|(held, _)| Arc::clone(held))).collect();
        due.into_iter()
    }

    /// When the next has to be looked at that has not to be now.
    pub(crate) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.agenda.iter().map(|(at, _)| *at).find(|at| *at > now)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).all.len()
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Held>> {
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        inner.all.values().map(|(held, _)| Arc::clone(held)).collect()
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn forget(&mut self, name: &ScheduleName) {
        if let Some((_, Some(at))) = self.all.remove(name) {
            self.agenda.remove(&(at, name.clone()));
        }
    }
}
