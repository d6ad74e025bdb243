//! Which reports wait for a write of their run. Pure bookkeeping.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use kapelle_engine::Entry;
use kapelle_types::RunId;

use super::Report;
use crate::lease::{Key, Leases};

/// Bytes of one record: below the broker's default of 1 MiB a message with room to spare.
const RECORD_BYTES_MAX: usize = 448 * 1024;
/// Entries of one record: what a coordinator applies in one go.
const RECORD_ENTRIES_MAX: usize = 512;

/// Entries of one run that are written together, and the tasks that they are about.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) entries: Vec<Entry>,
    pub(super) held: Vec<(Arc<Leases>, Key)>,
}

/// Per run that has a write in flight: what waits for the next. Plus the runs that have none.
#[derive(Debug, Default)]
pub(super) struct Groups {
    waiting: HashMap<RunId, Vec<Report>>,
    idle: Vec<RunId>,
}

impl Groups {
    /// Takes a report in.
    pub(super) fn add(&mut self, report: Report) {
        let run = report.key.0;
        match self.waiting.entry(run) {
            Slot::Occupied(mut waiting) => waiting.get_mut().push(report),
            Slot::Vacant(slot) => {
                slot.insert(vec![report]);
                self.idle.push(run);
            }
        }
    }

    /// The first group of a run that has no write in flight; from now on it has.
    pub(super) fn next_idle(&mut self) -> Option<(RunId, Group)> {
        let run = self.idle.pop()?;
        let group = self.waiting.get_mut(&run).map(cut)?;
        Some((run, group))
    }

    /// The next group of a run whose write is stored; without one the run has no write in flight any more.
    pub(super) fn next_of(&mut self, run: RunId) -> Option<Group> {
        let waiting = self.waiting.get_mut(&run)?;
        if waiting.is_empty() {
            self.waiting.remove(&run);
            return None;
        }
        Some(cut(waiting))
    }
}

/// Takes as many of the oldest reports as one record holds; at least one.
fn cut(waiting: &mut Vec<Report>) -> Group {
    let mut bytes = 0;
    let fits = waiting.iter().take(RECORD_ENTRIES_MAX).take_while(|report| {
        bytes += report.bytes;
        bytes <= RECORD_BYTES_MAX
    });
    let count = fits.count().clamp(1, waiting.len());
    let mut group = Group::default();
    for report in waiting.drain(..count) {
        group.entries.push(report.entry);
        group.held.push((report.leases, report.key));
    }
    group
}

#[cfg(test)]
mod tests {
    use kapelle_engine::Body;
    use kapelle_types::{Principal, StepRef, TaskId};

    use super::*;

    fn run(n: u32) -> RunId {
        RunId::keyed("default", &"w".parse().unwrap(), &n.to_string())
    }

    fn report(of: u32, member: u32, bytes: usize) -> Report {
        let task = TaskId { step: StepRef::member("s".parse().unwrap(), member), attempt: 1 };
        let principal = Principal::default();
        let entry = Entry { id: member.to_string(), principal, traceparent: None, body: Body::ResumeRequested };
        Report { entry, bytes, key: (run(of), task), leases: Arc::default() }
    }

    fn ids(group: &Group) -> Vec<&str> {
        group.entries.iter().map(|e| e.id.as_str()).collect()
    }

    #[test]
    fn what_comes_while_a_write_is_in_flight_goes_together() {
        let mut groups = Groups::default();
        groups.add(report(1, 0, 10));
        groups.add(report(2, 0, 10));
        groups.add(report(1, 1, 10));
        let mut first: Vec<_> = std::iter::from_fn(|| groups.next_idle()).collect();
        first.sort_by_key(|(id, _)| *id != run(1));
        assert_eq!(ids(&first[0].1), ["0", "1"]);
        assert_eq!(ids(&first[1].1), ["0"]);
        (2..5).for_each(|n| groups.add(report(1, n, 10)));
        assert!(groups.next_idle().is_none(), "run 1 has a write in flight");
        assert_eq!(ids(&groups.next_of(run(1)).unwrap()), ["2", "3", "4"]);
        assert!(groups.next_of(run(1)).is_none() && groups.next_of(run(2)).is_none());
        assert!(groups.waiting.is_empty());
        groups.add(report(1, 5, 10));
        assert_eq!(ids(&groups.next_idle().unwrap().1), ["5"]);
    }

    #[test]
    fn a_record_is_bounded_in_bytes_and_entries() {
        let mut groups = Groups::default();
        groups.add(report(1, 0, RECORD_BYTES_MAX + 1));
        (1..4).for_each(|n| groups.add(report(1, n, RECORD_BYTES_MAX / 2)));
        assert_eq!(ids(&groups.next_idle().unwrap().1), ["0"]);
        assert_eq!(ids(&groups.next_of(run(1)).unwrap()), ["1", "2"]);
        assert_eq!(ids(&groups.next_of(run(1)).unwrap()), ["3"]);
        (0..1_000).for_each(|n| groups.add(report(2, n, 1)));
        assert_eq!(groups.next_idle().unwrap().1.entries.len(), RECORD_ENTRIES_MAX);
    }
}
