//! The partition's stream: records in order, timers that are schedules in the same stream, and the cursor's place.

use std::collections::BTreeMap;

use kapelle_coordinator::partition::effect::{Content, Item};
use kapelle_engine::{Body, Channel, Entry, Record, Stamp, TimerId};
use kapelle_types::{RunId, Timestamp};

/// The stream `RUNS_<p>` and the KV entry of its cursor.
#[derive(Default)]
pub(crate) struct Log {
    stored: Vec<Stored>,
    by_run: BTreeMap<RunId, Vec<usize>>,
    last_seq: u64,
    /// Pending schedules: when they are due, in ms, and which setting it is.
    pub(crate) timers: BTreeMap<(RunId, TimerId), (u64, u64)>,
    settings: u64,
    /// The cursor as it is stored.
    pub(crate) cursor: Option<u64>,
    /// All cursors that ever were.
    pub(crate) cursors: Vec<u64>,
}

/// One message of a run.
pub(crate) struct Stored {
    pub(crate) seq: u64,
    pub(crate) run: RunId,
    pub(crate) kept: Kept,
    /// It was purged.
    gone: bool,
}

/// What a message says.
#[derive(Clone)]
pub(crate) enum Kept {
    Record(Record),
    /// A record that only newer builds understand.
    Newer(Record),
    Garbage(&'static str),
}

impl Log {
    /// The last sequence that was given out, schedules included.
    pub(crate) const fn end(&self) -> u64 {
        self.last_seq
    }

    /// The last sequence that a reader is given.
    pub(crate) fn last_readable(&self) -> u64 {
        self.stored.iter().rev().find(|s| !s.gone).map_or(0, |s| s.seq)
    }

    /// Stores a record and says where.
    pub(crate) fn append(
        &mut self,
        run: RunId,
        channel: Channel,
        entries: Vec<Entry>,
        at: Timestamp,
        newer: bool,
    ) -> &Stored {
        let stamp = Stamp { seq: self.last_seq + 1, at };
        let record = Record { stamp, channel, entries };
        self.store(run, if newer { Kept::Newer(record) } else { Kept::Record(record) })
    }

    pub(crate) fn store(&mut self, run: RunId, kept: Kept) -> &Stored {
        self.last_seq += 1;
        let at = self.stored.len();
        self.by_run.entry(run).or_default().push(at);
        self.stored.push(Stored { seq: self.last_seq, run, kept, gone: false });
        &self.stored[at]
    }

    /// Whether a run's control subject holds nothing.
    pub(crate) fn is_new(&self, run: RunId) -> bool {
        !self.of(run).any(|s| s.record().is_some_and(|r| r.channel == Channel::Control))
    }

    /// Removes what a run's subjects hold up to a sequence.
    pub(crate) fn purge(&mut self, run: RunId, through: u64) {
        let Some(places) = self.by_run.get_mut(&run) else { return };
        let stored = &mut self.stored;
        places.retain(|at| {
            stored[*at].gone = stored[*at].seq <= through;
            !stored[*at].gone
        });
    }

    /// What stands behind a sequence, in order, `count` at most. `old_build` does not understand everything.
    pub(crate) fn items(&self, after: u64, count: usize, old_build: bool) -> Vec<Item> {
        let from = self.stored.partition_point(|s| s.seq <= after);
        let there = self.stored[from..].iter().filter(|s| !s.gone);
        there.take(count).map(|s| Item { seq: s.seq, run: s.run, content: s.content(old_build) }).collect()
    }

    /// A run's messages, oldest first.
    pub(crate) fn of(&self, run: RunId) -> impl Iterator<Item = &Stored> {
        self.by_run.get(&run).into_iter().flatten().map(|at| &self.stored[*at])
    }

    /// The time of the last control record of every run whose last control record is not the mark of its end.
    pub(crate) fn open_by_last_control(&self) -> Vec<(RunId, Timestamp)> {
        let last = |run: &RunId| {
            let controls = self.of(*run).filter_map(Stored::record).filter(|r| r.channel == Channel::Control);
            let record = controls.last()?;
            let marks = record.entries.last().is_some_and(|e| matches!(e.body, Body::RunFinished(_)));
            (!marks).then_some((*run, record.stamp.at))
        };
        self.by_run.keys().filter_map(last).collect()
    }

    /// Sets a timer, replacing one of the same name; says which setting it is. Takes a sequence that no reader sees.
    pub(crate) fn set_timer(&mut self, run: RunId, timer: TimerId, due: u64) -> u64 {
        self.last_seq += 1;
        self.settings += 1;
        self.timers.insert((run, timer), (due, self.settings));
        self.settings
    }

    /// Takes a timer that goes off, if it is still that setting.
    pub(crate) fn take_timer(&mut self, run: RunId, timer: &TimerId, setting: u64) -> bool {
        let key = (run, timer.clone());
        let is_it = self.timers.get(&key).is_some_and(|(_, s)| *s == setting);
        if is_it {
            self.timers.remove(&key);
        }
        is_it
    }

    pub(crate) fn save_cursor(&mut self, seq: u64) {
        self.cursor = Some(seq);
        self.cursors.push(seq);
    }
}

impl Stored {
    /// The record, if it is one for somebody.
    pub(crate) const fn record(&self) -> Option<&Record> {
        match &self.kept {
            Kept::Record(record) | Kept::Newer(record) => Some(record),
            Kept::Garbage(_) => None,
        }
    }

    fn content(&self, old_build: bool) -> Content {
        match &self.kept {
            Kept::Newer(_) if old_build => Content::FromTheFuture { reason: "a newer entry".into() },
            Kept::Record(record) | Kept::Newer(record) => Content::Record(record.clone()),
            Kept::Garbage(reason) => Content::Garbage { reason },
        }
    }
}
