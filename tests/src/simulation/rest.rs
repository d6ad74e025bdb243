//! Rest: after the faults everything ends, or waits for people, in bounded virtual time; and what then must hold.

use std::collections::{BTreeMap, BTreeSet};

use kapelle_engine::{Command, RunFinished, RunStatus, outstanding};
use kapelle_types::{RunId, TaskId};

use super::world::{Letter, World};

/// How long after the faults everything may take, in ms: the longest patience of the reconciler, doubled a few times; runs
/// below runs wait and close one after another.
const REST_WITHIN_MS: u64 = 3_600_000;
/// How soon everything is queued again after the whole queue was lost and workers are there, in ms: well before the
/// reconciler's patience with a single task ends.
pub(crate) const REQUEUED_WITHIN_MS: u64 = 20_000;
/// Rebuilds of one run that one reconciler may ask for within a minute of silence.
const LOOKS_MAX: u32 = 5;

/// How every run ended or where it waits.
pub(crate) type Ends = BTreeMap<RunId, (RunStatus, Option<RunFinished>)>;

/// How often the reconciler asked for a run's log.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Looks {
    minute: u64,
    /// The last entry of the run then.
    seq: u64,
    count: u32,
}

impl World {
    /// Whether nothing is left that could happen.
    pub(crate) fn is_at_rest(&mut self) -> bool {
        let Some(since) = self.quiet_since else { return false };
        if self.now > since + REST_WITHIN_MS {
            self.check_end();
            let open = self.unsettled().map(|(id, status)| format!("{id} {status}")).collect::<Vec<_>>().join(", ");
            let queued = self.tasks.len();
            self.fail("it_comes_to_rest", || format!("{queued} tasks queued; {open}"));
            return true;
        }
        let end = self.log.last_readable();
        self.awaited == 0
            && self.tasks.len() == 0
            && self.workers.iter().all(super::worker::Worker::is_idle)
            && self.owners.serving().count() > 0
            && self.owners.serving().all(|owner| owner.is_done(end))
            && self.unsettled().next().is_none()
            && self.wrong_letter().is_none()
            && self.wrong_row().is_none()
    }

    /// Runs that neither ended nor wait for people, themselves or by a run that they wait for.
    fn unsettled(&self) -> impl Iterator<Item = (RunId, RunStatus)> {
        let settled = |status| matches!(status, RunStatus::Stalled | RunStatus::Paused);
        self.oracle
            .runs()
            .filter(move |run| {
                let below = self.waits_below(run.id());
                let held = settled(run.status()) || below > 0;
                let waits = run.in_flight() == below && run.next_due().is_none() && held;
                !run.is_marked() && !waits
            })
            .map(|run| (run.id(), run.status()))
    }

    /// Everything that must hold when nothing happens any more.
    pub(crate) fn check_end(&mut self) {
        self.check_acked();
        if let Some((name, found)) = self.wrong_letter() {
            self.fail(name, || found);
        }
        if let Some((id, there)) = self.wrong_row() {
            self.fail("the_table_has_the_open_runs", || format!("{id}, in the table: {there}"));
        }
        self.check_cursors();
        self.check_families();
        if let Some(before) = self.before_restart.take() {
            let after = self.ends();
            let changed = after.iter().find(|(id, end)| before.get(*id) != Some(*end)).map(|end| format!("{end:?}"));
            self.hold("a_restart_from_any_cursor_ends_the_same", changed.is_none(), || changed.unwrap_or_default());
            self.before_restart = Some(before);
        }
    }

    fn ends(&self) -> Ends {
        self.oracle.runs().map(|run| (run.id(), (run.status(), run.outcome().cloned()))).collect()
    }

    /// All coordinators die at rest, and one begins from a cursor that was stored at some time.
    pub(crate) fn restart(&mut self) {
        self.before_restart = Some(self.ends());
        for slot in self.owners.alive() {
            self.crash(slot);
        }
        if !self.log.cursors.is_empty() {
            self.log.cursor = Some(*self.dice.pick(&self.log.cursors));
        }
        self.note(|| "everything is started anew".into());
        self.quiet_since = Some(self.now);
        self.take_over(0);
    }

