//! Failures of every kind, and when a step gives up.

use serde_json::json;

use crate::testing::check;

/// The other step goes on; the run is STALLED.
#[test]
fn the_third_failure_of_three_attempts_gives_up() {
    let plan = json!({"steps": [{"id": "a", "with": "${input}"}, {"id": "b"}]});
    let script = r#"
        0 submit {"x": 1}
        1 fail a 1 rate_limited
        1001 fire retry=a=2
        1002 timeout a 2 K0401
        3002 fire retry=a=3
        3003 fail a 3 rate_limited
        3004 ok b 1
        3005 ?"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit {"x": 1}
      dispatch a#1 {"x":1}
      dispatch b#1 {}
    > 1 fail a 1 rate_limited
      start timer retry=a=2 at 1001
    > 1001 fire retry=a=2
      dispatch a#2 {"x":1}
    > 1002 timeout a 2 K0401
      start timer retry=a=3 at 3002
    > 3002 fire retry=a=3
      dispatch a#3 {"x":1}
    > 3003 fail a 3 rate_limited
      dead letter a#3 {"x":1} rate_limited, history ["a#1 rate_limited", "a#2 K0401", "a#3 rate_limited"]
    > 3004 ok b 1
    > 3005 ?
      dead letter a#3 {"x":1} rate_limited, history ["a#1 rate_limited", "a#2 K0401", "a#3 rate_limited"]
    = STALLED
      K0301: step `a` gave up after 3 attempts: rate_limited: it broke
    "#);
}

#[test]
fn on_give_up_fail_ends_the_run() {
    let plan = json!({"steps": [
        {"id": "a", "on_give_up": "fail", "retry": {"max_attempts": 1}}, {"id": "b"},
        {"id": "c", "retry": {"max_attempts": 9}}, {"id": "d", "retry": {"max_attempts": 1}},
    ], "deadline_ms": 90000});
    let script = r#"
        0 submit
        1 fail c 1 oops
        2 fail d 1 oops
        3 fail a 1 oops
        4 ?
        5 ok b 1"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit
      start timer deadline at 90000
      dispatch a#1 {}
      dispatch b#1 {}
      dispatch c#1 {}
      dispatch d#1 {}
    > 1 fail c 1 oops
      start timer retry=c=2 at 1001
    > 2 fail d 1 oops
      dead letter d#1 {} oops, history ["d#1 oops"]
    > 3 fail a 1 oops
      withdraw b#1
      cancel timer retry=c=2
      remove dead letter d
      cancel timer deadline
      finish FAILED decided at 4 K0301: step `a` gave up after 1 attempt: oops: it broke
    > 4 ?
      withdraw b#1
      cancel timer retry=c=2
      remove dead letter d
      cancel timer deadline
      finish FAILED decided at 4 K0301: step `a` gave up after 1 attempt: oops: it broke
    > 5 ok b 1
      ignored: run_finished
    = FAILED
    "#);
}

#[test]
fn final_failures_are_not_retried() {
    let plan = json!({"steps": [
        {"id": "a"}, {"id": "b", "retry": {"non_retryable": ["bad_input"]}},
    ]});
    let script = r#"
        0 submit
        1 fail a 1 oops final
        2 fail b 1 bad_input"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit
      dispatch a#1 {}
      dispatch b#1 {}
    > 1 fail a 1 oops final
      dead letter a#1 {} oops, history ["a#1 oops"]
    > 2 fail b 1 bad_input
      dead letter b#1 {} bad_input, history ["b#1 bad_input"]
    = STALLED
      K0301: step `a` gave up after 1 attempt: oops: it broke
    "#);
}

/// `b` asks for years and gets a day; `d` asks for a millisecond more than its total allows.
#[test]
fn an_agent_may_ask_for_a_longer_wait() {
    let plan = json!({"steps": [
        {"id": "a", "retry": {"total_ms": 20000, "max_attempts": 9}}, {"id": "b"},
        {"id": "c", "retry": {"initial_ms": 0}}, {"id": "d", "retry": {"total_ms": 20000}},
    ]});
    let script = r#"
        0 submit
        1 fail a 1 busy after=500
        1002 fire retry=a=2
        1003 fail a 2 busy after=18997
        1004 fail b 1 busy after=999999999999
        1005 fail c 1 busy
        1006 fail d 1 busy after=18995"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit
      dispatch a#1 {}
      dispatch b#1 {}
      dispatch c#1 {}
      dispatch d#1 {}
    > 1 fail a 1 busy after=500
      start timer retry=a=2 at 1001
    > 1002 fire retry=a=2
      dispatch a#2 {}
    > 1003 fail a 2 busy after=18997
      start timer retry=a=3 at 20000
    > 1004 fail b 1 busy after=999999999999
      start timer retry=b=2 at 86401004
    > 1005 fail c 1 busy
      dispatch c#2 {}
    > 1006 fail d 1 busy after=18995
      dead letter d#1 {} busy, history ["d#1 busy"]
    = STALLED
      K0301: step `d` gave up after 1 attempt: busy: it broke
    "#);
}

