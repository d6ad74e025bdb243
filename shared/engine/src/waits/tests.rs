//! What runs wait for, told by small logs.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::testing::{entry, fresh, plan};
use crate::{Stamp, apply};

/// A line for each kind of wait: what the log of a small run adds up to.
const CASES: &[(&str, &[&str], &str)] = &[
    ("PENDING", &[], "Submission"),
    ("RUNNING", &["submit [1]"], "Agents a since 0 (1), each:0 since 0 (1)"),
    ("RUNNING", &["submit [1, 2]", "fail a 1 busy"], "Agents each:0 since 0 (2)"),
    ("WAITING", &["submit []", "fail a 1 busy"], "Retries a due 2000 after busy (1)"),
    ("STALLED", &["submit []", "fail a 1 busy final"], "Mending a busy 1 since 1000 (1) true"),
    ("STALLED", &["submit 7", "ok a 1"], "Mending each K0303 0 since - (1) true"),
    ("STALLED", &["submit [0]", "ok a 1", "ok each:0 1"], "Mending last K0302 0 since - (1) true"),
    ("STALLED", &["fork [] {\"x\": 1}"], "Mending - K0307 0 since - (1) false"),
    ("PAUSED", &["submit [1]", "pause"], "Resume"),
    ("COMPLETED", &["submit []", "ok a 1 {\"n\": 1}", "ok last 1"], "Nothing"),
    ("FAILED", &["submit [1]", "fail a 1 busy final", "giveup"], "Nothing"),
    ("CANCELED", &["submit [1]", "cancel"], "Nothing"),
    ("TERMINATED", &["submit [1]", "terminate"], "Nothing"),
    ("TIMED_OUT", &["submit [1]", "fire deadline"], "Nothing"),
];

fn after(entries: &[&str]) -> Run {
    let spec = json!({"steps": [
        {"id": "a"}, {"id": "each", "foreach": "input"},
        {"id": "last", "needs": ["a", "each"], "with": "${steps.a.output.n}"},
    ], "deadline_ms": 3_000});
    let mut run = fresh(Arc::new(plan(&spec)));
    for (seq, text) in (1..).zip(entries) {
        let (entry, channel) = entry(text);
        let at = if *text == "fire deadline" { 3_000 } else { i64::try_from(seq - 1).unwrap() * 1_000 };
        let _ = apply(&mut run, &entry, channel, Stamp { seq, at: Timestamp::from_millis(at) });
    }
    run
}

#[test]
fn who_waits_for_a_time_or_a_signal_says_so() {
    let spec = json!({"signals": {"go": null}, "steps": [
        {"id": "a", "wait": 5}, {"id": "b", "needs": ["a"], "foreach": "input", "signal": "go", "timeout_ms": 1_000},
    ]});
    let mut run = fresh(Arc::new(plan(&spec)));
    let mut told = |text: &str, seq: u64, at: i64| {
        let (entry, channel) = entry(text);
        let _ = apply(&mut run, &entry, channel, Stamp { seq, at: Timestamp::from_millis(at) });
        waits(&run)
    };
    let a = Waits::Time { step: "a".parse().unwrap(), due: Timestamp::from_millis(5_000), total: 1 };
    assert_eq!(told("submit [1, 2]", 1, 0), a);
    let (step, signal, due) = ("b:0".parse().unwrap(), "go".parse().unwrap(), Some(Timestamp::from_millis(6_000)));
    assert_eq!(told("fire wake=a=1", 2, 5_000), Waits::Signal { step, signal, due, total: 2 });
}

#[test]
fn who_waits_for_a_run_says_which() {
    let spec = json!({"steps": [{"id": "a", "foreach": "input", "workflow": "other@1.0.0"}, {"id": "b"}]});
    let mut run = fresh(Arc::new(plan(&spec)));
    let mut told = |text: &str, seq: u64| {
        let (entry, channel) = entry(text);
        let _ = apply(&mut run, &entry, channel, Stamp { seq, at: Timestamp::from_millis(7) });
        waits(&run)
    };
    assert!(matches!(told("submit [1, 2]", 1), Waits::Agents(agents) if agents.len() == 1));
    let Waits::Runs { step, run: child, workflow, since, total } = told("ok b 1", 2) else { panic!("it waits") };
    let told = (step.to_string(), workflow.to_string(), since, total);
    assert_eq!(told, ("a:0".into(), "other@1.0.0".into(), Timestamp::from_millis(7), 2));
    assert_eq!(child, RunId::of_attempt(run.id(), &kapelle_types::TaskId { step, attempt: 1 }));
}

fn told(waits: &Waits) -> String {
    match waits {
        Waits::Mending(m) => {
            let step = m.step.as_ref().map_or("-".to_owned(), ToString::to_string);
            let since = m.since.map_or("-".to_owned(), |at| at.millis().to_string());
            format!("Mending {step} {} {} since {since} ({}) {}", m.code, m.attempts, m.total, m.retryable)
        }
        Waits::Retries { step, due, after, total } => {
            format!("Retries {step} due {} after {after} ({total})", due.millis())
        }
        Waits::Agents(all) => {
            let line = |w: &AgentWait| format!("{} since {} ({})", w.task.step, w.since.millis(), w.tasks);
            format!("Agents {}", all.iter().map(line).collect::<Vec<_>>().join(", "))
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn every_status_has_its_reason() {
    for (status, entries, expected) in CASES {
        let run = after(entries);
        assert_eq!((run.status().name(), told(&waits(&run)).as_str()), (*status, *expected), "{entries:?}");
    }
    let all = [
        "PENDING",
        "RUNNING",
        "PAUSED",
        "WAITING",
        "COMPLETED",
        "FAILED",
        "CANCELED",
        "TERMINATED",
        "TIMED_OUT",
        "STALLED",
    ];
    assert!(all.iter().all(|status| CASES.iter().any(|(known, ..)| known == status)), "a status has no case");
}

#[test]
fn every_state_of_a_slot_has_its_reason() {
    let (at, failure) = (Timestamp::from_millis(7), Failure::of_run(kapelle_types::Code::DEADLINE, String::new()));
    for (state, expected) in [
        (SlotState::Due, SlotWaits::Turn),
        (SlotState::InFlight, SlotWaits::Agent),
        (SlotState::Retrying(at), SlotWaits::Timer(at)),
        (SlotState::Awaiting(Some(at)), SlotWaits::Outside),
        (SlotState::GaveUp(at), SlotWaits::Mending(Some(at))),
        (SlotState::Broken(Box::new(failure)), SlotWaits::Mending(None)),
        (SlotState::Done, SlotWaits::Nothing),
    ] {
        assert_eq!(slot_waits(&state), expected);
    }
}
