//! Any entry on any state: nothing panics, everything that changes nothing has a name, and invariants hold.

use std::sync::Arc;
use std::time::Duration;

use kapelle_types::{Payload, Principal, StepRef, TaskId, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::testing::{Shape, fresh, plan, random_spec, run_key, submission};
use crate::{
    Body, Channel, Entry, Failure, FailureKind, Ignored, Kept, KeptOutcome, RunFinished, RunKey, RunStatus,
    RunSubmitted, Stamp, StepFailed, StepSucceeded, TimerId, Usage, Work, apply, behaviour, invariant, outstanding,
};

fn task() -> impl Strategy<Value = TaskId> {
    let attempt = prop_oneof![8 => 0u32..5, 1 => Just(u32::MAX)];
    (0usize..40, proptest::option::of(prop_oneof![0u32..8, Just(u32::MAX)]), attempt).prop_map(
        |(step, item, attempt)| {
            let name = ["", "", "", "compensate_"][step / 10];
            TaskId { step: StepRef { step: format!("{name}s{}", step % 10).parse().unwrap(), item }, attempt }
        },
    )
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        Just(Payload::null()),
        Just(json!({"n": 5, "list": [1, 2, 3], "go": true}).into()),
        Just(json!([1, 2]).into()),
        Just(json!("text").into()),
        Just(Payload { value: None, stored: None }),
    ]
}

fn failure() -> impl Strategy<Value = Failure> {
    let kind = prop_oneof![
        Just(FailureKind::Agent),
        Just(FailureKind::Timeout),
        Just(FailureKind::LeaseLost),
        Just(FailureKind::Returned)
    ];
    let wait =
        proptest::option::of(prop_oneof![Just(Duration::ZERO), Just(Duration::from_millis(5)), Just(Duration::MAX)]);
    (kind, any::<bool>(), wait).prop_map(|(kind, retryable, retry_after)| Failure {
        kind,
        code: "c".into(),
        message: "m".into(),
        retryable,
        retry_after,
        evidence: "e".into(),
    })
}

/// What a fork may claim to keep; hardly ever does it fit.
fn kept() -> impl Strategy<Value = Vec<Kept>> {
    let outcome = prop_oneof![
        Just(KeptOutcome::Skipped),
        payload().prop_map(KeptOutcome::Output),
        (payload(), 0u32..4).prop_map(|(outputs, total)| KeptOutcome::Members { outputs, total }),
    ];
    let one =
        (0usize..10, outcome).prop_map(|(step, outcome)| Kept { step: format!("s{step}").parse().unwrap(), outcome });
    prop_oneof![4 => Just(Vec::new()), 1 => proptest::collection::vec(one, 1..4)]
}

fn submitted() -> impl Strategy<Value = Body> {
    (
        payload(),
        kept(),
        prop_oneof![9 => Just(behaviour::CURRENT), 1 => any::<u32>()],
        prop_oneof![9 => Just("test@1.0.0"), 1 => Just("x@1.0.0")],
    )
        .prop_map(|(input, kept, behaviour, workflow)| {
            let Body::RunSubmitted(body) = submission(Value::Null) else { unreachable!("it is one") };
            let workflow = workflow.parse().unwrap();
            Body::RunSubmitted(Box::new(RunSubmitted { input, kept, behaviour, workflow, ..*body }))
        })
}

/// Whose token a report shows.
fn token() -> impl Strategy<Value = Option<RunKey>> {
    prop_oneof![8 => Just(Some(run_key())), 1 => Just(Some(RunKey::from_bytes([1; 32]))), 1 => Just(None)]
}

fn usage() -> impl Strategy<Value = Usage> {
    let cost = prop_oneof![4 => Just(0.0), 4 => Just(0.5), 1 => Just(-1.0), 1 => Just(f64::NAN), 1 => Just(f64::MAX)];
    cost.prop_map(|cost_usd| Usage { cost_usd, tool_calls: u64::MAX, ..Usage::default() })
}