#[test]
fn a_lost_lease_burns_its_own_budget() {
    let plan = json!({"steps": [{"id": "a", "retry": {"max_attempts": 1}}]});
    let script = r#"
        0 submit
        1 lost a 1 K0406
        2 lost a 2 K0406
        3 lost a 3 K0406
        4 lost a 4 K0406
        5 lost a 5 K0406
        6 lost a 5 K0406
        7 lost a 6 K0406"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit
      dispatch a#1 {}
    > 1 lost a 1 K0406
      dispatch a#2 {}
    > 2 lost a 2 K0406
      dispatch a#3 {}
    > 3 lost a 3 K0406
      dispatch a#4 {}
    > 4 lost a 4 K0406
      dispatch a#5 {}
    > 5 lost a 5 K0406
      dispatch a#6 {}
    > 6 lost a 5 K0406
      ignored: stale_attempt
    > 7 lost a 6 K0406
      dead letter a#6 {} K0406, history ["a#1 K0406", "a#2 K0406", "a#3 K0406", "a#4 K0406", "a#5 K0406", "a#6 K0406"]
    = STALLED
      K0301: step `a` gave up after 6 attempts: K0406: it broke
    "#);
}

#[test]
fn a_task_given_back_burns_nothing() {
    let plan = json!({"steps": [{"id": "a", "retry": {"max_attempts": 2, "initial_ms": 0, "total_ms": 5}}]});
    let script = r#"
        0 submit
        1 returned a 1
        2 returned a 2
        30 returned a 3
        31 fail a 4 oops"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit
      dispatch a#1 {}
    > 1 returned a 1
      dispatch a#2 {}
    > 2 returned a 2
      dispatch a#3 {}
    > 30 returned a 3
      dispatch a#4 {}
    > 31 fail a 4 oops
      dead letter a#4 {} oops, history ["a#4 oops"]
    = STALLED
      K0301: step `a` gave up after 4 attempts: oops: it broke
    "#);
}

#[test]
fn only_the_attempt_that_is_waited_for_can_fail() {
    let plan = json!({"steps": [{"id": "a"}]});
    let script = r#"
        0 submit
        1 fail a 1 oops
        2 fail a 1 oops
        3 fail a 2 oops
        1001 fire retry=a=2
        1002 fail a 1 oops
        1003 ok a 2
        1004 fail a 2 oops"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit
      dispatch a#1 {}
    > 1 fail a 1 oops
      start timer retry=a=2 at 1001
    > 2 fail a 1 oops
      ignored: stale_attempt
    > 3 fail a 2 oops
      ignored: unknown_attempt
    > 1001 fire retry=a=2
      dispatch a#2 {}
    > 1002 fail a 1 oops
      ignored: stale_attempt
    > 1003 ok a 2
      finish COMPLETED decided at 7 null
    > 1004 fail a 2 oops
      ignored: run_finished
    = COMPLETED
    "#);
}

#[test]
fn a_member_that_gives_up_does_not_hold_the_others() {
    let plan = json!({"steps": [
        {"id": "each", "foreach": "input", "max_parallel": 1, "retry": {"max_attempts": 1}},
        {"id": "after", "needs": ["each"]},
    ]});
    let script = r#"
        0 submit [0, 1, 2]
        1 fail each:0 1 oops
        2 ok each:1 1
        3 ok each:2 1"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit [0, 1, 2]
      dispatch each:0#1 {}
    > 1 fail each:0 1 oops
      dead letter each:0#1 {} oops, history ["each:0#1 oops"]
      dispatch each:1#1 {}
    > 2 ok each:1 1
      dispatch each:2#1 {}
    > 3 ok each:2 1
    = STALLED
      K0301: step `each:0` gave up after 1 attempt: oops: it broke
    "#);
}

#[test]
fn a_member_that_waits_to_try_again_keeps_its_place() {
    let plan = json!({"steps": [{"id": "each", "foreach": "input", "max_parallel": 1}]});
    let script = r#"
        0 submit [0, 1]
        1 fail each:0 1 oops
        1001 fire retry=each:0=2
        1002 returned each:0 2
        1003 ok each:0 3"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit [0, 1]
      dispatch each:0#1 {}
    > 1 fail each:0 1 oops
      start timer retry=each:0=2 at 1001
    > 1001 fire retry=each:0=2
      dispatch each:0#2 {}
    > 1002 returned each:0 2
      dispatch each:0#3 {}
    > 1003 ok each:0 3
      dispatch each:1#1 {}
    = RUNNING
    "#);
}
