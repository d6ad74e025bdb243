//! Filters: what streams take, what consumers read and what purges remove. Each covers exactly one kind of subject.

use kapelle_types::{AgentVersion, Partition, RunId};

use super::AuditWord;
use super::token::VersionToken;

/// The run logs of a partition.
#[must_use]
pub fn runs_filter(partition: Partition) -> String {
    format!("kapelle.run.{partition}.>")
}

/// The control subjects of a partition: one for each run that it ever had.
#[must_use]
pub fn control_filter(partition: Partition) -> String {
    format!("kapelle.run.{partition}.*.control")
}

/// Both subjects of one run's log.
#[must_use]
pub fn run_filter(partition: Partition, run: RunId) -> String {
    format!("kapelle.run.{partition}.{run}.*")
}

/// Every timer.
#[must_use]
pub const fn timers_all() -> &'static str {
    "kapelle.timer.*.*.*"
}

/// Every timer that went off.
#[must_use]
pub const fn fired_all() -> &'static str {
    "kapelle.fired.*.*"
}

/// The timers of a partition that went off, and where each belongs in the log of its run, as the broker writes it: what it
/// finds at the one wildcard of the first goes into the second.
#[must_use]
pub fn fired_to_control(partition: Partition) -> (String, String) {
    (format!("kapelle.fired.{partition}.*"), format!("kapelle.run.{partition}.{{{{wildcard(1)}}}}.control"))
}

/// The queue of one agent version.
#[must_use]
pub fn task_filter(agent: &AgentVersion) -> String {
    format!("kapelle.task.{}.{}.>", agent.name, VersionToken(&agent.version))
}

/// Every task.
#[must_use]
pub const fn tasks_all() -> &'static str {
    "kapelle.task.>"
}

/// The tasks of one agent version that wait for their turn to be queued.
#[must_use]
pub fn waiting_filter(agent: &AgentVersion) -> String {
    format!("kapelle.waiting.{}.{}.>", agent.name, VersionToken(&agent.version))
}

/// Every task that waits for its turn.
#[must_use]
pub const fn waiting_all() -> &'static str {
    "kapelle.waiting.>"
}

/// The dead letters of one agent version.
#[must_use]
pub fn dead_filter(agent: &AgentVersion) -> String {
    format!("kapelle.dead.{}.{}.>", agent.name, VersionToken(&agent.version))
}

/// Every dead letter.
#[must_use]
pub const fn dead_all() -> &'static str {
    "kapelle.dead.>"
}

/// Every job that comes in without gRPC.
#[must_use]
pub const fn submit_all() -> &'static str {
    "kapelle.submit.*"
}

/// Every event.
#[must_use]
pub const fn events_all() -> &'static str {
    "kapelle.event.>"
}

/// The whole audit trail.
#[must_use]
pub const fn audit_all() -> &'static str {
    "kapelle.audit.*.*"
}

/// The audit records of a component and a verb; `None` is any.
#[must_use]
pub fn audit_filter(component: Option<&AuditWord>, verb: Option<&AuditWord>) -> String {
    let any = |word: Option<&AuditWord>| word.map_or_else(|| "*".to_owned(), ToString::to_string);
    format!("kapelle.audit.{}.{}", any(component), any(verb))
}

#[cfg(test)]
mod tests {
    use kapelle_engine::Channel;

    use super::*;
    use crate::subject::{AuditSubject, DeadSubject, RunSubject, TaskSubject, TimerSubject};

    /// As the broker matches: `*` is one token, `>` is one or more.
    fn covers(filter: &str, subject: &str) -> bool {
        let (mut filter, mut subject) = (filter.split('.'), subject.split('.'));
        loop {
            match (filter.next(), subject.next()) {
                (Some(">"), Some(_)) | (None, None) => return true,
                (Some(token), Some(other)) if token == "*" || token == other => {}
                _ => return false,
            }
        }
    }

    #[test]
    fn filters_cover_their_subjects_and_no_others() {
        let run_id: RunId = "0192f3c4-5a6b-7c8d-9e0f-112233445566".parse().unwrap();
        let run = RunSubject { partition: Partition(3), run_id, channel: Channel::Control };
        let control = run.to_string();
        let report = RunSubject { channel: Channel::Report, ..run }.to_string();
        for subject in [&control, &report] {
            assert!(covers(&runs_filter(run.partition), subject));
            assert!(covers(&run_filter(run.partition, run_id), subject));
            assert!(!covers(&runs_filter(Partition(33)), subject));
            assert!(!covers(timers_all(), subject));
        }
        assert!(covers(&control_filter(run.partition), &control) && !covers(&control_filter(run.partition), &report));

        let timer: TimerSubject = format!("kapelle.timer.3.{run_id}.retry=a:1=2").parse().unwrap();
        assert!(covers(timers_all(), &timer.to_string()) && covers(fired_all(), &timer.fired()));
        let (fired, target) = fired_to_control(timer.partition);
        assert!(covers(&fired, &timer.fired()) && !covers(&fired_to_control(Partition(33)).0, &timer.fired()));
        assert_eq!(target.replace("{{wildcard(1)}}", &run_id.to_string()), control);

        let agent: AgentVersion = "a@1.0.0".parse().unwrap();
        let task: TaskSubject = format!("kapelle.task.a.1_0_0.{run_id}.s:1.1").parse().unwrap();
        let dead: DeadSubject = format!("kapelle.dead.a.1_0_0.{run_id}.s:1").parse().unwrap();
        assert!(covers(&task_filter(&agent), &task.to_string()) && covers(tasks_all(), &task.to_string()));
        assert!(!covers(&task_filter(&"a@1.0.1".parse().unwrap()), &task.to_string()));
        assert!(covers(&waiting_filter(&agent), &task.waiting()) && covers(waiting_all(), &task.waiting()));
        assert!(!covers(tasks_all(), &task.waiting()) && !covers(waiting_all(), &task.to_string()));
        assert!(covers(&dead_filter(&agent), &dead.to_string()) && covers(dead_all(), &dead.to_string()));
        let audit: AuditSubject = "kapelle.audit.api.denied".parse().unwrap();
        let (component, verb) = (Some(&audit.component), Some(&audit.verb));
        for filter in [audit_all(), &audit_filter(component, verb), &audit_filter(None, verb)] {
            assert!(covers(filter, &audit.to_string()), "{filter}");
        }
        assert!(covers(submit_all(), "kapelle.submit.a") && covers(events_all(), "kapelle.event.run.finished"));
    }
}
