//! What the logs say, folded by the engine: how each run ended, which outcomes were recorded, how often, and when.

use std::collections::BTreeMap;

use kapelle_engine::{Body, Channel, Record, Run, RunFinished, RunStatus, apply, invariant};
use kapelle_types::{RunId, Timestamp};
use serde_json::Value;

use super::logbook::Logbook;

/// One run as its log has it.
#[derive(Debug, Clone)]
pub struct Account {
    /// How it stands.
    pub status: RunStatus,
    /// Its output, once it is COMPLETED.
    pub output: Option<Value>,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When the entry that decided it was recorded.
    pub decided_at: Option<Timestamp>,
    /// When its first mark was recorded: everything was done for it then.
    pub marked_at: Option<Timestamp>,
    /// Recorded successes by step: entries that the engine did not ignore.
    pub outcomes: BTreeMap<String, usize>,
    /// Attempts by step, as the log has them.
    pub attempts: BTreeMap<String, u32>,
    /// What the marks of its end say; the same one if there are several.
    pub marks: Vec<RunFinished>,
}

/// All runs of a broker.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    /// By run.
    pub runs: BTreeMap<RunId, Account>,
    /// Entries that the engine ignored, by reason: what was done twice and absorbed.
    pub ignored: BTreeMap<&'static str, usize>,
    /// Failed attempts, by code.
    pub failures: BTreeMap<String, usize>,
    /// Entries in all.
    pub entries: usize,
    /// Messages that are no entries.
    pub garbage: usize,
}

impl Audit {
    /// Reads what stands in the logs now.
    ///
    /// # Panics
    /// If a log cannot be folded, or breaks an invariant of the engine.
    pub async fn of(book: &Logbook) -> Self {
        let logs = book.logs().await;
        let mut audit = Self { garbage: book.pages().garbage, ..Self::default() };
        logs.into_iter().for_each(|(run, records)| audit.fold(run, &records));
        audit
    }

    fn fold(&mut self, mut run: Run, records: &[Record]) {
        let (mut outcomes, mut marks, mut decided_at, mut marked_at) = (BTreeMap::new(), Vec::new(), None, None);
        for record in records {
            for entry in &record.entries {
                self.entries += 1;
                let decision = apply(&mut run, entry, record.channel, record.stamp);
                invariant::check(&run).unwrap_or_else(|v| panic!("{} at {}: {v:?}", run.id(), record.stamp.seq));
                if let Some(reason) = decision.ignored {
                    *self.ignored.entry(reason.name()).or_default() += 1;
                }
                match &entry.body {
                    Body::StepSucceeded(report) if decision.ignored.is_none() => {
                        *outcomes.entry(report.task.step.to_string()).or_default() += 1;
                    }
                    Body::StepFailed(report) if decision.ignored.is_none() => {
                        *self.failures.entry(report.failure.code.clone()).or_default() += 1;
                    }
                    Body::RunFinished(mark) if record.channel == Channel::Control => {
                        marked_at = marked_at.or(Some(record.stamp.at));
                        marks.push(mark.as_ref().clone());
                    }
                    _ => {}
                }
                if run.is_finished() && decided_at.is_none() {
                    decided_at = Some(record.stamp.at);
                }
            }
        }
        let output = run.outcome().and_then(|o| o.output.as_ref()?.value.as_deref().cloned());
        let attempts = run.steps().map(|s| (s.id.to_string(), s.attempts)).collect();
        let submitted_at = run.submitted_at().unwrap_or_default();
        let status = run.status();
        let account = Account { status, output, submitted_at, decided_at, marked_at, outcomes, attempts, marks };
        self.runs.insert(run.id(), account);
    }

    /// Runs that were open at a moment, by the broker's time of what decided them.
    #[must_use]
    pub fn open_at(&self, at: Timestamp) -> usize {
        let open = |a: &&Account| a.submitted_at <= at && a.decided_at.is_none_or(|decided| decided > at);
        self.runs.values().filter(open).count()
    }

    /// Every run is COMPLETED, each of its steps has one recorded outcome, and its marks, one or more, say the same.
    ///
    /// # Panics
    /// With the first runs that differ.
    pub fn assert_completed_once(&self, steps: usize) {
        let fault = |a: &Account| {
            let same = a.marks.windows(2).all(|two| two[0] == two[1]);
            (a.status != RunStatus::Completed)
                .then(|| format!("it is {}", a.status.name()))
                .or_else(|| {
                    let once = a.outcomes.len() == steps && a.outcomes.values().all(|n| *n == 1);
                    (!once).then(|| format!("recorded outcomes: {:?}", a.outcomes))
                })
                .or_else(|| (a.marks.is_empty() || !same).then(|| format!("marks: {:?}", a.marks)))
        };
        let faults: Vec<_> =
            self.runs.iter().filter_map(|(id, a)| fault(a).map(|f| format!("{id}: {f}"))).take(10).collect();
        assert!(faults.is_empty(), "{} runs, among them:\n{}", self.runs.len(), faults.join("\n"));
    }

    /// The longest time from a submission to the decision, in milliseconds.
    #[must_use]
    pub fn slowest_ms(&self) -> u128 {
        let took = |a: &Account| a.decided_at.map(|d| d.since(a.submitted_at).as_millis());
        self.runs.values().filter_map(took).max().unwrap_or(0)
    }

    /// The figures of a test, in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let doubled = self.runs.values().filter(|a| a.marks.len() > 1).count();
        format!(
            "{} runs, {} entries, slowest run {} ms; absorbed: {:?}; failed attempts: {:?}; runs marked twice: {doubled}",
            self.runs.len(),
            self.entries,
            self.slowest_ms(),
            self.ignored,
            self.failures
        )
    }
}
