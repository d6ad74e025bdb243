//! One line of a listing.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use kapelle_engine::{Run, RunStatus};
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
    /// Its labels, as `label_hashes` has them: who owns the run picks it by them, others are not told.
    #[serde(skip)]
    pub(crate) labels: Arc<[u64]>,
    /// Whether something in it waits for people. True until its state was seen after a take-over: better one too many.
    #[serde(default)]
    pub held: bool,
}

/// Labels as they are kept for every open run: a number each, because texts of as many runs as may be open would fill our
/// memory. Who acts on what was found by them looks at the texts again.
pub(crate) fn label_hashes(labels: &BTreeMap<String, String>) -> Arc<[u64]> {
    labels.iter().map(|(name, value)| label_hash(name, value)).collect()
}

/// The number of one label, in this process.
pub(crate) fn label_hash(name: &str, value: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (name, value).hash(&mut hasher);
    hasher.finish()
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
            labels: Arc::clone(&row.labels),
            held: row.workflow.is_none() || row.held,
        }
    }

    /// The row of a run whose log was read.
    pub(crate) fn of(run: &Run) -> Self {
        Self {
            run: run.id(),
            workflow: Some(run.plan().workflow.clone()),
            status: v1::RunStatus::from(run.status()) as i32,
            submitted_at: run.submitted_at().unwrap_or_default(),
            last_progress: run.last_progress(),
            labels: run.labels().map(label_hashes).unwrap_or_default(),
            held: run.held().next().is_some(),
        }
    }

    /// The row of a run that has ended.
    pub(crate) fn ended(
        run: RunId,
        workflow: Option<WorkflowVersion>,
        status: RunStatus,
        labels: Arc<[u64]>,
        times: (Timestamp, Timestamp),
    ) -> Self {
        let status = v1::RunStatus::from(status) as i32;
        Self { run, workflow, status, submitted_at: times.0, last_progress: times.1, labels, held: false }
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
