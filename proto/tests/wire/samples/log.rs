//! Samples of `log.proto`.

use bytes::Bytes;
use kapelle_proto::v1::approval_decided::Verdict;
use kapelle_proto::v1::kept_step::Outcome;
use kapelle_proto::v1::log_entry::Body;
use kapelle_proto::v1::payload_data::Content;
use kapelle_proto::v1::step_failure::Kind;
use kapelle_proto::v1::{
    ApprovalChecked, ApprovalDecided, ApprovalDecider, CancelRequested, FailRequested, KeptMembers, KeptSkipped,
    KeptStep, LogEntry, LogRecord, ParentRun, PauseRequested, PayloadData, PayloadReference, ResourceUsage,
    ResumeRequested, RetryRequested, RunFinished, RunStatus, RunSubmitted, SignalReceived, StepFailed, StepFailure,
    StepPin, StepSucceeded, TerminateRequested, TimerFired, WorkDone, WorkflowPin,
};

use super::{RUN, at};
use crate::golden::Sample;

pub(super) fn samples() -> Vec<Sample> {
    let mut samples: Vec<Sample> =
        bodies().into_iter().map(|(what, body)| Sample::named(what, entry("e-1", body))).collect();
    samples.extend([
        Sample::new(record()),
        Sample::named("inline", inline(r#"{"component":"serde","licence":"MIT OR Apache-2.0"}"#)),
        Sample::named("reference", stored()),
        Sample::new(reference()),
        Sample::new(submitted()),
        Sample::named("signed", RunSubmitted { behaviour: 2, signing_key: 3, ..submitted() }),
        Sample::named("person", RunSubmitted { person: Some("ada@example.com".into()), ..submitted() }),
        Sample::named("forked", forked()),
        Sample::named("skipped", kept("notice", Outcome::Skipped(KeptSkipped {}))),
        Sample::named("output", kept("inventory", Outcome::Output(stored()))),
        Sample::named("members", kept("review", Outcome::Members(members()))),
        Sample::new(KeptSkipped {}),
        Sample::new(members()),
        Sample::named(
            "below",
            RunSubmitted { workflow_pins: vec![workflow_pin()], parent: Some(parent()), ..submitted() },
        ),
        Sample::named("continued", RunSubmitted { continued_from: RUN.into(), ..submitted() }),
        Sample::named(
            "flow",
            RunSubmitted { priority: 1, fairness_key: "acme".into(), fairness_weight: 5, ..submitted() },
        ),
        Sample::named("continued", RunFinished { continued_as: RUN.into(), ..finished() }),
        Sample::new(workflow_pin()),
        Sample::new(parent()),
        Sample::new(pin("review", "licence-review@1.2.0", 2)),
        Sample::new(work()),
        Sample::named("handed_on", WorkDone { agent: "billing@2.1.0".into(), ..work() }),
        Sample::new(usage()),
        Sample::named("tools", ResourceUsage { tool_calls: 7, ..usage() }),
        Sample::new(succeeded()),
        Sample::named("signed", StepSucceeded { token: vec![5; 16].into(), ..succeeded() }),
        Sample::new(failed()),
        Sample::named("signed", StepFailed { token: vec![6; 16].into(), ..failed() }),
        Sample::new(failure()),
        Sample::new(TimerFired { timer: "retry=review:17=3".into() }),
        Sample::new(CancelRequested { reason: "ordered twice".into() }),
        Sample::new(TerminateRequested { reason: "it costs too much".into() }),
        Sample::new(PauseRequested { reason: "the provider is down".into() }),
        Sample::new(ResumeRequested {}),
        Sample::new(RetryRequested { steps: vec!["score".into(), "review:17".into()] }),
        Sample::new(FailRequested { reason: "cannot be mended".into() }),
        Sample::new(finished()),
        Sample::new(signal()),
        Sample::new(decided()),
        Sample::new(decider()),
        Sample::named("in_place_of", ApprovalDecider { in_place_of: "bob@example.com".into(), ..decider() }),
        Sample::new(checked()),
    ]);
    samples
}

fn bodies() -> Vec<(&'static str, Body)> {
    vec![
        ("run_submitted", Body::RunSubmitted(submitted())),
        ("step_succeeded", Body::StepSucceeded(succeeded())),
        ("step_failed", Body::StepFailed(failed())),
        ("timer_fired", Body::TimerFired(TimerFired { timer: "deadline".into() })),
        ("cancel_requested", Body::CancelRequested(CancelRequested { reason: "ordered twice".into() })),
        ("terminate_requested", Body::TerminateRequested(TerminateRequested { reason: "it costs too much".into() })),
        ("pause_requested", Body::PauseRequested(PauseRequested { reason: "the provider is down".into() })),
        ("resume_requested", Body::ResumeRequested(ResumeRequested {})),
        ("retry_requested", Body::RetryRequested(RetryRequested { steps: vec!["review:17".into()] })),
        ("fail_requested", Body::FailRequested(FailRequested { reason: "cannot be mended".into() })),
        ("run_finished", Body::RunFinished(finished())),
        ("signal_received", Body::SignalReceived(signal())),
        ("approval_decided", Body::ApprovalDecided(decided())),
        ("approval_checked", Body::ApprovalChecked(checked())),
    ]
}

fn decided() -> ApprovalDecided {
    ApprovalDecided {
        step: "review:17".into(),
        digest: digest(4),
        verdict: Verdict::Edit.into(),
        arguments: Some(inline(r#"{"amount":5}"#)),
        comment: "less is enough".into(),
        by: Some(decider()),
    }
}

fn decider() -> ApprovalDecider {
    ApprovalDecider {
        person: "ada@example.com".into(),
        groups: vec!["legal".into()],
        policies: "ab12".into(),
        ..ApprovalDecider::default()
    }
}

fn checked() -> ApprovalChecked {
    let (step, void) = ("review:17".into(), Some("the policies changed".into()));
    ApprovalChecked { step, digest: digest(4), agreed: 17, void, policies: "cd34".into() }
}

fn signal() -> SignalReceived {
    SignalReceived { name: "customer-answer".into(), payload: Some(inline(r#"{"agreed":true}"#)) }
}

fn record() -> LogRecord {
    let entries = vec![
        entry("e-1", Body::StepSucceeded(succeeded())),
        entry("e-2", Body::StepFailed(failed())),
        LogEntry { body: Some(Body::ResumeRequested(ResumeRequested {})), ..LogEntry::default() },
    ];
    LogRecord { version: 1, entries }
}

pub(super) fn entry(id: &str, body: Body) -> LogEntry {
    LogEntry {
        id: id.into(),
        principal: "worker:w-1".into(),
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
        body: Some(body),
    }
}

pub(super) fn inline(json: &'static str) -> PayloadData {
    PayloadData { content: Some(Content::Inline(Bytes::from_static(json.as_bytes()))) }
}

pub(super) fn stored() -> PayloadData {
    PayloadData { content: Some(Content::Reference(reference())) }
}

fn reference() -> PayloadReference {
    PayloadReference { sha256: digest(9), size_bytes: 1_048_576 }
}

fn submitted() -> RunSubmitted {
    RunSubmitted {
        workflow: "software-intake@1.0.0".into(),
        workflow_digest: digest(1),
        pins: vec![pin("inventory", "inventory@1.4.0", 3), pin("review", "licence-review@2.0.0-rc.1", 2)],
        input: Some(inline(r#"{"lockfile":"Cargo.lock"}"#)),
        key: Some("intake-2026-11-22".into()),
        behaviour: 1,
        labels: [("domain".into(), "intake".into())].into(),
        ..RunSubmitted::default()
    }
}

fn workflow_pin() -> WorkflowPin {
    WorkflowPin { step: "deliver".into(), workflow: "delivery@1.1.0".into(), digest: digest(4) }
}

fn parent() -> ParentRun {
    ParentRun {
        run_id: "0192f3c4-5a6b-7c8d-9e0f-112233445566".into(),
        step: "order:3".into(),
        attempt: 2,
        signing_key: 3,
        root_run_id: "0192f3c4-5a6b-7c8d-9e0f-aabbccddeeff".into(),
        depth: 2,
        awaited: true,
    }
}

fn forked() -> RunSubmitted {
    RunSubmitted {
        behaviour: 2,
        owner: "token:ci".into(),
        forked_from: RUN.into(),
        kept: vec![kept("notice", Outcome::Skipped(KeptSkipped {})), kept("review", Outcome::Members(members()))],
        ..submitted()
    }
}

fn kept(step: &str, outcome: Outcome) -> KeptStep {
    KeptStep { step: step.into(), outcome: Some(outcome) }
}

fn members() -> KeptMembers {
    KeptMembers { outputs: Some(inline(r#"[{"licence":"MIT"},null]"#)), total: 2 }
}

fn pin(step: &str, agent: &str, fill: u8) -> StepPin {
    StepPin { step: step.into(), agent: agent.into(), digest: digest(fill) }
}

fn digest(fill: u8) -> Bytes {
    vec![fill; 32].into()
}

fn succeeded() -> StepSucceeded {
    StepSucceeded {
        step: "review:17".into(),
        attempt: 2,
        output: Some(inline(r#"{"licence":"MIT","obligations":["keep the notice"],"score":0.1}"#)),
        work: Some(work()),
        usage: Some(usage()),
        token: Bytes::new(),
    }
}

fn failed() -> StepFailed {
    StepFailed {
        step: "score".into(),
        attempt: 3,
        failure: Some(failure()),
        work: Some(work()),
        usage: Some(usage()),
        token: Bytes::new(),
    }
}

pub(super) fn failure() -> StepFailure {
    StepFailure {
        kind: Kind::Timeout.into(),
        code: "K0401".into(),
        message: "no answer within 20 s".into(),
        retryable: true,
        retry_after_millis: Some(500),
        evidence: "exit status 137\nTraceback".into(),
    }
}

fn work() -> WorkDone {
    WorkDone {
        worker: "w-1".into(),
        started_at_unix_nanos: at(1),
        duration_nanos: 20_000_000_000,
        agent: String::new(),
    }
}

fn usage() -> ResourceUsage {
    ResourceUsage { cost_usd: 0.0004, input_tokens: 1_200, output_tokens: 80, tool_calls: 0 }
}

fn finished() -> RunFinished {
    RunFinished {
        status: RunStatus::Failed.into(),
        output: Some(inline("null")),
        error: Some(failure()),
        decided_seq: 4_711,
        ..RunFinished::default()
    }
}
