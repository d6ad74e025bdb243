//! Listing runs: each owner knows its open runs and the ones that ended lately; one question asks them all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kapelle_bus::Bus;
use kapelle_engine::Run;
use kapelle_proto::v1;
use kapelle_types::{Partition, RunId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ownership::Peers;
use crate::partitions::Served;
use crate::questions::ask;
use crate::runs::{RunRow, label_hash};

/// Ended runs that a partition remembers for listings.
pub(crate) const ENDED_MAX: usize = 1_000;
/// Rows that one listing may return.
pub(crate) const ROWS_MAX: usize = 1_000;

/// What is looked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Query {
    /// A workflow's name; empty is any.
    pub workflow: String,
    /// Statuses as the wire numbers them; empty is any.
    pub statuses: Vec<i32>,
    /// Labels that a run has, all of them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Only what was submitted before.
    #[serde(default)]
    pub submitted_before: Option<Timestamp>,
    /// Only what a listing shows after this run.
    #[serde(default)]
    pub after: Option<(Timestamp, RunId)>,
    /// Runs too that are known by their id alone, since a take-over: whether they match has to be seen.
    #[serde(default)]
    pub unseen: bool,
    /// Only runs in which something waits for people.
    #[serde(default)]
    pub held: bool,
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
    /// The partitions that were looked through. Empty from an owner that does not say.
    #[serde(default)]
    pub partitions: BTreeSet<Partition>,
}

impl Query {
    /// What a request looks for at this moment.
    pub(crate) fn of(request: &v1::ListRunsRequest, now: Timestamp) -> Self {
        let limit = if request.limit == 0 { 100 } else { request.limit as usize };
        let older = i64::try_from(Duration::from_secs(request.older_than_seconds).as_nanos()).unwrap_or(i64::MAX);
        Self {
            workflow: request.workflow.clone(),
            statuses: request.statuses.clone(),
            labels: request.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            submitted_before: (older > 0).then(|| Timestamp::from_nanos(now.nanos().saturating_sub(older))),
            after: None,
            unseen: false,
            held: false,
            limit: limit.min(ROWS_MAX),
        }
    }

    /// Whether it looks for everything.
    pub(crate) fn is_any(&self) -> bool {
        self.workflow.is_empty()
            && self.statuses.is_empty()
            && self.labels.is_empty()
            && self.submitted_before.is_none()
    }

    /// Whether a row is looked for. A row whose workflow is not known yet is kept: better one too many.
    fn matches(&self, row: &RunRow) -> bool {
        if self.after.is_some_and(|(at, run)| (row.submitted_at, run) >= (at, row.run)) {
            return false;
        }
        let Some(workflow) = &row.workflow else {
            // RUNNING is what a run is taken for until it was seen.
            let unseen = self.unseen && row.status == v1::RunStatus::Running as i32;
            return unseen || self.statuses.is_empty() || self.statuses.contains(&row.status);
        };
        (self.workflow.is_empty() || workflow.name.as_str() == self.workflow)
            && (self.statuses.is_empty() || self.statuses.contains(&row.status))
            && (row.held || !self.held)
            && self.submitted_before.is_none_or(|before| row.submitted_at <= before)
            && self.labels.iter().all(|(name, value)| row.labels.contains(&label_hash(name, value)))
    }

    /// Whether a run whose log was read is looked for.
    pub(crate) fn finds(&self, run: &Run) -> bool {
        let status = v1::RunStatus::from(run.status()) as i32;
        let labelled = |(name, value): (&String, &String)| run.labels().and_then(|all| all.get(name)) == Some(value);
        (self.workflow.is_empty() || run.plan().workflow.name.as_str() == self.workflow)
            && (self.statuses.is_empty() || self.statuses.contains(&status))
            && self.submitted_before.is_none_or(|before| run.submitted_at().is_some_and(|at| at <= before))
            && self.labels.iter().all(labelled)
    }

    /// Picks from rows.
    pub(crate) fn pick<'r>(
        &self,
        partition: Partition,
        rows: impl Iterator<Item = RunRow>,
        ended: impl Iterator<Item = &'r RunRow>,
    ) -> Answer {
        let rows = rows.chain(ended.cloned()).filter(|r| self.matches(r)).collect::<Vec<_>>();
        let mut answer = Answer { total: rows.len() as u64, rows, partitions: [partition].into() };
        answer.cut(self.limit);
        answer
    }
}

impl Answer {
    /// Adds another answer.
    pub(crate) fn merge(&mut self, other: Self, limit: usize) {
        self.total += other.total;
        self.rows.extend(other.rows);
        self.partitions.extend(other.partitions);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::label_hashes;

    fn row(n: u8, at: i64, labels: &[(&str, &str)]) -> RunRow {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        RunRow {
            run: RunId::keyed("default", &"w".parse().unwrap(), &n.to_string()),
            workflow: Some("intake@1.0.0".parse().unwrap()),
            status: v1::RunStatus::Stalled as i32,
            submitted_at: Timestamp::from_millis(at),
            last_progress: Timestamp::from_millis(at),
            labels: label_hashes(&labels),
            held: false,
        }
    }

    fn query() -> Query {
        Query { limit: ROWS_MAX, ..Query::default() }
    }

    #[test]
    fn each_filter_takes_its_part() {
        let labels = [("team", "legal"), ("domain", "intake")];
        let there = row(1, 1_000, &labels);
        let label = |value: &str| [("team".to_owned(), value.to_owned())].into();
        let before = |at| Some(Timestamp::from_millis(at));
        for (query, matches) in [
            (query(), true),
            (Query { workflow: "intake".into(), ..query() }, true),
            (Query { workflow: "other".into(), ..query() }, false),
            (Query { statuses: vec![v1::RunStatus::Paused as i32], ..query() }, false),
            (Query { labels: label("legal"), ..query() }, true),
            (Query { labels: label("sales"), ..query() }, false),
            (Query { submitted_before: before(1_000), ..query() }, true),
            (Query { submitted_before: before(999), ..query() }, false),
        ] {
            assert_eq!(query.matches(&there), matches, "{query:?}");
        }
        let unseen = RunRow { workflow: None, status: v1::RunStatus::Running as i32, ..there };
        let stalled = Query { statuses: vec![v1::RunStatus::Stalled as i32], ..query() };
        assert!(!stalled.matches(&unseen) && Query { unseen: true, ..stalled }.matches(&unseen));
    }

    /// Page after page shows every run once, also where many were submitted at the same moment.
    #[test]
    fn pages_come_one_after_another() {
        let rows: Vec<RunRow> = (0..25).map(|n| row(n, i64::from(n / 10), &[])).collect();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = Query { after, limit: 4, ..query() }.pick(Partition(0), rows.iter().cloned(), [].iter());
            let Some(last) = page.rows.last() else { break };
            after = Some((last.submitted_at, last.run));
            seen.extend(page.rows.iter().map(|row| row.run));
        }
        assert_eq!(seen.len(), 25);
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 25);
    }
}
