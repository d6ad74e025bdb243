//! Scripts: a run's log as a few lines of text, and what the engine answers as text to compare with.
//!
//! A line is `<ms> <what> <arguments>`:
//!
//! ```text
//!   0 submit {"list": [1, 2]}          0 finished
//!   1 ok review:0 1 {"licence": "MIT"} | missing    2 fail review:1 1 rate_limited [final] [after=500]
//!   1 ok review:0 1 [cost=0.5] [tokens=9] [tools=2] {}    2 fail review:1 1 rate_limited [cost=0.5]
//!   3 timeout a 1    3 lost a 1    3 returned a 1
//!   4 fire retry=a=2    4 fire wake=a=1    4 fire deadline    4 signal [id=<id>] go {"x": 1}
//!   0 fork {"n": 1} {"a": 7, "each": [8, 9], "no": "skipped"} (what it keeps, a list being a `foreach`'s)
//!   0 submit-below 2 (for a step of a run that two stand above)
//!   0 submit-1 {} (under behaviour 1)    3 forged ok a 1 (with another run's token)    3 bare ok a 1 (without a token)
//!   5 decide a approve bob [legal] | reject bob | edit bob {"x": 1} | override bob | approve cyd/bob [legal]    5 stale a approve bob (of another digest)
//!   6 checked a [why it is void]
//!   5 cancel | terminate | pause | resume | retry [a review:1 …] | giveup          [id=<id> before the arguments]
//! ```

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use kapelle_types::{Flow, Payload, PayloadRef, Principal, RunId, Sha256, StepRef, TaskId, Timestamp};
use serde_json::Value;

use super::plans::{plan, workflow};
use crate::{
    ApprovalChecked, ApprovalDecided, Body, Channel, Command, Decider, DispatchTask, Entry, Failure, FailureKind, Kept,
    KeptOutcome, Parent, Plan, Run, RunFinished, RunKey, RunStatus, RunSubmitted, SignalReceived, Stamp, StepFailed,
    StepSucceeded, TaskToken, Usage, Verdict, Work, apply, behaviour, invariant, outstanding,
};

/// The run that scripts are about.
#[must_use]
pub fn run_id() -> RunId {
    "0192f3c4-5a6b-7c8d-9e0f-112233445566".parse().unwrap()
}

/// What the tokens of that run derive from.
#[must_use]
pub const fn run_key() -> RunKey {
    RunKey::from_bytes([7; 32])
}

/// That run, before its submission.
#[must_use]
pub fn fresh(plan: Arc<Plan>) -> Run {
    Run::new(run_id(), plan).with_key(Some(run_key()))
}

/// Plays a script against a plan (see [`plan`]) and says what the engine answered to each line. Invariants are checked
/// after each, and a line `? ` in place of an entry prints what is outstanding at that time.
#[must_use]
pub fn check(spec: &Value, script: &str) -> String {
    let plan = Arc::new(plan(spec));
    let mut run = if script.contains("submit-1") { Run::new(run_id(), plan) } else { fresh(plan) };
    let mut told = String::new();
    let lines = script.lines().map(str::trim).filter(|l| !l.is_empty());
    for (seq, line) in (1..).zip(lines) {
        writeln!(told, "> {line}").unwrap();
        let (at, what) = line.split_once(' ').expect("a line is `<ms> <what>`");
        let at = Timestamp::from_millis(at.parse().expect("a time in ms"));
        if what == "?" {
            tell(&mut told, &outstanding(&run, at));
            continue;
        }
        let (mut entry, channel) = entry(what);
        aim(&run, &mut entry.body);
        let decision = apply(&mut run, &entry, channel, Stamp { seq, at });
        invariant::check(&run).unwrap();
        decision.ignored.iter().for_each(|reason| writeln!(told, "  ignored: {reason}").unwrap());
        tell(&mut told, &decision.commands);
    }
    writeln!(told, "= {}", run.status()).unwrap();
    if let Some(reason) = run.stall_reason() {
        writeln!(told, "  {}: {}", reason.code, reason.message).unwrap();
    }
    told
}

fn tell(told: &mut String, commands: &[Command]) {
    commands.iter().for_each(|command| writeln!(told, "  {}", describe(command)).unwrap());
}

