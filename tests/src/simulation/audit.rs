//! Invariants that are looked at while things happen: executions, views, dead letters, the reconciler's patience.

use kapelle_engine::{DeadLetter, DispatchTask, PlanStep};
use kapelle_types::RunId;

use super::agents;
use super::event::Process;
use super::tasks::Key;
use super::world::World;

/// Why something is not done that people are asked about: one said no, or too few said yes in time.
const DENIED: [&str; 2] = ["K0330", "K0331"];
/// Why nothing more of an agent is dispatched, be it the first that it would do.
const SPENT: &str = "K0311";

impl World {
    /// A worker executes only what the log justified.
    pub(crate) fn check_execution(&mut self, key: &Key, task: &DispatchTask) {
        let justified = self.oracle.get(key.0).and_then(|fold| fold.dispatched.get(&key.1)) == Some(task);
        self.hold("only_justified_attempts_are_executed", justified, || format!("{} {}", key.0, key.1));
        let token = task.token == Some(agents::key(key.0).token(&key.1));
        self.hold("a_task_brings_its_own_token", token, || format!("{} {}", key.0, key.1));
    }

    /// A dead letter is of an attempt that happened, or that people did not let happen, and of a slot that failed.
    pub(crate) fn check_dead_letter(&mut self, run: RunId, letter: &DeadLetter) {
        let fold = self.oracle.get(run);
        let right = match fold.and_then(|fold| fold.dispatched.get(&letter.task)) {
            Some(task) if task.agent == letter.agent => task.input == letter.input,
            _ => fold.is_some_and(|fold| {
                let of = |step: &&PlanStep| {
                    step.id == letter.task.step.step && step.agents().any(|agent| *agent == letter.agent)
                };
                let planned = fold.run.plan().steps.iter().find(of);
                let is_denied = |step: &PlanStep| step.approval().is_some() && DENIED.contains(&&*letter.cause.code);
                planned.is_some_and(|step| is_denied(step) || letter.cause.code == SPENT)
            }),
        };
        let told = right && !letter.history.is_empty() && letter.history.last().is_some_and(|h| h.2 == letter.cause);
        self.hold("a_dead_letter_tells_what_happened", told, || format!("{run} {letter:?}"));
    }

    /// What a coordinator holds in memory is what the log says, as far as it has read.
    pub(crate) fn check_views(&mut self, process: Process) {
        let runs: Vec<RunId> = self.oracle.runs().map(|run| run.id()).collect();
        for id in runs {
            let Some(core) = self.core_of(process) else { return };
            let (read, Some(view)) = (core.read_seq(), core.cached(&id)) else { continue };
            let (view_seq, view) = (view.last_seq(), view.clone());
            let Some(fold) = self.oracle.get(id) else { continue };
            let expected = fold.run.last_seq();
            let same = view_seq != expected || view == fold.run;
            self.hold("views_are_the_fold_of_the_log", same, || format!("{id} at {view_seq} in {}", process.slot));
            let whole = read < expected || view_seq >= expected;
            self.hold("views_miss_nothing_that_was_read", whole, || {
                format!("{id} stands at {view_seq}, read {read}, its log ends at {expected}")
            });
        }
    }
}
