//! What of an answer its caller may see: the one place where payloads are hidden.
//!
//! A payload is what goes into a run and into its agents, what comes out, and what agents say in their own words: their
//! error messages and the last lines of their stderr. Whoever may not see them gets `HIDDEN` in their place; who may is the
//! policies' business (`access.rs`). A run's view shows its result, which its submitter may see; its log and its dead letters
//! show what passed between its agents, which is for those who may see anybody's.

use std::sync::Arc;

use bytes::Bytes;
use kapelle_engine::Run;
use kapelle_proto::v1::kept_step::Outcome;
use kapelle_proto::v1::log_entry::Body;
use kapelle_proto::v1::{self, payload_data};
use kapelle_types::{Caller, Code, Diagnosis, Principal};

use crate::access::Access;

/// What stands where a payload would.
const HIDDEN: &str = "[hidden: needs payload access]";

/// A run: its output and what its agents said about failures.
pub(super) fn run(mut view: Arc<v1::RunView>, access: &Access, caller: &Caller) -> Arc<v1::RunView> {
    if access.sees(caller, Some(&Principal(view.submitted_by.clone()))) {
        return view;
    }
    let hidden = Arc::make_mut(&mut view);
    if !hidden.output.is_empty() {
        hidden.output = json();
    }
    hidden.error.iter_mut().for_each(failure);
    hidden.steps.iter_mut().filter_map(|s| s.failure.as_mut()).for_each(failure);
    for flow in hidden.steps.iter_mut().filter_map(|s| s.flow.as_mut()) {
        [&mut flow.fairness_key, &mut flow.limit_key].into_iter().flatten().for_each(key);
    }
    view
}

/// A value that is made of a run's payloads, or why it cannot be made.
pub(super) fn value(
    access: &Access,
    caller: &Caller,
    run: &Run,
    make: impl FnOnce() -> Result<Bytes, Diagnosis>,
) -> Result<Bytes, Diagnosis> {
    if access.sees(caller, run.submitted_by()) { make() } else { Ok(json()) }
}

/// A run's log: everything that passed between its steps, which is more than its result.
pub(super) fn history(entries: &mut [v1::HistoryEntry], access: &Access, caller: &Caller) {
    if access.sees(caller, None) {
        return;
    }
    for body in entries.iter_mut().filter_map(|e| e.entry.as_mut()?.body.as_mut()) {
        match body {
            Body::RunSubmitted(submitted) => {
                payload(&mut submitted.input);
                submitted.kept.iter_mut().for_each(kept);
                key(&mut submitted.fairness_key);
            }
            Body::StepSucceeded(report) => payload(&mut report.output),
            Body::SignalReceived(signal) => payload(&mut signal.payload),
            Body::ApprovalDecided(decided) => {
                payload(&mut decided.arguments);
                decided.comment = HIDDEN.to_owned();
            }
            Body::StepFailed(report) => report.failure.iter_mut().for_each(failure),
            Body::RunFinished(finished) => {
                payload(&mut finished.output);
                finished.error.iter_mut().for_each(failure);
            }
            Body::TimerFired(_)
            | Body::ApprovalChecked(_)
            | Body::CancelRequested(_)
            | Body::TerminateRequested(_)
            | Body::PauseRequested(_)
            | Body::ResumeRequested(_)
            | Body::RetryRequested(_)
            | Body::FailRequested(_) => {}
        }
    }
}

/// A step that waits for people. Whoever decides has to see what they decide about: without payload access they cannot.
pub(super) fn approval(mut view: v1::ApprovalView, access: &Access, caller: &Caller) -> v1::ApprovalView {
    if !access.sees(caller, None) {
        view.arguments = json();
        // What a payload's fields are called tells of it too.
        view.changes.clear();
        (view.compared_with, view.compared_at_unix_nanos) = (String::new(), 0);
    }
    view
}

/// A dead letter: its input, its cause and every attempt.
pub(super) fn dead_letter(mut view: v1::DeadLetterView, access: &Access, caller: &Caller) -> v1::DeadLetterView {
    if !access.sees(caller, None) {
        if !view.input.is_empty() {
            view.input = json();
        }
        view.cause.iter_mut().for_each(failure);
        view.history.iter_mut().filter_map(|a| a.failure.as_mut()).for_each(failure);
    }
    view
}

/// What a fork keeps of another run.
fn kept(kept: &mut v1::KeptStep) {
    match &mut kept.outcome {
        Some(Outcome::Output(output)) => output.content = Some(payload_data::Content::Inline(json())),
        Some(Outcome::Members(members)) => payload(&mut members.outputs),
        Some(Outcome::Skipped(_)) | None => {}
    }
}

/// The key of a queue is part of an input.
fn key(key: &mut String) {
    if !key.is_empty() {
        HIDDEN.clone_into(key);
    }
}

/// A reference is hidden too: the hash of a short payload can be guessed.
fn payload(payload: &mut Option<v1::PayloadData>) {
    if let Some(data) = payload {
        data.content = Some(payload_data::Content::Inline(json()));
    }
}

/// Codes whose messages are our own words from end to end. All others may quote an agent, an expression's values or the names
/// of a payload's fields.
const OURS: [Code; 12] = [
    Code::FAN_OUT,
    Code::TOO_MANY_ENTRIES,
    Code::PAYLOAD_MISSING,
    Code::DEADLINE,
    Code::PLAN_MISSING,
    Code::AGENT_TIMEOUT,
    Code::AGENT_OUTPUT_TOO_LARGE,
    Code::LEASE_LOST,
    Code::TASK_RETURNED,
    Code::AGENT_RESOURCES,
    Code::SECRET_MISSING,
    Code::SECRET_IN_OUTPUT,
];

