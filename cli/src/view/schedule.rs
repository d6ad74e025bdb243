//! Schedules and what became of their times.

use kapelle_proto::v1;
use serde::Serialize;

use crate::output::moment;

/// A schedule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Schedule {
    pub(crate) name: String,
    pub(crate) workflow: String,
    pub(crate) applied_by: String,
    pub(crate) applied_at: Option<String>,
    pub(crate) paused: Option<Pause>,
    pub(crate) next: Vec<Time>,
    pub(crate) open_runs: Vec<String>,
    pub(crate) waiting: u32,
    pub(crate) started: u64,
    pub(crate) skipped: u64,
    pub(crate) missed: u64,
    pub(crate) failed: u64,
    pub(crate) recent: Vec<Firing>,
    /// Its manifest, where one was asked for.
    pub(crate) manifest: Option<serde_json::Value>,
}

/// Why it stands still.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Pause {
    pub(crate) by: String,
    pub(crate) at: Option<String>,
    pub(crate) note: String,
}

/// A time to come.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Time {
    pub(crate) at: Option<String>,
    /// What the clocks of its zone show.
    pub(crate) shown: String,
}

/// A time and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Firing {
    pub(crate) time: Option<String>,
    pub(crate) decided_at: Option<String>,
    pub(crate) outcome: String,
    pub(crate) run: String,
    pub(crate) why: String,
}

/// What became of one manifest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct AppliedSchedule {
    pub(crate) name: String,
    /// `created`, `changed` or `unchanged`.
    pub(crate) outcome: String,
    /// Its next time; none while it stands still.
    pub(crate) next: Option<String>,
}

/// How many times wait for their turn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Backfilled {
    pub(crate) times: u32,
}

/// A schedule that is gone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Deleted {
    pub(crate) deleted: String,
}

impl From<v1::ScheduleView> for Schedule {
    fn from(wire: v1::ScheduleView) -> Self {
        let time = |it: v1::ScheduleTime| Time { at: moment(it.at_unix_nanos), shown: it.shown };
        let firing = |it: v1::ScheduleFiring| Firing {
            time: moment(it.time_unix_nanos),
            decided_at: moment(it.at_unix_nanos),
            outcome: it.outcome,
            run: it.run_id,
            why: it.why,
        };
        let pause = |it: v1::SchedulePause| Pause { by: it.by, at: moment(it.at_unix_nanos), note: it.note };
        Self {
            name: wire.name,
            workflow: wire.workflow,
            applied_by: wire.applied_by,
            applied_at: moment(wire.applied_at_unix_nanos),
            paused: wire.pause.map(pause),
            next: wire.next.into_iter().map(time).collect(),
            open_runs: wire.open_runs,
            waiting: wire.waiting,
            started: wire.started,
            skipped: wire.skipped,
            missed: wire.missed,
            failed: wire.failed,
            recent: wire.recent.into_iter().map(firing).collect(),
            manifest: serde_json::from_slice(&wire.json).ok(),
        }
    }
}
