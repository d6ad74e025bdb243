//! How a question ended, and what was agreed to at some time: read off the run's log, entry by entry.

use kapelle_engine::{Body, Entry, TimerId, Verdict, apply};
use kapelle_types::{Payload, StepRef, Timestamp};

use crate::runs::Rebuilt;

/// How a question to people ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// Enough agreed, and it was found that they still may. `agreed` is where the last of them said so.
    Approved { by: Vec<String>, agreed: u64 },
    /// Somebody said no.
    Rejected { by: String },
    /// Nobody answered in time.
    Expired,
    /// Its run goes another way: it was cancelled, or failed.
    Withdrawn,
}

/// How the question that a step asked at a time ended, and when; `None` while it is open, or if it never was.
pub(super) fn ending(rebuilt: &Rebuilt, step: &StepRef, asked_at: Timestamp) -> Option<(Ending, Timestamp)> {
    let mut run = rebuilt.run.before_its_log();
    let mut agreed: Vec<String> = Vec::new();
    let mut open = false;
    for record in &rebuilt.records {
        for entry in &record.entries {
            if open {
                agreed = run.agreed(step).iter().map(|it| it.person.clone()).collect();
            }
            let _ = apply(&mut run, entry, record.channel, record.stamp);
            let asked = run.asked_at(step) == Some(asked_at);
            if open && !asked {
                return Some((made_of(entry, step, agreed), record.stamp.at));
            }
            open = asked;
        }
    }
    None
}

/// What a step would have been given when enough had agreed, by the entry at this sequence.
pub(super) fn agreed_to(rebuilt: &Rebuilt, step: &StepRef, agreed: u64) -> Option<Payload> {
    let mut run = rebuilt.run.before_its_log();
    for record in rebuilt.records.iter().take_while(|record| record.stamp.seq <= agreed) {
        for entry in &record.entries {
            let _ = apply(&mut run, entry, record.channel, record.stamp);
        }
    }
    run.held().find(|held| held.step == *step).map(|held| held.arguments)
}

/// What the entry that ended it makes of it.
pub(super) fn made_of(entry: &Entry, step: &StepRef, agreed: Vec<String>) -> Ending {
    match &entry.body {
        Body::ApprovalChecked(checked) if checked.step == *step => {
            Ending::Approved { by: agreed, agreed: checked.agreed }
        }
        Body::ApprovalDecided(decided) if decided.step == *step && decided.verdict == Verdict::Reject => {
            Ending::Rejected { by: decided.by.person.clone() }
        }
        Body::TimerFired { timer: TimerId::Wake(task) } if task.step == *step => Ending::Expired,
        _ => Ending::Withdrawn,
    }
}