/// Hides what was said about a failure, but for what we said ourselves. Of a step that gave up stays which and why by code:
/// the engine writes `<step and attempts>: <code>: <message>`.
fn failure(failure: &mut v1::StepFailure) {
    if !failure.evidence.is_empty() {
        failure.evidence = HIDDEN.to_owned();
    }
    let code = Code::parse(&failure.code);
    if code == Some(Code::STEP_GAVE_UP) {
        let told: Vec<&str> = failure.message.splitn(3, ": ").take(2).collect();
        failure.message = format!("{}: {HIDDEN}", told.join(": "));
    } else if !code.is_some_and(|code| OURS.contains(&code)) {
        failure.message = HIDDEN.to_owned();
    }
}

fn json() -> Bytes {
    format!("\"{HIDDEN}\"").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kapelle_types::{Namespace, Role};

    /// What nobody without payload access may read.
    const SECRET: &str = "the patient's name";

    fn caller(principal: &str, sees_payloads: bool) -> Caller {
        let roles = [Role::Operator].into();
        let principal = Principal(principal.into());
        Caller {
            principal,
            person: None,
            roles,
            namespace: Some(Namespace::default()),
            sees_payloads,
            groups: Default::default(),
        }
    }

    fn access() -> Access {
        Access::embedded(Namespace::default())
    }

    fn said(code: &str) -> v1::StepFailure {
        let message = if code == "K0401" { "the agent did not answer" } else { SECRET };
        v1::StepFailure { code: code.into(), message: message.into(), evidence: SECRET.into(), ..Default::default() }
    }

    fn a_run() -> Arc<v1::RunView> {
        let keys = || Some(SECRET.to_owned());
        let flow = v1::FlowView { fairness_key: keys(), limit_key: keys(), ..v1::FlowView::default() };
        let step =
            |code| v1::StepView { failure: Some(said(code)), flow: Some(flow.clone()), ..v1::StepView::default() };
        Arc::new(v1::RunView {
            output: format!("{{\"name\":\"{SECRET}\"}}").into(),
            error: Some(said("bad_patient")),
            steps: vec![step("K0401"), step("refused")],
            submitted_by: "token:clinic".into(),
            ..v1::RunView::default()
        })
    }

    #[test]
    fn a_run_is_its_submitters_and_hidden_from_others() {
        let shown = run(a_run(), &access(), &caller("token:ops", false));
        assert!(!format!("{shown:?}").contains(SECRET), "{shown:?}");
        assert_eq!(shown.output, json());
        let ours = shown.steps[0].failure.as_ref().unwrap();
        assert_eq!(ours.message, "the agent did not answer", "our own words help and tell nothing");
        assert_eq!(run(a_run(), &access(), &caller("token:clinic", false)), a_run());
        assert_eq!(run(a_run(), &access(), &caller("token:ops", true)), a_run());
        let open = Arc::new(v1::RunView::default());
        assert!(run(open, &access(), &caller("token:ops", false)).output.is_empty(), "no output stays no output");
    }

    /// Messages of ours that quote somebody's words are hidden as those words are.
    #[test]
    fn our_codes_hide_what_they_quote() {
        for code in ["K0301", "K0302", "K0308", "K0309", "K0310", "K0403", "K0405", "K0409", "K0410"] {
            let message = format!("step `a` gave up after 3 attempts: bad_patient: {SECRET}");
            let mut told = v1::StepFailure { code: code.into(), message, ..Default::default() };
            failure(&mut told);
            assert!(!told.message.contains(SECRET), "{told:?}");
            assert_eq!(told.message.starts_with("step `a` gave up after 3 attempts: bad_patient: "), code == "K0301");
        }
    }

    #[test]
    fn every_entry_with_a_payload_is_hidden() {
        let inline = || payload_data::Content::Inline(format!("\"{SECRET}\"").into());
        let data = || Some(v1::PayloadData { content: Some(inline()) });
        let large = payload_data::Content::Reference(v1::PayloadReference::default());
        let bodies = [
            Body::RunSubmitted(v1::RunSubmitted { input: data(), fairness_key: SECRET.into(), ..Default::default() }),
            Body::StepSucceeded(v1::StepSucceeded { output: data(), ..Default::default() }),
            Body::StepSucceeded(v1::StepSucceeded {
                output: Some(v1::PayloadData { content: Some(large.clone()) }),
                ..Default::default()
            }),
            Body::StepFailed(v1::StepFailed { failure: Some(said("refused")), ..Default::default() }),
            Body::RunFinished(v1::RunFinished { output: data(), error: Some(said("refused")), ..Default::default() }),
        ];
        let entry = |body| v1::HistoryEntry {
            entry: Some(v1::LogEntry { body: Some(body), ..Default::default() }),
            ..Default::default()
        };
        let all: Vec<_> = bodies.map(entry).into();
        let mut shown = all.clone();
        history(&mut shown, &access(), &caller("token:clinic", true));
        assert_eq!(shown, all);
        history(&mut shown, &access(), &caller("token:ops", false));
        let text = format!("{shown:?}");
        assert!(!text.contains(SECRET) && !text.contains("Reference"), "{text}");
    }

    #[test]
    fn a_dead_letter_hides_its_input_and_what_the_agent_said() {
        let attempt = v1::DeadLetterAttempt { failure: Some(said("refused")), ..Default::default() };
        let letter = v1::DeadLetterView {
            cause: Some(said("refused")),
            input: SECRET.into(),
            history: vec![attempt],
            ..Default::default()
        };
        assert_eq!(dead_letter(letter.clone(), &access(), &caller("token:clinic", true)), letter);
        let shown = dead_letter(letter, &access(), &caller("token:ops", false));
        assert!(!format!("{shown:?}").contains(SECRET), "{shown:?}");
    }
}
