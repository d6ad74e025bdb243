//! Entries, commands and steps as lines of text: everything that is decided, and nothing that is only worded.
//!
//! The sentences of failures are left out, so that they can be written better; their codes are not. A field that the engine
//! learns later must not show in lines of runs that do not have it.

use kapelle_engine::{Body, Command, DeadLetter, Entry, Failure, FailureKind, RunFinished, StepSummary, TimerId};
use kapelle_types::{Flow, Payload, Sha256, TaskId, Timestamp};

/// Characters of a value that are shown in full; of a longer one its digest says whether it is the same.
const VALUE_CHARS_MAX: usize = 200;
/// Characters that are left of a longer one.
const VALUE_CHARS_HEAD: usize = 40;

/// An entry.
pub(super) fn entry(entry: &Entry) -> String {
    let id = if entry.id.is_empty() { String::new() } else { format!(", id {}", entry.id) };
    format!("{} by {}{id}", body(&entry.body), entry.principal)
}

/// The kind of an entry.
pub(super) const fn kind(body: &Body) -> &'static str {
    match body {
        Body::RunSubmitted(_) => "run_submitted",
        Body::StepSucceeded(_) => "step_succeeded",
        Body::StepFailed(_) => "step_failed",
        Body::TimerFired { .. } => "timer_fired",
        Body::SignalReceived(_) => "signal_received",
        Body::ApprovalDecided(_) => "approval_decided",
        Body::ApprovalChecked(_) => "approval_checked",
        Body::CancelRequested { .. } => "cancel_requested",
        Body::TerminateRequested { .. } => "terminate_requested",
        Body::PauseRequested { .. } => "pause_requested",
        Body::ResumeRequested => "resume_requested",
        Body::RetryRequested { .. } => "retry_requested",
        Body::FailRequested { .. } => "fail_requested",
        Body::RunFinished(_) => "run_finished",
    }
}

