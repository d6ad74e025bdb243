//! A run's state as the API shows it.

use kapelle_engine::{Act, Channel, Record, Run, RunStatus, StepSummary, apply};
use kapelle_proto::v1;
use kapelle_proto::v1::log_entry::Body as WireBody;
use kapelle_types::{Flow, Payload, RunId, StepRef, TaskId, printed};

/// The view of a run.
pub(crate) fn view(run: &Run) -> v1::RunView {
    let outcome = run.outcome();
    let error = outcome.and_then(|o| o.error.clone()).or_else(|| {
        let stalled = run.status() == RunStatus::Stalled;
        if stalled { run.stall_reason() } else { None }
    });
    v1::RunView {
        run_id: printed(&run.id()),
        workflow: printed(&run.plan().workflow),
        status: v1::RunStatus::from(run.status()) as i32,
        output: outcome.and_then(|o| o.output.as_ref()).map(json).unwrap_or_default(),
        error: error.as_ref().map(Into::into),
        steps: run.steps().map(|s| step(run, &s)).collect(),
        submitted_at_unix_nanos: run.submitted_at().map_or(0, |t| t.nanos()),
        finished_at_unix_nanos: if run.is_finished() { run.last_progress().nanos() } else { 0 },
        idempotency_key: run.key().map(str::to_owned),
        closing: run.closing().map_or(0, |status| v1::RunStatus::from(status) as i32),
        submitted_by: run.submitted_by().map(printed).unwrap_or_default(),
        labels: run.labels().map(|l| l.iter().map(|(k, v)| (k.clone(), v.clone())).collect()).unwrap_or_default(),
        continued_from: run.continued_from().as_ref().map(printed).unwrap_or_default(),
        continued_as: run.continued_as().as_ref().map(printed).unwrap_or_default(),
        forked_from: run.forked_from().as_ref().map(printed).unwrap_or_default(),
        why: None,
        priority: run.given_priority().map_or(0, |it| it.get().into()),
    }
}

/// A payload's JSON text; empty if its value is not at hand.
pub(crate) fn json(payload: &Payload) -> bytes::Bytes {
    payload.value.as_ref().and_then(|v| serde_json::to_vec(v).ok()).unwrap_or_default().into()
}

fn step(run: &Run, summary: &StepSummary<'_>) -> v1::StepView {
    let members = summary.members;
    v1::StepView {
        step: printed(summary.id),
        status: summary.status.name().to_owned(),
        agent: summary.agent.map(printed).unwrap_or_default(),
        kind: summary.kind.to_owned(),
        signal: summary.signal.map(printed).unwrap_or_default(),
        due_unix_millis: summary.due.map(kapelle_types::Timestamp::millis),
        round: summary.round,
        chain: summary.chain.iter().map(printed).collect(),
        attempts: summary.attempts,
        members_total: members.map_or(0, |m| m.total),
        members_done: members.map_or(0, |m| m.done),
        members_running: members.map_or(0, |m| m.running),
        failure: summary.failure.map(Into::into),
        flow: summary.flow.as_ref().map(flow),
        run_id: begun(run, summary).map(|id| printed(&id)).unwrap_or_default(),
    }
}

/// How a step stands among others.
fn flow(flow: &Flow) -> v1::FlowView {
    let fairness = flow.fairness.as_ref();
    v1::FlowView {
        priority: flow.priority.get().into(),
        fairness_key: fairness.map(|it| it.key.clone()),
        fairness_weight: fairness.map_or(0, |it| it.weight),
        limit_key: flow.limit.as_ref().map(|it| it.key.clone()),
    }
}

/// The run that the latest attempt of a step began.
fn begun(run: &Run, summary: &StepSummary<'_>) -> Option<RunId> {
    let planned = run.plan().steps.iter().find(|it| it.id == *summary.id)?;
    let begins = matches!(planned.act, Act::Workflow(_)) && planned.foreach.is_none() && summary.attempts > 0;
    let task = TaskId { step: StepRef { step: summary.id.clone(), item: None }, attempt: summary.attempts };
    begins.then(|| RunId::of_attempt(run.id(), &task))
}

/// An entry as readers may see it: whoever may read a run may not speak for its tasks.
fn without_token(mut entry: v1::LogEntry) -> v1::LogEntry {
    match &mut entry.body {
        Some(WireBody::StepSucceeded(report)) => report.token.clear(),
        Some(WireBody::StepFailed(report)) => report.token.clear(),
        _ => {}
    }
    entry
}

/// A run's log with what the engine made of each entry.
pub(crate) fn history(run: &mut Run, records: &[Record]) -> Vec<v1::HistoryEntry> {
    let mut entries = Vec::new();
    for record in records {
        let channel = match record.channel {
            Channel::Control => "control",
            Channel::Report => "report",
        };
        for entry in &record.entries {
            let decision = apply(run, entry, record.channel, record.stamp);
            entries.push(v1::HistoryEntry {
                seq: record.stamp.seq,
                at_unix_nanos: record.stamp.at.nanos(),
                channel: channel.to_owned(),
                entry: Some(without_token(entry.into())),
                ignored: decision.ignored.map(|i| i.name().to_owned()).unwrap_or_default(),
            });
        }
    }
    entries
}