/// A command as one line.
#[must_use]
pub fn describe(command: &Command) -> String {
    match command {
        Command::DispatchTask(task) => {
            let flow = task.flow.as_deref().map(flow).unwrap_or_default();
            format!("dispatch {} {}{flow}{}", task.task, json(&task.input), by(task))
        }
        Command::EmitEvent(event) => format!("emit {} {} {}", event.task, event.kind, json(&event.data)),
        Command::StartRun(start) => {
            let detach = match (&start.continues, start.parent.awaited) {
                (Some(_), _) => " in place of this one",
                (None, true) => "",
                (None, false) => " detached",
            };
            let handed =
                Flow { priority: start.priority.unwrap_or_default(), fairness: start.fairness.clone(), limit: None };
            let handed = if start.priority.is_none() && handed.is_plain() { String::new() } else { flow(&handed) };
            format!("start run of {} for {}{detach} {}{handed}", start.workflow, start.parent.task, json(&start.input))
        }
        Command::StopRun(stop) => {
            let how = if stop.terminate { "terminate" } else { "cancel" };
            format!("{how} run for {}", stop.start.parent.task)
        }
        Command::ReportOutcome(report) => {
            format!("report {} to {} of the run above", report.outcome.status, report.parent.task)
        }
        Command::WithdrawTask { task, .. } => format!("withdraw {task}"),
        Command::StartTimer { timer, due } => format!("start timer {timer} at {}", due.millis()),
        Command::CancelTimer { timer } => format!("cancel timer {timer}"),
        Command::WriteDeadLetter(letter) => {
            let history: Vec<_> = letter.history.iter().map(|(task, _, f)| format!("{task} {}", f.code)).collect();
            format!("dead letter {} {} {}, history {history:?}", letter.task, json(&letter.input), letter.cause.code)
        }
        Command::CheckApproval(check) => {
            let persons: Vec<_> = check.deciders.iter().map(|it| it.person.as_str()).collect();
            format!("check {} agreed at {} by {}", check.step, check.agreed, persons.join(", "))
        }
        Command::RemoveDeadLetter { step, .. } => format!("remove dead letter {step}"),
        Command::FinishRun(outcome) => {
            let output = outcome.output.as_ref().map(|o| format!(" {}", json(o))).unwrap_or_default();
            let error = outcome.error.as_ref().map(|e| format!(" {}: {}", e.code, e.message)).unwrap_or_default();
            format!("finish {} decided at {}{output}{error}", outcome.status, outcome.decided_seq)
        }
    }
}

fn flow(flow: &Flow) -> String {
    let share = flow.fairness.as_ref().map(|it| format!(" share {} of {}", it.weight, it.key));
    let limit = flow.limit.as_ref().map(|it| {
        let places = it.concurrency.map(|places| format!(" {places} at a time"));
        let rate = it.rate.map(|rate| format!(" {rate}"));
        format!(" limit {}{}{}", it.key, places.unwrap_or_default(), rate.unwrap_or_default())
    });
    format!(" priority {}{}{}", flow.priority, share.unwrap_or_default(), limit.unwrap_or_default())
}

/// Who does a step that was handed on, and who did it before.
fn by(task: &DispatchTask) -> String {
    let chain: Vec<_> = task.chain.iter().map(|it| it.name.as_str()).collect();
    if chain.is_empty() { String::new() } else { format!(" by {} after {}", task.agent.name, chain.join(", ")) }
}

fn json(payload: &Payload) -> String {
    payload.value.as_ref().map_or_else(|| "(stored elsewhere)".to_owned(), ToString::to_string)
}

/// The submission of a run of [`workflow`].
#[must_use]
pub fn submission(input: Value) -> Body {
    Body::RunSubmitted(Box::new(RunSubmitted {
        workflow: workflow(),
        workflow_digest: Sha256::of(b"test"),
        pins: Vec::new(),
        input: input.into(),
        key: None,
        behaviour: behaviour::CURRENT,
        signing_key: Some(1),
        labels: [("team".to_owned(), "tests".to_owned())].into(),
        owner: None,
        forked_from: None,
        kept: Vec::new(),
        person: Some("ada".to_owned()),
        workflow_pins: Vec::new(),
        parent: None,
        continued_from: None,
        priority: None,
        fairness: None,
    }))
}

/// The submission of a fork that keeps something.
///
/// # Panics
/// `submission` is none.
#[must_use]
pub fn forked(submission: Body, kept: Vec<Kept>) -> Body {
    let Body::RunSubmitted(submitted) = submission else { panic!("{submission:?} is no submission") };
    let forked_from = Some(RunId::keyed("default", &workflow().name, "the first"));
    Body::RunSubmitted(Box::new(RunSubmitted { forked_from, kept, ..*submitted }))
}