fn body() -> impl Strategy<Value = Body> {
    let reason = String::new;
    prop_oneof![
        2 => submitted(),
        12 => (task(), token(), payload(), usage()).prop_map(|(task, token, output, usage)| {
            let (work, token) = (Work::default(), token.map(|key| key.token(&task)));
            Body::StepSucceeded(StepSucceeded { task, output, work, usage, token })
        }),
        12 => (task(), token(), failure(), usage()).prop_map(|(task, token, failure, usage)| {
            let (work, token) = (Work::default(), token.map(|key| key.token(&task)));
            Body::StepFailed(StepFailed { task, failure, work, usage, token })
        }),
        6 => task().prop_map(|task| Body::TimerFired { timer: TimerId::Retry(task) }),
        1 => Just(Body::TimerFired { timer: TimerId::Deadline }),
        1 => Just(Body::TimerFired { timer: TimerId::Closing }),
        1 => Just(Body::CancelRequested { reason: reason() }),
        1 => Just(Body::TerminateRequested { reason: reason() }),
        1 => Just(Body::FailRequested { reason: reason() }),
        2 => Just(Body::PauseRequested { reason: reason() }),
        4 => Just(Body::ResumeRequested),
        3 => proptest::collection::vec(task().prop_map(|t| t.step), 0..3).prop_map(|steps| Body::RetryRequested { steps }),
        1 => any::<u64>().prop_map(|decided_seq| {
            let (status, output, error) = (RunStatus::Failed, None, None);
            Body::RunFinished(Box::new(RunFinished { status, output, error, decided_seq, continued_as: None }))
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_panics_and_everything_ignored_has_a_name(
        seed: u64,
        first in proptest::option::weighted(0.9, Just(())),
        bodies in proptest::collection::vec((body(), 0u8..20, 0u64..9, -5i64..3_000), 1..120),
    ) {
        let shape = Shape { flow: seed % 2 == 0, total: true, deadline: true, cost: true, repeat: 30, handoff: 40, joins: 60, closing: 40, ..Shape::default() };
        let mut run = fresh(Arc::new(plan(&random_spec(seed, &shape))));
        let begin = first.map(|()| (submission(json!({"n": 5, "go": true, "list": [1, 2, 3]})), 0, 1, 0));
        let mut stamp = Stamp { seq: 3, at: Timestamp::from_millis(10_000) };
        for (body, wrong, seq, ms) in begin.into_iter().chain(bodies) {
            let report = matches!(body, Body::StepSucceeded(_) | Body::StepFailed(_)) != (wrong == 0);
            let channel = if report { Channel::Report } else { Channel::Control };
            let entry = Entry { id: seq.to_string(), principal: Principal::default(), traceparent: None, body };
            // Mostly forward, sometimes the same record, sometimes one that was applied before; clocks may step back.
            stamp = Stamp { seq: (stamp.seq + seq).saturating_sub(2), at: Timestamp::from_millis(stamp.at.millis() + ms) };
            let before = run.clone();
            let decision = apply(&mut run, &entry, channel, stamp);
            prop_assert!(invariant::check(&run).is_ok(), "{:?}\nafter {entry:?}", invariant::check(&run));
            prop_assert!(wrong != 0 || decision.ignored.is_some());
            if decision.ignored.is_some() && run.status() == before.status() {
                prop_assert!(decision.commands.len() <= 1, "only an early timer is set again: {decision:?}");
                prop_assert_eq!(run.steps().collect::<Vec<_>>(), before.steps().collect::<Vec<_>>());
            }
            let mut again = before;
            prop_assert_eq!(apply(&mut again, &entry, channel, stamp), decision);
            prop_assert_eq!(&again, &run);
            let _ = outstanding(&run, stamp.at);
        }
    }
}

#[test]
fn reasons_have_different_names() {
    let mut names: Vec<_> = Ignored::ALL.iter().map(|r| r.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Ignored::ALL.len());
}
