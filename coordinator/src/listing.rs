//! Listing runs: each owner knows its open runs and the ones that ended lately; one question asks them all.

use std::collections::VecDeque;

use kapelle_bus::Bus;
use kapelle_proto::v1;
use serde::{Deserialize, Serialize};

use crate::ownership::Peers;
use crate::partitions::Served;
use crate::questions::ask;
use crate::runs::RunRow;

/// Ended runs that a partition remembers for listings.
pub(crate) const ENDED_MAX: usize = 1_000;
/// Rows that one listing may return.
pub(crate) const ROWS_MAX: usize = 1_000;

/// What is looked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Query {
    /// A workflow's name; empty is any.
    pub workflow: String,
    /// Statuses as the wire numbers them; empty is any.
    pub statuses: Vec<i32>,
    /// Rows at most.
    pub limit: usize,
}

/// What was found: the latest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Answer {
    /// The rows.
    pub rows: Vec<RunRow>,
    /// How many matched.
    pub total: u64,
}

impl Query {
    /// Whether a row is looked for. A row whose workflow is not known yet is kept: better one too many.
    fn matches(&self, row: &RunRow) -> bool {
        let workflow =
            self.workflow.is_empty() || row.workflow.as_ref().is_none_or(|w| w.name.as_str() == self.workflow);
        workflow && (self.statuses.is_empty() || self.statuses.contains(&row.status))
    }

    /// Picks from rows.
    pub(crate) fn pick<'r>(
        &self,
        rows: impl Iterator<Item = RunRow>,
        ended: impl Iterator<Item = &'r RunRow>,
    ) -> Answer {
        let rows = rows.chain(ended.cloned()).filter(|r| self.matches(r)).collect::<Vec<_>>();
        let mut answer = Answer { total: rows.len() as u64, rows };
        answer.cut(self.limit);
        answer
    }
}

impl Answer {
    /// Adds another answer.
    pub(crate) fn merge(&mut self, other: Self, limit: usize) {
        self.total += other.total;
        self.rows.extend(other.rows);
        self.cut(limit);
    }

    fn cut(&mut self, limit: usize) {
        self.rows.sort_by(|a, b| b.submitted_at.cmp(&a.submitted_at).then_with(|| a.run.cmp(&b.run)));
        self.rows.truncate(limit.min(ROWS_MAX));
    }
}

/// The runs of a partition that ended lately.
#[derive(Debug, Default)]
pub(crate) struct Ended(VecDeque<RunRow>);

impl Ended {
    pub(crate) fn push(&mut self, row: RunRow) {
        if self.0.len() == ENDED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(row);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &RunRow> {
        self.0.iter()
    }
}

/// Where a coordinator is asked.
pub(crate) fn subject(coordinator: &str) -> String {
    format!("kapelle.coordinator.list.{coordinator}")
}

/// Asks every coordinator. One that does not answer in time is left out.
pub(crate) async fn list_all(bus: &Bus, own: &str, served: &Served, peers: &Peers, query: &Query) -> Answer {
    let mut answer = served.list(query).await;
    for id in peers.keys().filter(|id| id.as_str() != own) {
        if let Some(theirs) = ask(bus, subject(id), query).await {
            answer.merge(theirs, query.limit);
        }
    }
    answer
}

impl From<&v1::ListRunsRequest> for Query {
    fn from(request: &v1::ListRunsRequest) -> Self {
        let limit = if request.limit == 0 { 100 } else { request.limit as usize };
        Self { workflow: request.workflow.clone(), statuses: request.statuses.clone(), limit: limit.min(ROWS_MAX) }
    }
}
