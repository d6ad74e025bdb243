//! The table of open runs: small, never evicted, and the reason why nothing waits for ever.
//!
//! A row knows when its run is overdue. The reconciler sweeps all rows; what is due is rebuilt and performed again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kapelle_engine::{Run, RunStatus};
use kapelle_types::{AgentVersion, RunId, Timestamp, WorkflowVersion, limits};

use crate::runs::label_hashes;

/// A run that is in flight and silent for this long is compared with what the task queue holds; also how much later than
/// the entry that caused it a task may be queued.
const SILENT: Duration = Duration::from_secs(2);
/// A fired timer may be this late before the reconciler sets it again.
const TIMER_GRACE: Duration = Duration::from_secs(5);
/// Beyond a step's own timeout: its lease, and the time to report.
const STEP_GRACE: Duration = Duration::from_secs(15);
/// The longest pause between two looks at a run that makes no progress (a long queue).
const LOOK_MAX: Duration = Duration::from_secs(3_600);
/// A run that is only known by name after a take-over is looked at within this time.
const UNKNOWN_LOOK: Duration = Duration::from_secs(30);
/// A run that stalled is looked at once more after this: a dead letter and the removal of an earlier one travel apart,
/// and the later of them may have arrived first.
const STALL_GRACE: Duration = Duration::from_secs(10);
/// A decided run whose mark is missing is marked again after this.
const MARK_GRACE: Duration = Duration::from_secs(5);

/// What is known about an open run without its state.
#[derive(Debug, Clone)]
pub struct OpenRun {
    /// Its workflow, once its state was seen.
    pub workflow: Option<WorkflowVersion>,
    /// The agent versions that it is pinned to, once its state was seen. Runs of one plan share them.
    pub agents: Option<Arc<[AgentVersion]>>,
    /// Its status, once its state was seen.
    pub status: RunStatus,
    /// Whether something in it waits for people.
    pub held: bool,
    /// When it was submitted; the time of its last control entry until its state was seen.
    pub submitted_at: Timestamp,
    /// When something last happened to it.
    pub last_progress: Timestamp,
    /// Its labels, once its state was seen.
    pub(crate) labels: Arc<[u64]>,
    /// When its tasks were last queued, as far as is known: its last progress, the reconciler's last look, or when they were
    /// last seen to be on their way.
    queued: Timestamp,
    /// The last entry of its log that was applied.
    seq: u64,
    /// When the reconciler looks at it next; `None` waits for people.
    due: Option<Timestamp>,
    /// Attempts that are queued or running; one is assumed until its state was seen.
    in_flight: u32,
    /// Looks since the last progress: each doubles the pause.
    looks: u8,
}

/// All open runs of a partition.
#[derive(Debug, Default)]
pub(crate) struct OpenRuns {
    rows: HashMap<RunId, OpenRun>,
    /// What the rows are pinned to, each once: there are few plans and many runs.
    agents: HashSet<Arc<[AgentVersion]>>,
    stalled: usize,
}

