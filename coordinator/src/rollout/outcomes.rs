//! What the versions do that are being brought in, and those in whose place they are to come: each coordinator counts what
//! the runs of its partitions report, as long as somebody may ask.
//!
//! Nothing of it is stored. What a coordinator counted is lost with it; a stage then has less to be judged by, and lasts longer.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kapelle_bus::registry::{Kind, Subject};
use kapelle_types::{AgentName, AgentVersion, Timestamp, Usd, Version, WorkflowName, WorkflowVersion};

use super::tally::Tally;

/// What is counted of one agent or workflow.
#[derive(Default)]
struct Counted {
    /// The stage's beginning: what was counted for another one is no longer asked for.
    since: Timestamp,
    versions: BTreeMap<Version, Tally>,
}

#[derive(Default)]
struct Book {
    agents: HashMap<AgentName, Counted>,
    workflows: HashMap<WorkflowName, Counted>,
}

/// What versions did, by version.
pub type ByVersion = BTreeMap<Version, Tally>;

/// The book that all partitions of a coordinator keep.
#[derive(Default)]
pub struct Outcomes {
    /// Whether anything is counted at all: hardly ever.
    any: AtomicBool,
    book: Mutex<Book>,
}

impl Outcomes {
    /// From now on these are counted, each since the moment that is said, and nothing else.
    pub(crate) fn watch(&self, wanted: &[(Subject, Timestamp)]) {
        if wanted.is_empty() && !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let Book { mut agents, mut workflows } = std::mem::take(&mut *book);
        let renewed = |known: Option<Counted>, since: Timestamp| {
            known.filter(|it| it.since == since).unwrap_or_else(|| Counted { since, versions: BTreeMap::new() })
        };
        for (subject, since) in wanted {
            match (subject.kind, subject.name.parse::<AgentName>(), subject.name.parse::<WorkflowName>()) {
                (Kind::Agent, Ok(name), _) => {
                    let counted = renewed(agents.remove(&name), *since);
                    book.agents.insert(name, counted);
                }
                (Kind::Workflow, _, Ok(name)) => {
                    let counted = renewed(workflows.remove(&name), *since);
                    book.workflows.insert(name, counted);
                }
                _ => {}
            }
        }
        self.any.store(!wanted.is_empty(), Ordering::Relaxed);
    }

    fn edit(&self, edit: impl FnOnce(&mut Book)) {
        if self.any.load(Ordering::Relaxed) {
            edit(&mut self.book.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// An attempt of an agent ended, in a run of a workflow.
    pub(crate) fn attempt(
        &self,
        (agent, workflow): (&AgentVersion, &WorkflowVersion),
        succeeded: bool,
        took: Duration,
        cost_usd: f64,
    ) {
        self.edit(|book| {
            let cost = Usd::reported(cost_usd).unwrap_or_default();
            if let Some(counted) = book.agents.get_mut(&agent.name) {
                let tally = counted.versions.entry(agent.version.clone()).or_default();
                tally.ended(succeeded, took);
                tally.cost(cost);
            }
            if let Some(counted) = book.workflows.get_mut(&workflow.name) {
                counted.versions.entry(workflow.version.clone()).or_default().cost(cost);
            }
        });
    }

    /// A run ended.
    pub(crate) fn run(&self, workflow: &WorkflowVersion, succeeded: bool, took: Duration) {
        self.edit(|book| {
            if let Some(counted) = book.workflows.get_mut(&workflow.name) {
                counted.versions.entry(workflow.version.clone()).or_default().ended(succeeded, took);
            }
        });
    }

    /// What was counted since that moment; nothing if that is not what is counted.
    pub(crate) fn counted(&self, subject: &Subject, since: Timestamp) -> ByVersion {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = match subject.kind {
            Kind::Agent => subject.name.parse().ok().and_then(|name: AgentName| book.agents.get(&name)),
            Kind::Workflow => subject.name.parse().ok().and_then(|name: WorkflowName| book.workflows.get(&name)),
        };
        counted.filter(|it| it.since == since).map(|it| it.versions.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(5);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn seen(outcomes: &Outcomes, subject: &Subject, since: Timestamp) -> Vec<(String, u64, u64, u64)> {
        let counted = outcomes.counted(subject, since);
        let row = |(version, it): (&Version, &Tally)| (version.to_string(), it.succeeded, it.failed, it.cost_micros);
        counted.iter().map(row).collect()
    }

    #[test]
    fn what_is_watched_is_counted_from_the_beginning_of_its_stage() {
        let outcomes = Outcomes::default();
        let (read, other): (AgentVersion, AgentVersion) =
            ("read@1.0.0".parse().unwrap(), "write@1.0.0".parse().unwrap());
        let flow: WorkflowVersion = "intake@2.0.0".parse().unwrap();
        let (agent, workflow) = (Subject::agent(&read.name), Subject::workflow(&flow.name));
        let happen = |times: usize| {
            for _ in 0..times {
                outcomes.attempt((&read, &flow), true, TOOK, 0.25);
                outcomes.attempt((&other, &flow), false, TOOK, 0.5);
                outcomes.run(&flow, false, TOOK);
            }
        };
        happen(3);
        assert!(seen(&outcomes, &agent, at(1)).is_empty(), "nobody asked");
        outcomes.watch(&[(agent.clone(), at(1)), (workflow.clone(), at(2))]);
        happen(2);
        assert_eq!(seen(&outcomes, &agent, at(1)), [("1.0.0".to_owned(), 2, 0, 500_000)]);
        assert_eq!(seen(&outcomes, &workflow, at(2)), [("2.0.0".to_owned(), 0, 2, 1_500_000)]);
        assert!(seen(&outcomes, &agent, at(9)).is_empty(), "another stage");

        outcomes.watch(&[(agent.clone(), at(1)), (workflow.clone(), at(3))]);
        assert_eq!(seen(&outcomes, &agent, at(1)).len(), 1, "the same stage goes on");
        assert!(seen(&outcomes, &workflow, at(3)).is_empty(), "a stage begins with nothing");
        outcomes.watch(&[]);
        happen(1);
        assert!(seen(&outcomes, &agent, at(1)).is_empty(), "nobody asks any more");
    }
}