/// `<input> <what each step came to>`
fn fork(text: &str) -> Body {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>().map(|v| v.expect("JSON"));
    let input = values.next().expect("an input");
    let listed = values.next().expect("what is kept");
    let kept = |(step, value): (&String, &Value)| {
        let outcome = match value {
            Value::String(skipped) if skipped == "skipped" => KeptOutcome::Skipped,
            Value::Array(all) => {
                let total = u32::try_from(all.len()).expect("a short list");
                KeptOutcome::Members { outputs: value.clone().into(), total }
            }
            other => KeptOutcome::Output(other.clone().into()),
        };
        Kept { step: step.parse().expect("a step"), outcome }
    };
    forked(submission(input), listed.as_object().expect("steps").iter().map(kept).collect())
}

/// An entry from its text, without the time, and the channel that it belongs on.
///
/// # Panics
/// The text is none.
#[must_use]
pub fn entry(text: &str) -> (Entry, Channel) {
    let (what, rest) = text.split_once(' ').unwrap_or((text, ""));
    let (id, rest) = match rest.strip_prefix("id=") {
        Some(rest) => rest.split_once(' ').unwrap_or((rest, "")),
        None => ("", rest),
    };
    let body = body(what, rest);
    let report = matches!(body, Body::StepSucceeded(_) | Body::StepFailed(_));
    let entry = Entry { id: id.to_owned(), principal: Principal("ada".to_owned()), traceparent: None, body };
    (entry, if report { Channel::Report } else { Channel::Control })
}

fn body(what: &str, rest: &str) -> Body {
    let reason = || rest.to_owned();
    let value = |text: &str| if text.is_empty() { Value::Null } else { serde_json::from_str(text).expect("JSON") };
    match what {
        "submit" => submission(value(rest)),
        "fork" => fork(rest),
        "submit-below" => below(submission(Value::Null), value(rest).as_u64()),
        "submit-1" => unsigned(submission(value(rest))),
        "forged" => with_token(rest, |task| Some(RunKey::from_bytes([8; 32]).token(task))),
        "bare" => with_token(rest, |_| None),
        "ok" => {
            let (task, rest) = task(rest);
            let (usage, output) = usage(rest);
            let output = if output == "missing" { missing() } else { value(output).into() };
            let (work, token) = (Work::default(), Some(run_key().token(&task)));
            Body::StepSucceeded(StepSucceeded { task, output, work, usage, token })
        }
        "fail" => failed(FailureKind::Agent, rest),
        "timeout" => failed(FailureKind::Timeout, rest),
        "lost" => failed(FailureKind::LeaseLost, rest),
        "returned" => failed(FailureKind::Returned, rest),
        "fire" => Body::TimerFired { timer: rest.parse().expect("a timer") },
        "signal" => {
            let (name, payload) = rest.split_once(' ').unwrap_or((rest, ""));
            Body::SignalReceived(SignalReceived { name: name.parse().expect("a name"), payload: value(payload).into() })
        }
        "decide" => decided(rest, Sha256([0; 32])),
        "stale" => decided(rest, Sha256::of(b"another")),
        "checked" => {
            let (step, why) = rest.split_once(' ').unwrap_or((rest, ""));
            let (step, digest) = (step.parse().expect("a step"), Sha256([0; 32]));
            let void = (!why.is_empty()).then(|| why.to_owned());
            Body::ApprovalChecked(ApprovalChecked { step, digest, agreed: 0, void, policies: String::new() })
        }
        "cancel" => Body::CancelRequested { reason: reason() },
        "terminate" => Body::TerminateRequested { reason: reason() },
        "pause" => Body::PauseRequested { reason: reason() },
        "resume" => Body::ResumeRequested,
        "retry" => {
            Body::RetryRequested { steps: rest.split_whitespace().map(|s| s.parse().expect("a step")).collect() }
        }
        "giveup" => Body::FailRequested { reason: reason() },
        "finished" => {
            let (status, output, error) = (RunStatus::Completed, None, None);
            Body::RunFinished(Box::new(RunFinished { status, output, error, decided_seq: 1, continued_as: None }))
        }
        other => panic!("`{other}` is no entry"),
    }
}

/// `<step> <verdict> <person> <group or arguments>`
fn decided(text: &str, digest: Sha256) -> Body {
    let words: Vec<&str> = text.splitn(4, ' ').collect();
    let [step, verdict, person, rest @ ..] = words.as_slice() else { panic!("`{text}` is no decision") };
    let rest = rest.first().copied().unwrap_or_default();
    let (verdict, groups) = match *verdict {
        "approve" => (Verdict::Approve, vec![rest.to_owned()]),
        "reject" => (Verdict::Reject, vec![rest.to_owned()]),
        "override" => (Verdict::Override, Vec::new()),
        "undo" => (Verdict::Undo, Vec::new()),
        _ => (Verdict::Edit(serde_json::from_str::<Value>(rest).expect("JSON").into()), Vec::new()),
    };
    // `cyd/bob` decides in bob's place.
    let (person, in_place_of) = person.split_once('/').unwrap_or((person, ""));
    let (person, in_place_of) = (person.to_owned(), in_place_of.to_owned());
    let by = Decider { person, groups, policies: String::new(), in_place_of };
    let (step, comment) = (step.parse().expect("a step"), "fine".to_owned());
    Body::ApprovalDecided(Box::new(ApprovalDecided { step, digest, verdict, comment, by }))
}