    fn check_acked(&mut self) {
        let acked: Vec<RunId> = self.oracle.acked().copied().collect();
        for id in acked {
            let found = self.oracle.get(id).map(|fold| {
                let run = &fold.run;
                (run.is_marked(), run.status(), run.stall_reason().is_some())
            });
            let right = match found {
                Some((true, status, _)) => status.is_final(),
                Some((false, RunStatus::Stalled, explained)) => explained,
                Some((false, status, _)) => status == RunStatus::Paused || self.waits_below(id) > 0,
                None => false,
            };
            self.hold("every_acked_submission_ends_or_waits_for_people", right, || format!("{id}: {found:?}"));
        }
    }

    /// Dead letters are those of the slots that gave up. One that was on its way while it was removed may have stayed.
    fn wrong_letter(&self) -> Option<(&'static str, String)> {
        let now = self.clock();
        let letters = self.oracle.folds().filter(|(_, fold)| !fold.run.is_finished()).flat_map(|(id, fold)| {
            outstanding(&fold.run, now).into_iter().filter_map(|command| match command {
                Command::WriteDeadLetter(letter) => Some(((*id, letter.task.step, letter.agent), letter.task.attempt)),
                _ => None,
            })
        });
        let expected: BTreeMap<Letter, u32> = letters.collect();
        let missing = expected.iter().find(|(place, attempt)| self.dead.get(place) != Some(attempt));
        if let Some(missing) = missing {
            return Some(("who_gave_up_has_a_dead_letter", format!("{missing:?}")));
        }
        let excused = |place: &Letter| {
            // Entries of a run whose plan could not be built were passed by.
            self.removed_dead.contains(place) || self.oracle.get(place.0).is_some_and(|fold| fold.unplanned)
        };
        let spare = self.dead.keys().find(|place| !expected.contains_key(place) && !excused(place));
        spare.map(|place| ("who_did_not_give_up_has_none", format!("{place:?}")))
    }

    /// Every owner's table has the open runs and no others.
    fn wrong_row(&self) -> Option<(RunId, bool)> {
        let open: BTreeSet<RunId> = self.oracle.runs().filter(|run| !run.is_marked()).map(|run| run.id()).collect();
        self.owners.serving().find_map(|owner| {
            let table: BTreeSet<RunId> = owner.core.open_runs().map(|(id, _)| *id).collect();
            table.symmetric_difference(&open).next().map(|id| (*id, table.contains(id)))
        })
    }

    /// Every owner's cursor stands at the end.
    fn check_cursors(&mut self) {
        let end = self.log.last_readable();
        let behind = self.owners.serving().map(|owner| owner.core.cursor()).find(|cursor| *cursor < end);
        self.hold("the_cursor_reaches_the_end", behind.is_none(), || format!("{behind:?} of {end}"));
    }

    /// After the whole queue was lost in quiet times, everything in flight is queued or running again, or decided. A task
    /// that was queued soon after the loss and is still there hides what was queued shortly before it.
    pub(crate) fn check_requeued(&mut self) {
        let quiet = self.quiet_since.unwrap_or(self.now);
        if self.tasks.oldest().is_some_and(|oldest| oldest < quiet + REQUEUED_WITHIN_MS / 2) {
            return;
        }
        let lost: Vec<(RunId, TaskId)> = self
            .oracle
            .folds()
            .filter(|(_, fold)| !fold.unplanned && fold.run.last_progress().millis().cast_unsigned() <= quiet)
            .filter(|(_, fold)| fold.slots.deadline().is_none_or(|due| due > self.clock()))
            .flat_map(|(id, fold)| fold.slots.in_flight().map(move |task| (*id, fold, task)))
            .filter(|(_, fold, task)| fold.dispatched.contains_key(task))
            .map(|(id, _, task)| (id, task))
            .filter(|key| !self.tasks.contains(key))
            .collect();
        self.hold("what_the_queue_lost_is_queued_again_soon", lost.is_empty(), || format!("{lost:?}"));
    }

    /// The reconciler looks again and again at what makes no progress, but less often each time.
    pub(crate) fn check_looks(&mut self, slot: usize, run: RunId, at_least: u64) {
        if at_least > 0 || self.quiet_since.is_none() {
            return;
        }
        let minute = self.now / 60_000;
        // What makes progress is looked at anew.
        let seq = self.oracle.get(run).map_or(0, |fold| fold.run.last_seq());
        let looks = self.looks.entry((slot, run)).or_default();
        if (looks.minute, looks.seq) != (minute, seq) {
            *looks = Looks { minute, seq, count: 0 };
        }
        looks.count += 1;
        let count = looks.count;
        self.hold("looks_become_rare", count <= LOOKS_MAX, || format!("{run}: {count} rebuilds within a minute"));
    }
}
