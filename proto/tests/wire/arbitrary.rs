//! Strategies for arbitrary values of everything that travels.

use std::time::Duration;

use kapelle_engine::{
    ApprovalChecked, ApprovalDecided, Body, DeadLetter, Decider, Entry, Failure, FailureKind, Kept, KeptOutcome,
    Parent, Pin, RunFinished, RunStatus, RunSubmitted, SignalReceived, StepFailed, StepSucceeded, TaskLimits,
    TaskToken, TimerId, Usage, Verdict, Work, WorkflowPin,
};
use kapelle_proto::{DeadLetterRecord, Task, Words};
use kapelle_types::{
    AgentName, AgentVersion, Fairness, Partition, Payload, PayloadRef, Principal, Priority, RunId, Sha256, StepId,
    StepRef, TaskId, Timestamp, Version, WorkflowName, WorkflowVersion,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

fn version() -> impl Strategy<Value = Version> {
    let pre = prop_oneof![Just(String::new()), "-[a-z][a-z0-9-]{0,6}(\\.[1-9][0-9]{0,2})?"];
    let build = prop_oneof![Just(String::new()), "\\+[a-z0-9-]{1,6}(\\.[a-z0-9]{1,3})?"];
    (0u64..5000, 0u64..50, 0u64..50, pre, build)
        .prop_map(|(major, minor, patch, pre, build)| format!("{major}.{minor}.{patch}{pre}{build}").parse().unwrap())
}

pub(crate) fn agent() -> impl Strategy<Value = AgentVersion> {
    let name = "[a-z][a-z0-9-]{0,62}".prop_map(|name| name.parse::<AgentName>().unwrap());
    (name, version()).prop_map(|(name, version)| AgentVersion { name, version })
}

fn workflow() -> impl Strategy<Value = WorkflowVersion> {
    (workflow_name(), version()).prop_map(|(name, version)| WorkflowVersion { name, version })
}

pub(crate) fn workflow_name() -> impl Strategy<Value = WorkflowName> {
    "[a-z][a-z0-9-]{0,62}".prop_map(|name| name.parse().unwrap())
}

fn step_id() -> impl Strategy<Value = StepId> {
    "[a-z][a-z0-9_]{0,62}".prop_map(|id| id.parse().unwrap())
}

pub(crate) fn step() -> impl Strategy<Value = StepRef> {
    (step_id(), option::of(any::<u32>())).prop_map(|(step, item)| StepRef { step, item })
}

pub(crate) fn task_id() -> impl Strategy<Value = TaskId> {
    (step(), any::<u32>()).prop_map(|(step, attempt)| TaskId { step, attempt })
}

pub(crate) fn run_id() -> impl Strategy<Value = RunId> {
    (workflow_name(), any::<String>()).prop_map(|(workflow, key)| RunId::keyed("default", &workflow, &key))
}

pub(crate) fn partition() -> impl Strategy<Value = Partition> {
    any::<u16>().prop_map(Partition)
}

pub(crate) fn timer() -> impl Strategy<Value = TimerId> {
    prop_oneof![
        Just(TimerId::Deadline),
        Just(TimerId::Closing),
        task_id().prop_map(TimerId::Retry),
        task_id().prop_map(TimerId::Wake)
    ]
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_nanos)
}

/// Absent or not empty, as the wire has it.
fn traceparent() -> impl Strategy<Value = Option<String>> {
    option::of(".{1,60}")
}

fn json() -> impl Strategy<Value = Value> {
    let number = any::<f64>().prop_filter("JSON has finite numbers only", |n| n.is_finite());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        number.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((any::<String>(), inner), 0..6).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Without a value beside a reference: that does not travel.
pub(crate) fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        4 => json().prop_map(Payload::inline),
        1 => (digest(), any::<u64>())
            .prop_map(|(sha256, size_bytes)| Payload::reference(PayloadRef { sha256, size_bytes })),
    ]
}

fn digest() -> impl Strategy<Value = Sha256> {
    any::<[u8; 32]>().prop_map(Sha256)
}

/// In whole milliseconds, as waits travel.
fn wait() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_millis)
}