impl OpenRuns {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) const fn stalled(&self) -> usize {
        self.stalled
    }

    pub(crate) fn contains(&self, run: &RunId) -> bool {
        self.rows.contains_key(run)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RunId, &OpenRun)> {
        self.rows.iter()
    }

    /// A run is known to be open, and no more.
    pub(crate) fn discovered(&mut self, run: RunId, at: Timestamp, now: Timestamp) {
        // Spread by the id, so that a take-over does not look at everything in one second.
        let spread = Duration::from_millis(run.seed() % 30_000);
        self.rows.entry(run).or_insert(OpenRun {
            workflow: None,
            agents: None,
            status: RunStatus::Running,
            held: false,
            submitted_at: at,
            last_progress: at,
            labels: Arc::default(),
            queued: at,
            seq: 0,
            due: Some(now.plus(UNKNOWN_LOOK + spread)),
            in_flight: 1,
            looks: 0,
        });
    }

    /// The run's state changed (or was rebuilt): its row follows. A marked run leaves the table.
    pub(crate) fn update(&mut self, run: &Run) {
        let now = run.last_progress();
        let row = self.rows.entry(run.id()).or_insert_with(|| OpenRun {
            workflow: None,
            agents: None,
            status: RunStatus::Pending,
            held: false,
            submitted_at: run.submitted_at().unwrap_or(now),
            last_progress: now,
            labels: Arc::default(),
            queued: now,
            seq: 0,
            due: None,
            in_flight: 0,
            looks: 0,
        });
        self.stalled -= usize::from(row.status == RunStatus::Stalled);
        if row.workflow.is_none() {
            row.workflow = Some(run.plan().workflow.clone());
            row.agents = Some(shared(&mut self.agents, run));
            row.submitted_at = run.submitted_at().unwrap_or(now);
            row.labels = run.labels().map(label_hashes).unwrap_or_default();
        }
        row.status = run.status();
        row.held = run.held().next().is_some();
        row.last_progress = now;
        row.queued = row.queued.max(now);
        row.seq = run.last_seq();
        row.in_flight = u32::try_from(run.tasks_in_flight()).unwrap_or(u32::MAX);
        row.looks = 0;
        row.due = due(run, now, 0);
        self.stalled += usize::from(row.status == RunStatus::Stalled);
    }

    /// The reconciler looked at it and performed what is outstanding: look again, later each time.
    pub(crate) fn looked_at(&mut self, run: &Run, now: Timestamp) {
        if let Some(row) = self.rows.get_mut(&run.id()) {
            row.looks = row.looks.saturating_add(1);
            row.queued = row.queued.max(now);
            row.due = due(run, now, row.looks);
        }
    }

    /// It was rebuilt and what it waits for performed. Without progress since the last look the pause goes on growing: a
    /// run that no cache holds would be looked at all the time otherwise.
    pub(crate) fn looked_again(&mut self, run: &Run, now: Timestamp) {
        let before = self.rows.get(&run.id()).map(|row| (row.last_progress, row.looks));
        self.update(run);
        if let Some(row) = self.rows.get_mut(&run.id()) {
            row.looks =
                before.filter(|(at, _)| *at == row.last_progress).map_or(0, |(_, looks)| looks.saturating_add(1));
            row.queued = row.queued.max(now);
            row.due = due(run, now, row.looks);
        }
    }

    /// It cannot be looked at now: try again after a pause, and suspect nothing until its state was seen.
    pub(crate) fn postpone(&mut self, run: RunId, now: Timestamp, pause: Duration) {
        if let Some(row) = self.rows.get_mut(&run) {
            row.due = Some(now.plus(pause));
            row.in_flight = 0;
        }
    }

    pub(crate) fn remove(&mut self, run: RunId) {
        if let Some(row) = self.rows.remove(&run) {
            self.stalled -= usize::from(row.status == RunStatus::Stalled);
            // Its own and the table's: it was the last run of its plan.
            if let Some(agents) = row.agents.filter(|it| Arc::strong_count(it) == 2) {
                self.agents.remove(&agents);
            }
        }
    }

    /// The runs that are due, `budget` at most, the most overdue first.
    pub(crate) fn due(&self, now: Timestamp, budget: usize) -> Vec<RunId> {
        let is_due = |(run, row): (&RunId, &OpenRun)| row.due.filter(|due| *due <= now).map(|due| (due, *run));
        let mut due: Vec<_> = self.rows.iter().filter_map(is_due).collect();
        if due.len() > budget {
            due.select_nth_unstable(budget);
            due.truncate(budget);
        }
        due.sort_unstable();
        due.into_iter().map(|(_, run)| run).collect()
    }

    /// How long the most overdue run has been waiting.
    pub(crate) fn oldest_overdue(&self, now: Timestamp) -> Duration {
        let oldest = self.rows.values().filter_map(|row| row.due).min();
        oldest.map_or(Duration::ZERO, |due| now.since(due))
    }

    /// Notes what is still being queued, since what entries behind the cursor lead to is not all acknowledged, and what is being
    /// rebuilt: what became of its tasks is not known before.
    pub(crate) fn on_its_way<'r>(&mut self, now: Timestamp, cursor: u64, rebuilt: impl Iterator<Item = &'r RunId>) {
        for row in self.rows.values_mut().filter(|row| row.seq > cursor) {
            row.queued = now;
        }
        for run in rebuilt {
            self.rows.entry(*run).and_modify(|row| row.queued = now);
        }
    }

    /// Makes due what should be queued or running and is not: everything in flight if the queue is another one, otherwise
    /// what was queued before the oldest task that is there (`None`: the queue is empty). Says how many runs that were.
    pub(crate) fn suspect(&mut self, now: Timestamp, oldest: Option<Timestamp>, recreated: bool) -> usize {
        let mut suspected = 0;
        for row in self.rows.values_mut() {
            let waits = row.in_flight > 0 && row.due.is_some_and(|due| due > now);
            let silent = now.since(row.queued) > SILENT;
            let missing = oldest.is_none_or(|oldest| oldest > row.queued.plus(SILENT));
            if waits && (recreated || (silent && missing)) {
                row.due = Some(now);
                suspected += 1;
            }
        }
        suspected
    }
}