fn body(body: &Body) -> String {
    let kind = kind(body);
    match body {
        Body::RunSubmitted(it) => {
            let pins: Vec<_> = it.pins.iter().map(|p| format!("{}={}", p.step, p.agent)).collect();
            let (key, labels) = (it.key.as_deref().unwrap_or("none"), &it.labels);
            let input = value(&it.input);
            format!("{kind} {} [{}] key {key} labels {labels:?} {input}", it.workflow, pins.join(", "))
        }
        Body::StepSucceeded(it) => format!("{kind} {} {}", it.task, value(&it.output)),
        Body::StepFailed(it) => format!("{kind} {} {}", it.task, failure(&it.failure)),
        Body::TimerFired { timer } => format!("{kind} {timer}"),
        Body::SignalReceived(it) => format!("{kind} {} {}", it.name, value(&it.payload)),
        Body::ApprovalDecided(it) => format!("{kind} {} {} by {}", it.step, it.verdict.name(), it.by.person),
        Body::ApprovalChecked(it) => format!("{kind} {} {}", it.step, it.void.as_ref().map_or("stands", |_| "void")),
        Body::CancelRequested { .. }
        | Body::TerminateRequested { .. }
        | Body::PauseRequested { .. }
        | Body::FailRequested { .. }
        | Body::ResumeRequested => kind.to_owned(),
        Body::RetryRequested { steps } => {
            format!("{kind} [{}]", steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
        Body::RunFinished(it) => format!("{kind} {}", outcome(it)),
    }
}

/// A command.
pub(super) fn command(command: &Command) -> String {
    match command {
        Command::DispatchTask(it) => {
            let until = it.deadline.map(|d| format!(" before {}", at(d))).unwrap_or_default();
            let chain: Vec<_> = it.chain.iter().map(ToString::to_string).collect();
            let after = if chain.is_empty() { String::new() } else { format!(" after {}", chain.join(", ")) };
            let (input, stands) = (value(&it.input), it.flow.as_deref().map(flow).unwrap_or_default());
            let within = it.timeout.as_millis();
            format!("dispatch {} to {}{after} within {within} ms{until} {input}{stands}", it.task, it.agent)
        }
        Command::EmitEvent(it) => format!("emit {} {} {}", it.task, it.kind, value(&it.data)),
        Command::StartRun(it) => {
            let awaited = match (&it.continues, it.parent.awaited) {
                (Some(_), _) => " in place of this one",
                (None, true) => "",
                (None, false) => " detached",
            };
            format!("start run {} of {} for {}{awaited} {}", it.run, it.workflow, it.parent.task, value(&it.input))
        }
        Command::StopRun(it) => {
            let how = if it.terminate { "terminate" } else { "cancel" };
            format!("{how} run {} for {}", it.start.run, it.start.parent.task)
        }
        Command::ReportOutcome(it) => {
            format!("report to {} of {}: {}", it.parent.task, it.parent.run, outcome(&it.outcome))
        }
        Command::WithdrawTask { task, agent } => format!("withdraw {task} from {agent}"),
        Command::StartTimer { timer, due } => format!("start timer {} for {}", timer_id(timer), at(*due)),
        Command::CancelTimer { timer } => format!("cancel timer {}", timer_id(timer)),
        Command::CheckApproval(it) => format!("check the approval of {} agreed at {}", it.step, it.agreed),
        Command::WriteDeadLetter(letter) => dead_letter(letter),
        Command::RemoveDeadLetter { step, agent } => format!("remove dead letter {step} of {agent}"),
        Command::FinishRun(it) => format!("finish {}", outcome(it)),
    }
}

/// How an attempt stands among others, if it says anything of that.
fn flow(it: &Flow) -> String {
    let share = it.fairness.as_ref().map(|it| format!(", share {} of {}", it.weight, it.key)).unwrap_or_default();
    let limit = it.limit.as_ref().map(|it| {
        let places = it.concurrency.map(|places| format!(" {places} at a time")).unwrap_or_default();
        let rate = it.rate.map(|rate| format!(" {rate}")).unwrap_or_default();
        format!(", {} has{places}{rate}", it.key)
    });
    format!(" at priority {}{share}{}", it.priority, limit.unwrap_or_default())
}

/// A step as people see it.
pub(super) fn step(it: &StepSummary<'_>) -> String {
    let members = it.members.map(|m| format!(", {} of {} members, {} running", m.done, m.total, m.running));
    let agent = it.agent.map_or_else(|| it.kind.to_owned(), ToString::to_string);
    let failed = it.failure.map(|f| format!(", {}", failure(f)));
    let (members, failed) = (members.unwrap_or_default(), failed.unwrap_or_default());
    format!("{} {} by {}, {} attempts{members}{failed}", it.id, it.status.name(), agent, it.attempts)
}

fn dead_letter(it: &DeadLetter) -> String {
    let one = |(task, when, f): &(TaskId, Timestamp, Failure)| format!("{task} {} at {}", failure(f), at(*when));
    let history = it.history.iter().map(one).collect::<Vec<_>>().join("; ");
    let (cause, input) = (failure(&it.cause), value(&it.input));
    format!("dead letter {} of {} {input} at {}: {cause} [{history}]", it.task, it.agent, at(it.at))
}

fn outcome(it: &RunFinished) -> String {
    let output = it.output.as_ref().map(|o| format!(" {}", value(o))).unwrap_or_default();
    let error = it.error.as_ref().map(|e| format!(" {}", failure(e))).unwrap_or_default();
    format!("{} decided at {}{output}{error}", it.status.name(), it.decided_seq)
}

fn failure(it: &Failure) -> String {
    let kind = match it.kind {
        FailureKind::Agent => "agent",
        FailureKind::Timeout => "timeout",
        FailureKind::LeaseLost => "lease_lost",
        FailureKind::Returned => "returned",
    };
    let again = if it.retryable { "retryable" } else { "final" };
    let after = it.retry_after.map(|d| format!(" after {} ms", d.as_millis())).unwrap_or_default();
    format!("({kind} {} {again}{after})", it.code)
}

fn timer_id(it: &TimerId) -> String {
    it.to_string()
}

fn at(it: Timestamp) -> String {
    it.nanos().to_string()
}

/// A payload; of a stored one also where it lies.
fn value(payload: &Payload) -> String {
    let stored = payload.stored.map(|s| format!(" (stored, {} bytes)", s.size_bytes)).unwrap_or_default();
    let text = match &payload.value {
        Some(value) => short(&value.to_string()),
        None => "(no value)".to_owned(),
    };
    text + &stored
}

fn short(text: &str) -> String {
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text.to_owned();
    }
    let head: String = text.chars().take(VALUE_CHARS_HEAD).collect();
    let digest = Sha256::of(text.as_bytes()).to_string();
    format!("{head}… ({} bytes, SHA-256 {})", text.len(), &digest[..16])
}