/// Lets a decision or a check be about what is asked now, unless it says about what.
fn aim(run: &Run, body: &mut Body) {
    let check = |step: &StepRef| {
        outstanding(run, Timestamp::default()).into_iter().find_map(|command| match command {
            Command::CheckApproval(check) if check.step == *step => Some(check),
            _ => None,
        })
    };
    let unaimed = Sha256([0; 32]);
    match body {
        Body::ApprovalDecided(decided) if decided.digest == unaimed => {
            let held = run.held().find(|it| it.step == decided.step);
            decided.digest = held.map_or(unaimed, |it| it.digest);
        }
        Body::ApprovalChecked(checked) => {
            if let Some(check) = check(&checked.step) {
                (checked.digest, checked.agreed) = (check.digest, check.agreed);
            }
        }
        _ => {}
    }
}

/// The same submission, for a step `up` of a run that so many others stand above.
fn below(body: Body, above: Option<u64>) -> Body {
    let Body::RunSubmitted(submitted) = body else { unreachable!("it is a submission") };
    let root = "0192f3c4-5a6b-7c8d-9e0f-aaaaaaaaaaaa".parse().unwrap();
    let depth = u32::try_from(above.unwrap_or_default()).unwrap() + 1;
    let task = TaskId { step: "up".parse().unwrap(), attempt: 1 };
    let parent = Some(Parent { run: root, task, signing_key: Some(1), root, depth, awaited: true });
    Body::RunSubmitted(Box::new(RunSubmitted { parent, ..*submitted }))
}

/// The same submission as the release before tokens and contracts wrote it.
fn unsigned(body: Body) -> Body {
    match body {
        Body::RunSubmitted(submitted) => {
            Body::RunSubmitted(Box::new(RunSubmitted { behaviour: 1, signing_key: None, ..*submitted }))
        }
        other => other,
    }
}

/// A report that shows another token than its task's.
fn with_token(report: &str, token: impl Fn(&TaskId) -> Option<TaskToken>) -> Body {
    let (what, rest) = report.split_once(' ').expect("a report");
    match body(what, rest) {
        Body::StepSucceeded(report) => Body::StepSucceeded(StepSucceeded { token: token(&report.task), ..report }),
        Body::StepFailed(report) => Body::StepFailed(StepFailed { token: token(&report.task), ..report }),
        other => panic!("{other:?} is no report"),
    }
}

/// A payload that was stored and is gone.
fn missing() -> Payload {
    Payload::reference(PayloadRef { sha256: Sha256::of(b"gone"), size_bytes: 4 })
}

/// `<step> <attempt> <rest>`
fn task(text: &str) -> (TaskId, &str) {
    let (step, rest) = text.split_once(' ').expect("a step and an attempt");
    let (attempt, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let step: StepRef = step.parse().expect("a step");
    (TaskId { step, attempt: attempt.parse().expect("an attempt") }, rest)
}

fn failed(kind: FailureKind, text: &str) -> Body {
    let (task, rest) = task(text);
    let (code, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let code = if code.is_empty() { "oops" } else { code }.to_owned();
    let (usage, rest) = usage(rest);
    let mut failure =
        Failure { kind, code, message: "it broke".into(), retryable: true, retry_after: None, evidence: String::new() };
    for word in rest.split_whitespace() {
        match word.split_once('=') {
            Some(("after", ms)) => failure.retry_after = Some(Duration::from_millis(ms.parse().expect("ms"))),
            _ => failure.retryable = word != "final",
        }
    }
    let token = Some(run_key().token(&task));
    Body::StepFailed(StepFailed { task, failure, work: Work::default(), usage, token })
}

/// What an attempt used up, from the words at the beginning that say so; and the rest.
fn usage(text: &str) -> (Usage, &str) {
    let (mut usage, mut rest) = (Usage::default(), text);
    loop {
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        match word.split_once('=') {
            Some(("cost", usd)) => usage.cost_usd = usd.parse().expect("an amount"),
            Some(("tokens", count)) => usage.output_tokens = count.parse().expect("a count"),
            Some(("tools", count)) => usage.tool_calls = count.parse().expect("a count"),
            _ => return (usage, rest),
        }
        rest = after;
    }
}
