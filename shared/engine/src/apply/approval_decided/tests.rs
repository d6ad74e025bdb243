//! What persons say, and what counts of it.

use serde_json::json;

use crate::testing::check;

const TWO_OF_LEGAL: &str = r#"
    0 submit {"n": 1}
    1 ok a 1 7
    2 decide a approve ada legal
    3 stale a approve bob legal
    4 decide a approve bob sales
    5 decide a approve bob legal
    6 decide a approve bob legal
    7 checked a
    8 decide z approve cyd legal
    9 decide id=r1 a approve cyd legal
    10 decide id=r1 a approve cyd legal
    11 decide a reject dee legal
    12 ?
    13 checked a a policy changed
    14 decide a approve bob legal
    15 decide a approve cyd legal
    16 pause
    17 checked a
    18 checked a
    19 ?
    20 resume
    21 fail a 1
    1021 fire retry=a=2
    1022 ok a 2 7"#;

#[test]
fn what_people_agreed_to_is_dispatched_and_nothing_before() {
    let plan = json!({"steps": [
        {"id": "a", "with": {"n": "${input.n}"}, "approve": {"quorum": 2, "groups": ["legal"], "expires_ms": 9000}},
    ], "output": "${steps.a.output}"});
    insta::assert_snapshot!(check(&plan, TWO_OF_LEGAL), @r#"
    > 0 submit {"n": 1}
      start timer wake=a=1 at 9000
    > 1 ok a 1 7
      ignored: unknown_attempt
    > 2 decide a approve ada legal
      ignored: self_approval
    > 3 stale a approve bob legal
      ignored: stale_digest
    > 4 decide a approve bob sales
      ignored: not_in_group
    > 5 decide a approve bob legal
    > 6 decide a approve bob legal
      ignored: same_person
    > 7 checked a
      ignored: stale_digest
    > 8 decide z approve cyd legal
      ignored: unknown_step
    > 9 decide id=r1 a approve cyd legal
      check a agreed at 10 by bob, cyd
    > 10 decide id=r1 a approve cyd legal
      ignored: duplicate
    > 11 decide a reject dee legal
      ignored: already_decided
    > 12 ?
      start timer wake=a=1 at 9000
      check a agreed at 10 by bob, cyd
    > 13 checked a a policy changed
    > 14 decide a approve bob legal
    > 15 decide a approve cyd legal
      check a agreed at 16 by bob, cyd
    > 16 pause
    > 17 checked a
      cancel timer wake=a=1
    > 18 checked a
      ignored: stale_digest
    > 19 ?
    > 20 resume
      dispatch a#1 {"n":1}
    > 21 fail a 1
      start timer retry=a=2 at 1021
    > 1021 fire retry=a=2
      dispatch a#2 {"n":1}
    > 1022 ok a 2 7
      finish COMPLETED decided at 24 7
    = COMPLETED
    "#);
}

#[test]
fn the_first_no_ends_it_and_an_edit_is_another_question() {
    let plan = json!({"steps": [
        {"id": "a", "with": {"n": 1}, "takes": ["n"], "approve": {"quorum": 2}, "on_give_up": "continue"},
        {"id": "b", "approve": {}},
        {"id": "c", "approve": {"quorum": 3}},
    ]});
    let script = r#"
        0 submit
        1 decide a approve bob
        2 decide a edit cyd {"m": 2}
        3 decide a edit cyd {"n": 2}
        4 decide a approve cyd
        5 decide a approve bob
        6 checked a
        7 ?
        8 decide b reject ada
        9 decide b approve bob
        10 decide c override ada
        11 decide c override bob
        12 checked c
        13 retry b
        14 decide b approve bob
        10013 fire wake=b=2"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit
      start timer wake=a=1 at 10000
      start timer wake=b=1 at 10000
      start timer wake=c=1 at 10000
    > 1 decide a approve bob
    > 2 decide a edit cyd {"m": 2}
      ignored: bad_edit
    > 3 decide a edit cyd {"n": 2}
    > 4 decide a approve cyd
      ignored: same_person
    > 5 decide a approve bob
      check a agreed at 6 by cyd, bob
    > 6 checked a
      cancel timer wake=a=1
      dispatch a#1 {"n":2}
    > 7 ?
      dispatch a#1 {"n":2}
      start timer wake=b=1 at 10000
      start timer wake=c=1 at 10000
    > 8 decide b reject ada
      cancel timer wake=b=1
      dead letter b#1 {} K0330, history ["b#1 K0330"]
    > 9 decide b approve bob
      ignored: not_held
    > 10 decide c override ada
      ignored: self_approval
    > 11 decide c override bob
      check c agreed at 12 by bob
    > 12 checked c
      cancel timer wake=c=1
      dispatch c#1 {}
    > 13 retry b
      remove dead letter b
      start timer wake=b=2 at 10013
    > 14 decide b approve bob
      check b agreed at 15 by bob
    > 10013 fire wake=b=2
      dead letter b#2 {} K0331, history ["b#1 K0330", "b#2 K0331"]
    = STALLED
      K0301: step `b` gave up after 2 attempts: K0331: 1 person did not agree within 10s
    "#);
}

#[test]
fn who_does_not_answer_in_time_has_said_no() {
    let plan = json!({"steps": [
        {"id": "each", "foreach": "[1, 2]", "max_parallel": 1, "approve": {"expires_ms": 1000}, "on_give_up": "continue"},
        {"id": "gate", "approval": {"expires_ms": 5000, "self": true}, "with": {"sure": true}},
    ], "output": ["${steps.each.outputs}", "${steps.gate.output}"]});
    let script = r#"
        0 submit
        1 decide each:0 approve bob
        2 checked each:0
        3 ok each:0 1 "done"
        4 decide gate edit ada {"sure": false}
        5 checked gate
        1002 fire wake=each:1=1
        1003 decide each:1 approve bob
        1004 fire wake=each:1=1"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit
      start timer wake=each:0=1 at 1000
      start timer wake=gate=1 at 5000
    > 1 decide each:0 approve bob
      check each:0 agreed at 2 by bob
    > 2 checked each:0
      cancel timer wake=each:0=1
      dispatch each:0#1 {}
    > 3 ok each:0 1 "done"
      start timer wake=each:1=1 at 1003
    > 4 decide gate edit ada {"sure": false}
      check gate agreed at 5 by ada
    > 5 checked gate
      cancel timer wake=gate=1
    > 1002 fire wake=each:1=1
      ignored: timer_early
      start timer wake=each:1=1 at 1003
    > 1003 decide each:1 approve bob
      ignored: approval_expired
    > 1004 fire wake=each:1=1
      finish COMPLETED decided at 9 [["done",null],{"decision":"edit","by":["ada"],"at":"1970-01-01T00:00:00.005Z","comment":"fine","edited":{"sure":false}}]
    = COMPLETED
    "#);
}

#[test]
fn rungs_widen_who_may_decide_and_decide_nothing() {
    let plan = json!({"steps": [
        {"id": "a", "approve": {"groups": ["legal"], "escalate": [{"after_ms": 1000, "to": ["leads"]}], "expires_ms": 3000}},
        {"id": "b", "approve": {"groups": ["legal"], "escalate": [{"after_ms": 1000, "to": ["leads"]}], "expires_ms": 3000}},
    ]});
    let script = r#"
        0 submit
        999 decide a approve bob leads
        1000 decide a approve bob leads
        1001 checked a
        3000 fire wake=b=1"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit
      start timer wake=a=1 at 3000
      start timer wake=b=1 at 3000
    > 999 decide a approve bob leads
      ignored: not_in_group
    > 1000 decide a approve bob leads
      check a agreed at 3 by bob
    > 1001 checked a
      cancel timer wake=a=1
      dispatch a#1 {}
    > 3000 fire wake=b=1
      dead letter b#1 {} K0331, history ["b#1 K0331"]
    = STALLED
      K0301: step `b` gave up after 1 attempt: K0331: 1 person did not agree within 3s
    "#);
}

#[test]
fn in_the_place_of_another_is_that_ones_word() {
    let plan = json!({"steps": [
        {"id": "a", "approve": {"groups": ["legal"], "quorum": 2, "self": true}},
    ]});
    let script = r#"
        0 submit
        1 decide a approve ada/bob legal
        2 decide a approve cyd/ada legal
        3 decide a approve cyd/bob legal
        4 decide a approve bob legal
        5 decide a approve cyd legal
        6 decide a approve dee/cyd legal
        7 decide a approve dee/bob legal
        8 decide a approve dee legal"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit
      start timer wake=a=1 at 10000
    > 1 decide a approve ada/bob legal
      ignored: self_approval
    > 2 decide a approve cyd/ada legal
      ignored: self_approval
    > 3 decide a approve cyd/bob legal
    > 4 decide a approve bob legal
      ignored: same_person
    > 5 decide a approve cyd legal
      ignored: same_person
    > 6 decide a approve dee/cyd legal
      ignored: same_person
    > 7 decide a approve dee/bob legal
      ignored: same_person
    > 8 decide a approve dee legal
      check a agreed at 9 by cyd, dee
    = WAITING
    "#);
}

#[test]
fn who_agreed_takes_it_back_and_an_edit_of_nobody_is_none() {
    let plan = json!({"steps": [
        {"id": "a", "with": {"n": 1}, "takes": ["n"], "approve": {"quorum": 2}},
    ]});
    let script = r#"
        0 submit
        1 decide a undo bob
        2 decide a approve bob
        3 decide a undo bob
        4 decide a edit bob {"n": 2}
        5 decide a undo bob
        6 decide a approve cyd
        7 decide a approve bob
        8 decide a undo bob
        9 checked a"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit
      start timer wake=a=1 at 10000
    > 1 decide a undo bob
      ignored: not_agreed
    > 2 decide a approve bob
    > 3 decide a undo bob
    > 4 decide a edit bob {"n": 2}
    > 5 decide a undo bob
    > 6 decide a approve cyd
    > 7 decide a approve bob
      check a agreed at 8 by cyd, bob
    > 8 decide a undo bob
      ignored: already_decided
    > 9 checked a
      cancel timer wake=a=1
      dispatch a#1 {"n":1}
    = RUNNING
    "#);
}