pub(crate) fn failure() -> impl Strategy<Value = Failure> {
    let kind = prop::sample::select(vec![
        FailureKind::Agent,
        FailureKind::Timeout,
        FailureKind::LeaseLost,
        FailureKind::Returned,
    ]);
    (kind, any::<String>(), any::<String>(), any::<bool>(), option::of(wait()), any::<String>()).prop_map(
        |(kind, code, message, retryable, retry_after, evidence)| Failure {
            kind,
            code,
            message,
            retryable,
            retry_after,
            evidence,
        },
    )
}

pub(crate) fn status() -> impl Strategy<Value = RunStatus> {
    prop::sample::select(vec![
        RunStatus::Pending,
        RunStatus::Running,
        RunStatus::Paused,
        RunStatus::Waiting,
        RunStatus::Completed,
        RunStatus::Failed,
        RunStatus::Canceled,
        RunStatus::Terminated,
        RunStatus::TimedOut,
        RunStatus::Stalled,
    ])
}

fn work() -> impl Strategy<Value = Work> {
    (any::<String>(), time(), any::<u64>(), option::of(agent())).prop_map(|(worker, started_at, nanos, agent)| Work {
        worker,
        started_at,
        duration: Duration::from_nanos(nanos),
        agent,
    })
}

fn usage() -> impl Strategy<Value = Usage> {
    (-1e9f64..1e9, any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
        |(cost_usd, input_tokens, output_tokens, tool_calls)| Usage {
            cost_usd,
            input_tokens,
            output_tokens,
            tool_calls,
        },
    )
}

fn kept() -> impl Strategy<Value = Kept> {
    let outcome = prop_oneof![
        Just(KeptOutcome::Skipped),
        payload().prop_map(KeptOutcome::Output),
        (payload(), any::<u32>()).prop_map(|(outputs, total)| KeptOutcome::Members { outputs, total }),
    ];
    (step_id(), outcome).prop_map(|(step, outcome)| Kept { step, outcome })
}

fn submitted() -> impl Strategy<Value = Body> {
    let pin = (step_id(), agent(), digest()).prop_map(|(step, agent, digest)| Pin { step, agent, digest });
    let workflow_pin =
        (step_id(), workflow(), digest()).prop_map(|(step, workflow, digest)| WorkflowPin { step, workflow, digest });
    let labels = prop::collection::btree_map(any::<String>(), any::<String>(), 0..4);
    let fairness = (any::<String>(), 1..u32::MAX).prop_map(|(key, weight)| Fairness { key, weight });
    let flow = (option::of((1_u8..=5).prop_map(|it| Priority::new(it).unwrap())), option::of(fairness));
    (
        workflow(),
        digest(),
        vec(pin, 0..4),
        payload(),
        option::of(any::<String>()),
        any::<u32>(),
        labels,
        option::of(1..u32::MAX),
        (option::of(".+"), option::of(run_id()), vec(kept(), 0..4), option::of(any::<String>())),
        (vec(workflow_pin, 0..4), option::of(parent()), option::of(run_id()), flow),
    )
        .prop_map(|(workflow, workflow_digest, pins, input, key, behaviour, labels, signing_key, fork, family)| {
            let (owner, forked_from, kept, person) = fork;
            let (workflow_pins, parent, continued_from, (priority, fairness)) = family;
            Body::RunSubmitted(Box::new(RunSubmitted {
                workflow,
                workflow_digest,
                pins,
                input,
                key,
                behaviour,
                labels,
                signing_key,
                owner: owner.map(Principal),
                forked_from,
                kept,
                person,
                workflow_pins,
                parent,
                continued_from,
                priority,
                fairness,
            }))
        })
}

fn parent() -> impl Strategy<Value = Parent> {
    (run_id(), task_id(), option::of(1..u32::MAX), run_id(), any::<u32>(), any::<bool>()).prop_map(
        |(run, task, signing_key, root, depth, awaited)| Parent { run, task, signing_key, root, depth, awaited },
    )
}

fn finished() -> impl Strategy<Value = Body> {
    (status(), option::of(payload()), option::of(failure()), any::<u64>(), option::of(run_id())).prop_map(
        |(status, output, error, decided_seq, continued_as)| {
            Body::RunFinished(Box::new(RunFinished { status, output, error, decided_seq, continued_as }))
        },
    )
}

