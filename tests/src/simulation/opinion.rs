//! The same second opinion on logs that a real broker has: what a fleet of processes wrote is judged as what the model did.

use std::collections::BTreeMap;

use kapelle_engine::{Body, DispatchTask, Record, Run, RunStatus};
use kapelle_types::{RunId, StepRef, TaskId, Timestamp};
use serde_json::Value;

use super::oracle::Fold;
use super::outcome::Judge;

/// All runs of a broker, as far as their logs were read.
#[derive(Default)]
pub struct Opinion {
    folds: BTreeMap<RunId, Fold>,
    decided_at: BTreeMap<RunId, Timestamp>,
    /// What reports said first, of attempts of agents: what was used and what came too late.
    succeeded: BTreeMap<(RunId, TaskId), Value>,
}

impl Opinion {
    /// Takes the whole log of a run that knows nothing yet.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(&mut self, run: Run, records: &[Record]) -> Result<(), String> {
        let id = run.id();
        let input = records.iter().flat_map(|record| &record.entries).find_map(|entry| match &entry.body {
            Body::RunSubmitted(submitted) => submitted.input.value.as_deref().cloned(),
            _ => None,
        });
        let mut fold = Fold::new(run, input.unwrap_or_default());
        for record in records {
            for entry in &record.entries {
                if let Body::RunFinished(mark) = &entry.body
                    && fold.run.outcome() != Some(mark)
                {
                    return Err(format!("{id}: marked {mark:?}, decided {:?}", fold.run.outcome()));
                }
                let (_, judged) = fold.take(entry, record);
                judged.map_err(|(name, detail)| format!("{name}: {id} at {}: {detail}", record.stamp.seq))?;
                if let Body::StepSucceeded(report) = &entry.body
                    && fold.dispatched.contains_key(&report.task)
                {
                    let output = report.output.value.as_deref().cloned().unwrap_or_default();
                    self.succeeded.entry((id, report.task.clone())).or_insert(output);
                }
                if fold.run.is_finished() {
                    self.decided_at.entry(id).or_insert(record.stamp.at);
                }
            }
        }
        self.folds.insert(id, fold);
        Ok(())
    }

    /// What is wrong with how runs ended, by what their agents return; empty if nothing is.
    pub fn wrong_ends(&self, outputs: &dyn Fn(RunId, &StepRef) -> Value) -> Vec<String> {
        let judge = Judge { folds: &self.folds, outputs };
        let wrong = |(id, fold): (&RunId, &Fold)| {
            let at = self.decided_at.get(id).copied().unwrap_or_default();
            let right = fold.run.is_marked() && judge.is_right(*id, at);
            (!right).then(|| format!("{id} {}: {:?}", fold.run.status(), fold.run.outcome()))
        };
        self.folds.iter().filter_map(wrong).collect()
    }

    /// Runs by how they ended.
    #[must_use]
    pub fn ends(&self) -> BTreeMap<&'static str, usize> {
        let mut ends = BTreeMap::new();
        for fold in self.folds.values() {
            *ends.entry(fold.run.status().name()).or_default() += 1;
        }
        ends
    }

    /// Runs by how many there are of them: submitted, and begun by others.
    #[must_use]
    pub fn runs(&self) -> (usize, usize) {
        let begun =
            self.folds.values().filter(|fold| fold.run.parent().is_some() || fold.run.continued_from().is_some());
        let begun = begun.count();
        (self.folds.len() - begun, begun)
    }

    /// How a run stands.
    #[must_use]
    pub fn status(&self, run: RunId) -> Option<RunStatus> {
        self.folds.get(&run).map(|fold| fold.run.status())
    }

    /// The attempt as the log wanted it done, if it did.
    #[must_use]
    pub fn dispatched(&self, run: RunId, task: &TaskId) -> Option<&DispatchTask> {
        self.folds.get(&run)?.dispatched.get(task)
    }

    /// Every success of an agent that a log tells of, and what it gave.
    pub fn succeeded(&self) -> impl Iterator<Item = (&RunId, &TaskId, &Value)> {
        self.succeeded.iter().map(|((run, task), output)| (run, task, output))
    }
}
