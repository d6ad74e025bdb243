//! A recorded log, read and applied as a coordinator does it, and what the engine makes of it.

use std::sync::Arc;

use kapelle_engine::{Body, Channel, Entry, Kept, Record, Run, RunSubmitted, Stamp, apply, invariant, outstanding};
use kapelle_proto::decode_record;
use kapelle_types::Payload;

use super::{Answer, History, Made, Turn, told};

/// A record with its payloads fetched, or why it cannot be read: `garbage` or `newer`.
type Readable = Result<Record, &'static str>;

/// Reads the log.
#[must_use]
pub fn decode(history: &History) -> Vec<(Stamp, Readable)> {
    let read = |stored: &super::Stored| {
        let raw = stored.raw(history.run);
        let record = decode_record(raw.channel, raw.stamp, &raw.payload).map(|mut record| {
            record.entries.iter_mut().for_each(|entry| fetch(history, entry));
            record
        });
        (raw.stamp, record.map_err(|e| if e.is_newer() { "newer" } else { "garbage" }))
    };
    history.records.iter().map(read).collect()
}

/// Puts values where only claim checks are.
fn fetch(history: &History, entry: &mut Entry) {
    let mut value = |payload: &mut Payload| {
        let (None, Some(stored)) = (&payload.value, &payload.stored) else { return };
        let Some(text) = history.objects.get(&stored.sha256) else { return };
        payload.value = Some(Arc::new(serde_json::from_str(text).expect("the file was looked at")));
    };
    entry.body.payload_mut().into_iter().for_each(&mut value);
    entry.body.kept_mut().iter_mut().filter_map(Kept::payload_mut).for_each(value);
}

/// The submission that names the plan: the first entry that the control plane wrote.
///
/// # Errors
/// What stands there instead.
pub(super) fn submission(log: &[(Stamp, Readable)]) -> Result<&RunSubmitted, String> {
    let control = log.iter().filter_map(|(_, r)| r.as_ref().ok()).find(|r| r.channel == Channel::Control);
    match control.and_then(|r| r.entries.first()).map(|e| &e.body) {
        Some(Body::RunSubmitted(submitted)) => Ok(submitted),
        other => Err(format!("the log begins with {other:?} instead of a submission")),
    }
}

/// Applies the whole log to the run that it begins.
#[must_use]
pub fn fold(history: &History, fresh: &Run) -> Made {
    let mut run = fresh.clone();
    let turns = decode(history).iter().map(|(stamp, record)| turn(&mut run, *stamp, record)).collect();
    let outcome = run.outcome();
    let error = outcome.and_then(|o| o.error.clone()).or_else(|| run.stall_reason());
    Made {
        behaviour: run.behaviour(),
        status: run.status().name().to_owned(),
        output: outcome.and_then(|o| o.output.as_ref()?.value.as_deref().cloned()),
        error_code: error.map(|e| e.code),
        decided_seq: outcome.map(|o| o.decided_seq),
        steps: run.steps().map(|s| told::step(&s)).collect(),
        records: turns,
    }
}

/// Applies one record.
fn turn(run: &mut Run, stamp: Stamp, record: &Readable) -> Turn {
    let mut entries = Vec::new();
    for entry in record.iter().flat_map(|r| &r.entries) {
        let channel = record.as_ref().map_or(Channel::Control, |r| r.channel);
        let decision = apply(run, entry, channel, stamp);
        entries.push(Answer {
            entry: told::entry(entry),
            ignored: decision.ignored.map(|i| i.name().to_owned()),
            commands: decision.commands.iter().map(told::command).collect(),
        });
    }
    Turn {
        seq: stamp.seq,
        refused: record.as_ref().err().map(|r| (*r).to_owned()),
        entries,
        status: run.status().name().to_owned(),
        outstanding: waits_for(run, stamp),
    }
}

/// What a take-over at this moment would perform.
fn waits_for(run: &Run, stamp: Stamp) -> Vec<String> {
    outstanding(run, stamp.at).iter().map(told::command).collect()
}

/// Cuts the log behind each record, as a crash does, and rebuilds the run from the part before: it has to be the run that
/// was never interrupted, to wait for the same, and to keep every invariant. Says what does not hold.
#[must_use]
pub fn check_cuts(history: &History, fresh: &Run) -> Vec<String> {
    let log = decode(history);
    let mut problems = Vec::new();
    let mut going = fresh.clone();
    for (cut, (stamp, record)) in log.iter().enumerate() {
        let _ = turn(&mut going, *stamp, record);
        let mut again = fresh.clone();
        for (stamp, record) in &log[..=cut] {
            let entries = record.iter().flat_map(|r| r.entries.iter().map(move |e| (e, r.channel)));
            entries.for_each(|(entry, channel)| drop(apply(&mut again, entry, channel, *stamp)));
        }
        let mut problem = |what: &str| problems.push(format!("cut behind seq {}: {what}", stamp.seq));
        if again != going {
            problem("the rebuilt run is another one");
        }
        if outstanding(&again, stamp.at) != outstanding(&going, stamp.at) {
            problem("the rebuilt run waits for something else");
        }
        if let Err(violation) = invariant::check(&going) {
            problem(&violation.to_string());
        }
        if history.made.records[cut].status != going.status().name() {
            problem("the run stands elsewhere than it did");
        }
    }
    problems
}