fn decided() -> impl Strategy<Value = Body> {
    let verdict = prop_oneof![
        Just(Verdict::Approve),
        Just(Verdict::Reject),
        payload().prop_map(Verdict::Edit),
        Just(Verdict::Override),
        Just(Verdict::Undo),
    ];
    let by = (any::<String>(), vec(any::<String>(), 0..3), any::<String>(), any::<String>());
    (step(), digest(), verdict, any::<String>(), by).prop_map(|(step, digest, verdict, comment, by)| {
        let (person, groups, policies, in_place_of) = by;
        let by = Decider { person, groups, policies, in_place_of };
        Body::ApprovalDecided(Box::new(ApprovalDecided { step, digest, verdict, comment, by }))
    })
}

fn token() -> impl Strategy<Value = Option<TaskToken>> {
    option::of(any::<[u8; 16]>().prop_map(|bytes| TaskToken::from_bytes(&bytes).unwrap()))
}

fn body() -> impl Strategy<Value = Body> {
    let reason = any::<String>;
    let succeeded = (task_id(), payload(), work(), usage(), token()).prop_map(|(task, output, work, usage, token)| {
        Body::StepSucceeded(StepSucceeded { task, output, work, usage, token })
    });
    let failed = (task_id(), failure(), work(), usage(), token()).prop_map(|(task, failure, work, usage, token)| {
        Body::StepFailed(StepFailed { task, failure, work, usage, token })
    });
    prop_oneof![
        submitted(),
        succeeded,
        failed,
        timer().prop_map(|timer| Body::TimerFired { timer }),
        ("[a-z][a-z0-9-]{0,20}", payload()).prop_map(|(name, payload)| {
            Body::SignalReceived(SignalReceived { name: name.parse().unwrap(), payload })
        }),
        decided(),
        (step(), digest(), any::<u64>(), option::of(any::<String>())).prop_map(|(step, digest, agreed, void)| {
            Body::ApprovalChecked(ApprovalChecked { step, digest, agreed, void, policies: "ab12".into() })
        }),
        reason().prop_map(|reason| Body::CancelRequested { reason }),
        reason().prop_map(|reason| Body::TerminateRequested { reason }),
        reason().prop_map(|reason| Body::PauseRequested { reason }),
        Just(Body::ResumeRequested),
        vec(step(), 0..4).prop_map(|steps| Body::RetryRequested { steps }),
        reason().prop_map(|reason| Body::FailRequested { reason }),
        finished(),
    ]
}

pub(crate) fn entry() -> impl Strategy<Value = Entry> {
    (any::<String>(), any::<String>(), traceparent(), body()).prop_map(|(id, principal, traceparent, body)| Entry {
        id,
        principal: Principal(principal),
        traceparent,
        body,
    })
}

pub(crate) fn words() -> impl Strategy<Value = Words> {
    (task_id(), token(), 1u32.., any::<u64>(), any::<String>(), any::<bool>())
        .prop_map(|(task, token, answer, offset, text, last)| Words { task, token, answer, offset, text, last })
}

pub(crate) fn task() -> impl Strategy<Value = Task> {
    let who = (run_id(), task_id(), agent(), workflow(), any::<String>());
    let deadline = option::of(time().prop_filter("0 is no deadline", |at| at.nanos() != 0));
    let limits = (option::of(any::<u64>()), option::of(any::<u64>()), option::of(any::<u64>()))
        .prop_map(|(payload_bytes, tokens, tool_calls)| TaskLimits { payload_bytes, tokens, tool_calls });
    (who, payload(), wait(), deadline, traceparent(), time(), token(), (limits, any::<u32>(), vec(agent(), 0..3)))
        .prop_map(
            |(
                (run_id, task, agent, workflow, principal),
                input,
                timeout,
                deadline,
                traceparent,
                queued_at,
                token,
                (limits, round, chain),
            )| Task {
                run_id,
                task,
                agent,
                workflow,
                input,
                timeout,
                deadline,
                traceparent,
                principal: Principal(principal),
                queued_at,
                token,
                round,
                chain,
                limits,
            },
        )
}

pub(crate) fn dead_letter() -> impl Strategy<Value = DeadLetterRecord> {
    let history = vec((task_id(), time(), failure()), 0..4);
    (run_id(), workflow(), task_id(), agent(), payload(), failure(), history, time()).prop_map(
        |(run_id, workflow, task, agent, input, cause, history, at)| DeadLetterRecord {
            run_id,
            workflow,
            letter: DeadLetter { task, agent, input, cause, history, at },
        },
    )
}
