//! One line of a listing.

use kapelle_engine::RunStatus;
use kapelle_proto::v1;
use kapelle_types::{RunId, Timestamp, WorkflowVersion};
use serde::{Deserialize, Serialize};

use crate::partition::OpenRun;

/// A run in a listing; small enough to keep many of and to send between coordinators.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunRow {
    /// Which run.
    pub run: RunId,
    /// Its workflow; `None` until its state was seen after a take-over.
    pub workflow: Option<WorkflowVersion>,
    /// Its status, as the wire numbers it.
    pub status: i32,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When something last happened to it.
    pub last_progress: Timestamp,
}

impl RunRow {
    /// The row of an open run.
    pub(crate) fn open(run: RunId, row: &OpenRun) -> Self {
        Self {
            run,
            workflow: row.workflow.clone(),
            status: v1::RunStatus::from(row.status) as i32,
            submitted_at: row.submitted_at,
            last_progress: row.last_progress,
        }
    }

    /// The row of a run that has ended.
    pub(crate) fn ended(
        run: RunId,
        workflow: Option<WorkflowVersion>,
        status: RunStatus,
        times: (Timestamp, Timestamp),
    ) -> Self {
        let status = v1::RunStatus::from(status) as i32;
        Self { run, workflow, status, submitted_at: times.0, last_progress: times.1 }
    }
}

impl From<RunRow> for v1::RunSummary {
    fn from(row: RunRow) -> Self {
        Self {
            run_id: row.run.to_string(),
            workflow: row.workflow.map(|w| w.to_string()).unwrap_or_default(),
            status: row.status,
            submitted_at_unix_nanos: row.submitted_at.nanos(),
            last_progress_unix_nanos: row.last_progress.nanos(),
        }
    }
}
