//! Runs that close, entry by entry.

use serde_json::{Value, json};

use crate::testing::check;

/// A trip: each booking can be cancelled, somebody hears of a failure, and the desk is tidied whatever happens.
fn trip() -> Value {
    let undo = |step: &str| json!({"with": [format!("${{steps.{step}.output}}"), "${run.error.code}"]});
    json!({"steps": [
        {"id": "hotel", "compensate": undo("hotel")},
        {"id": "flight", "needs": ["hotel"], "compensate": undo("flight")},
        {"id": "pay", "needs": ["flight"], "retry": {"max_attempts": 1}, "on_give_up": "fail"},
        {"id": "side", "retry": {"max_attempts": 9}},
    ],
    "on_failure": [{"id": "tell", "emit": "trip.failed", "with": "${run.error.message}"}],
    "finally": [{"id": "tidy", "with": ["${steps.pay.output}", "${steps.side.status}", "${run.error.code}"]}],
    "output": "${steps.pay.output}", "deadline_ms": 5000, "close_ms": 9000})
}

#[test]
fn what_succeeded_is_undone_the_latest_first_then_the_last_steps_are_done() {
    let script = r#"
        0 submit
        1 ok hotel 1 "room 7"
        2 fail side 1 oops
        3 ok flight 1 "seat 9"
        4 fail pay 1 no_money
        5 ?
        6 ok compensate_flight 1
        7 ok compensate_hotel 1
        8 ok tell 1
        9 ok tidy 1
        10 ?"#;
    insta::assert_snapshot!(check(&trip(), script), @r#"
    > 0 submit
      start timer deadline at 5000
      dispatch hotel#1 {}
      dispatch side#1 {}
    > 1 ok hotel 1 "room 7"
      dispatch flight#1 {}
    > 2 fail side 1 oops
      start timer retry=side=2 at 1002
    > 3 ok flight 1 "seat 9"
      dispatch pay#1 {}
    > 4 fail pay 1 no_money
      cancel timer retry=side=2
      cancel timer deadline
      start timer closing at 9004
      dispatch compensate_flight#1 ["seat 9","K0301"]
    > 5 ?
      cancel timer retry=side=2
      start timer closing at 9004
      dispatch compensate_flight#1 ["seat 9","K0301"]
    > 6 ok compensate_flight 1
      dispatch compensate_hotel#1 ["room 7","K0301"]
    > 7 ok compensate_hotel 1
      emit tell#1 trip.failed "step `pay` gave up after 1 attempt: no_money: it broke"
    > 8 ok tell 1
      dispatch tidy#1 [null,"CANCELED","K0301"]
    > 9 ok tidy 1
      cancel timer closing
      finish FAILED decided at 10 K0301: step `pay` gave up after 1 attempt: no_money: it broke
    > 10 ?
      cancel timer retry=side=2
      cancel timer deadline
      cancel timer closing
      finish FAILED decided at 10 K0301: step `pay` gave up after 1 attempt: no_money: it broke
    = FAILED
    "#);
}

#[test]
fn a_run_that_completes_is_only_tidied_up_after() {
    let script = "0 submit\n1 ok hotel 1 1\n2 ok flight 1 2\n3 ok side 1\n4 ok pay 1 4\n5 cancel\n6 ok tidy 1";
    insta::assert_snapshot!(check(&trip(), script), @r#"
    > 0 submit
      start timer deadline at 5000
      dispatch hotel#1 {}
      dispatch side#1 {}
    > 1 ok hotel 1 1
      dispatch flight#1 {}
    > 2 ok flight 1 2
      dispatch pay#1 {}
    > 3 ok side 1
    > 4 ok pay 1 4
      cancel timer deadline
      start timer closing at 9004
      dispatch tidy#1 [4,"SUCCEEDED",null]
    > 5 cancel
      ignored: run_closing
    > 6 ok tidy 1
      cancel timer closing
      finish COMPLETED decided at 7 4
    = COMPLETED
    "#);
}

#[test]
fn cancelling_and_the_deadline_close_and_terminating_does_not() {
    let cancelled = "0 submit\n1 ok hotel 1 1\n2 cancel enough\n3 cancel again\n4 pause\n5 fire deadline\n6 fail flight 1 oops\n7 retry\n8 terminate";
    insta::assert_snapshot!(check(&trip(), cancelled), @r#"
    > 0 submit
      start timer deadline at 5000
      dispatch hotel#1 {}
      dispatch side#1 {}
    > 1 ok hotel 1 1
      dispatch flight#1 {}
    > 2 cancel enough
      withdraw flight#1
      withdraw side#1
      cancel timer deadline
      start timer closing at 9002
      dispatch compensate_hotel#1 [1,"canceled"]
    > 3 cancel again
      ignored: run_closing
    > 4 pause
      ignored: run_closing
    > 5 fire deadline
      ignored: stale_timer
    > 6 fail flight 1 oops
      ignored: run_closing
    > 7 retry
      ignored: not_stalled
    > 8 terminate
      withdraw compensate_hotel#1
      cancel timer closing
      finish TERMINATED decided at 9 terminated: terminated by ada
    = TERMINATED
    "#);
    let late =
        "0 submit\n1 ok hotel 1 1\n5000 fire deadline\n5001 ok compensate_hotel 1\n5002 ok tell 1\n5003 ok tidy 1";
    insta::assert_snapshot!(check(&trip(), late), @r#"
    > 0 submit
      start timer deadline at 5000
      dispatch hotel#1 {}
      dispatch side#1 {}
    > 1 ok hotel 1 1
      dispatch flight#1 {}
    > 5000 fire deadline
      withdraw flight#1
      withdraw side#1
      start timer closing at 14000
      dispatch compensate_hotel#1 [1,"K0306"]
    > 5001 ok compensate_hotel 1
      emit tell#1 trip.failed "the run was not done at its deadline, 1970-01-01T00:00:05.000Z"
    > 5002 ok tell 1
      dispatch tidy#1 [null,"CANCELED","K0306"]
    > 5003 ok tidy 1
      cancel timer closing
      finish TIMED_OUT decided at 6 K0306: the run was not done at its deadline, 1970-01-01T00:00:05.000Z
    = TIMED_OUT
    "#);
}

/// Whoever repairs it goes on; whoever gives it up ends the run without the rest.
#[test]
fn a_compensation_that_gives_up_stalls_the_run() {
    let plan = json!({"steps": [
        {"id": "a", "compensate": {"retry": {"max_attempts": 1}}}, {"id": "b", "needs": ["a"]},
    ], "finally": [{"id": "z"}]});
    let retried =
        "0 submit\n1 ok a 1\n2 cancel\n3 fail compensate_a 1 oops\n4 ?\n5 retry\n6 ok compensate_a 2\n7 ok z 1";
    insta::assert_snapshot!(check(&plan, retried), @r#"
    > 0 submit
      dispatch a#1 {}
    > 1 ok a 1
      dispatch b#1 {}
    > 2 cancel
      withdraw b#1
      start timer closing at 60002
      dispatch compensate_a#1 {}
    > 3 fail compensate_a 1 oops
      dead letter compensate_a#1 {} oops, history ["compensate_a#1 oops"]
    > 4 ?
      withdraw b#1
      start timer closing at 60002
      dead letter compensate_a#1 {} oops, history ["compensate_a#1 oops"]
    > 5 retry
      remove dead letter compensate_a
      dispatch compensate_a#2 {}
    > 6 ok compensate_a 2
      dispatch z#1 {}
    > 7 ok z 1
      cancel timer closing
      finish CANCELED decided at 8 canceled: canceled by ada
    = CANCELED
    "#);
    let failed = "0 submit\n1 ok a 1\n2 cancel\n3 giveup\n4 fail compensate_a 1 oops\n5 giveup it is over";
    insta::assert_snapshot!(check(&plan, failed), @r#"
    > 0 submit
      dispatch a#1 {}
    > 1 ok a 1
      dispatch b#1 {}
    > 2 cancel
      withdraw b#1
      start timer closing at 60002
      dispatch compensate_a#1 {}
    > 3 giveup
      ignored: not_stalled
    > 4 fail compensate_a 1 oops
      dead letter compensate_a#1 {} oops, history ["compensate_a#1 oops"]
    > 5 giveup it is over
      remove dead letter compensate_a
      cancel timer closing
      finish FAILED decided at 6 K0301: step `compensate_a` gave up after 1 attempt: oops: it broke; failed by ada: it is over
    = FAILED
    "#);
}

#[test]
fn closing_has_an_end() {
    let script = "0 submit\n1 ok hotel 1 1\n2 cancel\n3 fire closing\n9002 fire closing";
    insta::assert_snapshot!(check(&trip(), script), @r#"
    > 0 submit
      start timer deadline at 5000
      dispatch hotel#1 {}
      dispatch side#1 {}
    > 1 ok hotel 1 1
      dispatch flight#1 {}
    > 2 cancel
      withdraw flight#1
      withdraw side#1
      cancel timer deadline
      start timer closing at 9002
      dispatch compensate_hotel#1 [1,"canceled"]
    > 3 fire closing
      ignored: timer_early
      start timer closing at 9002
    > 9002 fire closing
      withdraw compensate_hotel#1
      cancel timer closing
      finish CANCELED decided at 5 K0322: the run was not done with its last steps within 9s, at step `compensate_hotel`; it was to end because: canceled: canceled by ada
    = CANCELED
    "#);
    let completed = json!({"steps": [{"id": "a"}], "finally": [{"id": "z"}], "output": 7, "close_ms": 10});
    insta::assert_snapshot!(check(&completed, "0 fire closing\n1 submit\n2 fire closing\n3 ok a 1\n13 fire closing"), @r#"
    > 0 fire closing
      ignored: not_submitted
    > 1 submit
      dispatch a#1 {}
    > 2 fire closing
      ignored: stale_timer
    > 3 ok a 1
      start timer closing at 13
      dispatch z#1 {}
    > 13 fire closing
      withdraw z#1
      cancel timer closing
      finish FAILED decided at 5 K0322: the run was not done with its last steps within 10ms, at step `z`
    = FAILED
    "#);
}

/// Nobody but what undoes it sees its output: the tidying would be given something else the second time.
#[test]
fn what_succeeds_after_all_is_undone_next() {
    let script = r#"
        0 submit
        1 ok hotel 1 "room 7"
        2 cancel
        3 ok flight 1 "seat 9"
        4 ok side 1
        5 ok flight 1 "seat 9"
        6 ?
        7 ok compensate_hotel 1
        8 ok compensate_flight 1
        9 terminate"#;
    insta::assert_snapshot!(check(&trip(), script), @r#"
    > 0 submit
      start timer deadline at 5000
      dispatch hotel#1 {}
      dispatch side#1 {}
    > 1 ok hotel 1 "room 7"
      dispatch flight#1 {}
    > 2 cancel
      withdraw flight#1
      withdraw side#1
      cancel timer deadline
      start timer closing at 9002
      dispatch compensate_hotel#1 ["room 7","canceled"]
    > 3 ok flight 1 "seat 9"
    > 4 ok side 1
      ignored: run_closing
    > 5 ok flight 1 "seat 9"
      ignored: already_decided
    > 6 ?
      withdraw side#1
      start timer closing at 9002
      dispatch compensate_hotel#1 ["room 7","canceled"]
    > 7 ok compensate_hotel 1
      dispatch compensate_flight#1 ["seat 9","canceled"]
    > 8 ok compensate_flight 1
      emit tell#1 trip.failed "canceled by ada"
    > 9 terminate
      cancel timer closing
      finish TERMINATED decided at 10 terminated: terminated by ada
    = TERMINATED
    "#);
    let plan = json!({"steps": [{"id": "a", "compensate": {}}], "finally": [{"id": "z", "with": "${steps.a.output}"}]});
    let script = "0 submit\n1 cancel\n2 ok a 1 7\n3 ?\n4 ok z 1\n5 ok compensate_a 1";
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit
      dispatch a#1 {}
    > 1 cancel
      withdraw a#1
      start timer closing at 60001
      dispatch z#1 null
    > 2 ok a 1 7
    > 3 ?
      start timer closing at 60001
      dispatch z#1 null
    > 4 ok z 1
      dispatch compensate_a#1 {}
    > 5 ok compensate_a 1
      cancel timer closing
      finish CANCELED decided at 6 canceled: canceled by ada
    = CANCELED
    "#);
}

#[test]
fn what_waits_is_over_and_a_pause_too() {
    let plan = json!({"signals": {"go": null}, "steps": [
        {"id": "a", "compensate": {"value": 1}}, {"id": "s", "signal": "go", "timeout_ms": 100}, {"id": "d", "retry": {"max_attempts": 1}},
    ], "finally": [{"id": "z", "foreach": "input", "max_parallel": 1, "with": "${item}"}]});
    let script = r#"
        0 submit [1, 2]
        1 ok a 1
        2 fail d 1 oops
        3 pause
        4 cancel
        5 signal go 1
        6 fire wake=s=1
        7 ok z:0 1
        8 ?
        9 ok z:1 1
        10 ?"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit [1, 2]
      dispatch a#1 {}
      start timer wake=s=1 at 100
      dispatch d#1 {}
    > 1 ok a 1
    > 2 fail d 1 oops
      dead letter d#1 {} oops, history ["d#1 oops"]
    > 3 pause
    > 4 cancel
      cancel timer wake=s=1
      remove dead letter d
      start timer closing at 60004
      dispatch z:0#1 1
    > 5 signal go 1
      ignored: run_closing
    > 6 fire wake=s=1
      ignored: stale_timer
    > 7 ok z:0 1
      dispatch z:1#1 2
    > 8 ?
      cancel timer wake=s=1
      start timer closing at 60004
      dispatch z:1#1 2
      remove dead letter d
    > 9 ok z:1 1
      cancel timer closing
      finish CANCELED decided at 10 canceled: canceled by ada
    > 10 ?
      cancel timer wake=s=1
      remove dead letter d
      cancel timer closing
      finish CANCELED decided at 10 canceled: canceled by ada
    = CANCELED
    "#);
}