/// The agent versions of a run's plan, each once, as they are kept for all runs that have the same.
fn shared(known: &mut HashSet<Arc<[AgentVersion]>>, run: &Run) -> Arc<[AgentVersion]> {
    let agents: BTreeSet<&AgentVersion> = run.plan().steps.iter().flat_map(kapelle_engine::PlanStep::agents).collect();
    let agents: Vec<AgentVersion> = agents.into_iter().cloned().collect();
    if let Some(there) = known.get(agents.as_slice()) {
        return Arc::clone(there);
    }
    let agents: Arc<[AgentVersion]> = agents.into();
    known.insert(Arc::clone(&agents));
    agents
}

/// When a run is overdue if nothing happens until then.
fn due(run: &Run, now: Timestamp, looks: u8) -> Option<Timestamp> {
    let pause = |base: Duration| base.saturating_mul(1 << looks.min(10)).min(LOOK_MAX);
    if run.is_finished() {
        return Some(now.plus(pause(MARK_GRACE)));
    }
    let timer = run.next_due().map(|due| due.max(now).plus(pause(TIMER_GRACE)));
    let patience = run.slowest_timeout().saturating_add(limits::LEASE).saturating_add(STEP_GRACE);
    let step = (run.in_flight() > 0).then(|| now.plus(pause(patience)));
    let checked = run.last_progress().plus(STALL_GRACE);
    let stalled = (run.status() == RunStatus::Stalled && now < checked).then_some(checked);
    timer.into_iter().chain(step).chain(stalled).min()
}

#[cfg(test)]
mod tests {
    use kapelle_engine::testing::{entry, fresh, plan};
    use kapelle_engine::{Stamp, apply};
    use serde_json::json;

    use super::*;

    /// A fan-out of ten thousand takes its time to be queued; what is queued meanwhile is no sign that it is lost.
    #[test]
    fn what_is_on_its_way_is_not_missed() {
        let at = Timestamp::from_millis;
        let mut run = fresh(Arc::new(plan(&json!({"steps": [{"id": "a"}]}))));
        let (submitted, channel) = entry("submit {}");
        let _ = apply(&mut run, &submitted, channel, Stamp { seq: 7, at: at(0) });
        let mut open = OpenRuns::default();
        open.update(&run);
        open.on_its_way(at(5_000), 6, [].iter());
        let mut suspected = |now, oldest| open.suspect(at(now), Some(at(oldest)), false);
        assert_eq!(suspected(6_000, 5_500), 0, "its commands were not acknowledged a second ago");
        assert_eq!(suspected(8_000, 6_900), 0, "they may be as old as the oldest task");
        assert_eq!(suspected(8_000, 7_100), 1);
        open.update(&run);
        open.on_its_way(at(9_000), 7, [run.id()].iter());
        assert_eq!(open.suspect(at(10_500), Some(at(10_400)), false), 0, "it was being rebuilt");
        open.on_its_way(at(11_000), 7, [].iter());
        assert_eq!(open.suspect(at(11_500), Some(at(11_400)), false), 1);
        assert_eq!(open.suspect(at(12_000), Some(at(11_500)), true), 0, "it is due already");
        assert_eq!(open.due(at(12_000), 9), [run.id()]);
    }
}
