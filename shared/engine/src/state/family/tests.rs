//! Cases of runs that begin runs, end them, and go on as others.

use serde_json::json;

use crate::testing::check;

#[test]
fn an_attempt_is_a_run_and_its_end_is_the_attempts() {
    let plan = json!({"steps": [
        {"id": "sub", "workflow": "other@2.0.0", "with": {"n": "${input.n}"}, "gives": ["x"]},
        {"id": "after", "needs": ["sub"], "with": "${steps.sub.output.x}"},
    ]});
    let script = r#"
        0 submit {"n": 1}
        1 fail sub 1 oops
        2 ?
        1001 fire retry=sub=2
        1002 ?
        1003 ok sub 2 {"x": 7}"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit {"n": 1}
      start run of other@2.0.0 for sub#1 {"n":1}
    > 1 fail sub 1 oops
      start timer retry=sub=2 at 1001
    > 2 ?
      start timer retry=sub=2 at 1001
    > 1001 fire retry=sub=2
      start run of other@2.0.0 for sub#2 {"n":1}
    > 1002 ?
      start run of other@2.0.0 for sub#2 {"n":1}
    > 1003 ok sub 2 {"x": 7}
      dispatch after#1 7
    = RUNNING
    "#);
    insta::assert_snapshot!(check(&plan, "0 submit {\"n\": 1}\n1 ok sub 1 {\"y\": 7}"), @r#"
    > 0 submit {"n": 1}
      start run of other@2.0.0 for sub#1 {"n":1}
    > 1 ok sub 1 {"y": 7}
    = STALLED
      K0301: step `sub` gave up after 1 attempt: K0308: the output breaks the contract of other@2.0.0: it has no `x`
    "#);
}

#[test]
fn what_ends_a_run_ends_those_that_it_waits_for() {
    let plan = json!({"steps": [
        {"id": "each", "foreach": "input", "workflow": "other@2.0.0", "with": "${item}"},
        {"id": "loose", "workflow": "other@2.0.0", "detach": true},
        {"id": "told", "workflow": "other@2.0.0", "detach": true},
    ], "deadline_ms": 5000});
    let script = r#"
        0 submit [1, 2]
        1 ok each:0 1
        2 ok told 1 {"run_id": "x"}
        3 cancel
        4 ?"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit [1, 2]
      start timer deadline at 5000
      start run of other@2.0.0 for each:0#1 1
      start run of other@2.0.0 for each:1#1 2
      start run of other@2.0.0 for loose#1 detached {}
      start run of other@2.0.0 for told#1 detached {}
    > 1 ok each:0 1
    > 2 ok told 1 {"run_id": "x"}
    > 3 cancel
      cancel run for each:1#1
      cancel timer deadline
      finish CANCELED decided at 4 canceled: canceled by ada
    > 4 ?
      cancel run for each:1#1
      cancel timer deadline
      finish CANCELED decided at 4 canceled: canceled by ada
    = CANCELED
    "#);
    insta::assert_snapshot!(check(&plan, "0 submit [1]\n1 terminate"), @r#"
    > 0 submit [1]
      start timer deadline at 5000
      start run of other@2.0.0 for each:0#1 1
      start run of other@2.0.0 for loose#1 detached {}
      start run of other@2.0.0 for told#1 detached {}
    > 1 terminate
      terminate run for each:0#1
      cancel timer deadline
      finish TERMINATED decided at 2 terminated: terminated by ada
    = TERMINATED
    "#);
    insta::assert_snapshot!(check(&plan, "0 submit [1]\n5000 fire deadline"), @r#"
    > 0 submit [1]
      start timer deadline at 5000
      start run of other@2.0.0 for each:0#1 1
      start run of other@2.0.0 for loose#1 detached {}
      start run of other@2.0.0 for told#1 detached {}
    > 5000 fire deadline
      cancel run for each:0#1
      finish TIMED_OUT decided at 2 K0306: the run was not done at its deadline, 1970-01-01T00:00:05.000Z
    = TIMED_OUT
    "#);
}

#[test]
fn a_run_tells_the_one_above_how_it_ended() {
    let plan = json!({"steps": [{"id": "a"}], "output": "${steps.a.output}"});
    insta::assert_snapshot!(check(&plan, "0 submit-below 1\n1 ok a 1 9\n2 ?\n3 finished\n4 ?"), @r#"
    > 0 submit-below 1
      dispatch a#1 {}
    > 1 ok a 1 9
      report COMPLETED to up#1 of the run above
      finish COMPLETED decided at 2 9
    > 2 ?
      report COMPLETED to up#1 of the run above
      finish COMPLETED decided at 2 9
    > 3 finished
    > 4 ?
      report COMPLETED to up#1 of the run above
    = COMPLETED
    "#);
    insta::assert_snapshot!(check(&plan, "0 submit-below 1\n1 cancel"), @r#"
    > 0 submit-below 1
      dispatch a#1 {}
    > 1 cancel
      withdraw a#1
      report CANCELED to up#1 of the run above
      finish CANCELED decided at 2 canceled: canceled by ada
    = CANCELED
    "#);
}

#[test]
fn depth_is_bounded() {
    let plan = json!({"steps": [{"id": "sub", "workflow": "other@2.0.0"}]});
    insta::assert_snapshot!(check(&plan, "0 submit-below 6"), @r#"
    > 0 submit-below 6
      start run of other@2.0.0 for sub#1 {}
    = RUNNING
    "#);
    insta::assert_snapshot!(check(&plan, "0 submit-below 7"), @r#"
    > 0 submit-below 7
    = STALLED
      K0318: step `sub`: `workflow`: 8 runs stand above this one, and no more may stand above another
    "#);
}

/// Runs of the work are cancelled when closing begins, and undo what they did on their own; what undoes a step may be a
/// run too. Whoever terminates ends all of them at once.
#[test]
fn closing_ends_runs_and_begins_runs() {
    let plan = json!({"steps": [
        {"id": "book", "workflow": "booking@1.0.0", "compensate": {
            "workflow": "undo@1.0.0", "with": "${steps.book.output}"}},
        {"id": "slow", "workflow": "other@1.0.0"},
    ]});
    let script = r#"
        0 submit
        1 ok book 1 7
        2 cancel
        3 ?
        4 ok slow 1 1
        5 ok compensate_book 1
        6 ?"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit
      start run of booking@1.0.0 for book#1 {}
      start run of other@1.0.0 for slow#1 {}
    > 1 ok book 1 7
    > 2 cancel
      cancel run for slow#1
      start timer closing at 60002
      start run of undo@1.0.0 for compensate_book#1 7
    > 3 ?
      cancel run for slow#1
      start timer closing at 60002
      start run of undo@1.0.0 for compensate_book#1 7
    > 4 ok slow 1 1
      ignored: run_closing
    > 5 ok compensate_book 1
      cancel timer closing
      finish CANCELED decided at 6 canceled: canceled by ada
    > 6 ?
      cancel run for slow#1
      cancel timer closing
      finish CANCELED decided at 6 canceled: canceled by ada
    = CANCELED
    "#);
    insta::assert_snapshot!(check(&plan, "0 submit\n1 ok book 1 7\n2 cancel\n3 terminate\n4 ?"), @r#"
    > 0 submit
      start run of booking@1.0.0 for book#1 {}
      start run of other@1.0.0 for slow#1 {}
    > 1 ok book 1 7
    > 2 cancel
      cancel run for slow#1
      start timer closing at 60002
      start run of undo@1.0.0 for compensate_book#1 7
    > 3 terminate
      terminate run for slow#1
      terminate run for compensate_book#1
      cancel timer closing
      finish TERMINATED decided at 4 terminated: terminated by ada
    > 4 ?
      terminate run for slow#1
      terminate run for compensate_book#1
      cancel timer closing
      finish TERMINATED decided at 4 terminated: terminated by ada
    = TERMINATED
    "#);
}

/// What was agreed to is what is run, and what is ended.
#[test]
fn people_agree_to_a_run_before_it_is_begun() {
    let plan = json!({"steps": [
        {"id": "sub", "workflow": "other@2.0.0", "with": {"n": 1}, "approve": {"expires_ms": 60_000}},
    ]});
    let script = r#"
        0 submit
        1 decide sub edit bob {"n": 2}
        2 checked sub
        3 ?
        4 cancel"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit
      start timer wake=sub=1 at 60000
    > 1 decide sub edit bob {"n": 2}
      check sub agreed at 2 by bob
    > 2 checked sub
      cancel timer wake=sub=1
      start run of other@2.0.0 for sub#1 {"n":2}
    > 3 ?
      start run of other@2.0.0 for sub#1 {"n":2}
    > 4 cancel
      cancel run for sub#1
      finish CANCELED decided at 5 canceled: canceled by ada
    = CANCELED
    "#);
    let one = |version: &str| {
        let plan = json!({"steps": [{"id": "sub", "workflow": version, "approve": {}}]});
        let mut run = crate::testing::fresh(std::sync::Arc::new(crate::testing::plan(&plan)));
        let (entry, channel) = crate::testing::entry("submit");
        let _ = crate::apply(&mut run, &entry, channel, crate::Stamp::default());
        run.held().next().map(|held| held.digest)
    };
    assert!(one("other@1.0.0").is_some());
    assert_ne!(one("other@1.0.0"), one("other@1.0.1"), "nobody agrees to another version than they saw");
}

#[test]
fn a_run_goes_on_as_another() {
    let plan = json!({
        "steps": [{"id": "a", "with": "${input}"}], "output": "${steps.a.output}",
        "continue": {"when": "steps.a.output > 0", "with": "${steps.a.output}"},
        "finally": [{"id": "tidy"}],
    });
    let script = r#"
        0 submit-below 1
        1 ok a 1 9
        2 ?
        3 ok continue 1 {"run_id": "x"}
        4 cancel
        5 ok tidy 1
        6 finished
        7 ?
        8 cancel again
        9 terminate"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit-below 1
      dispatch a#1 null
    > 1 ok a 1 9
      start run of test@1.0.0 for continue#1 in place of this one 9
    > 2 ?
      start run of test@1.0.0 for continue#1 in place of this one 9
    > 3 ok continue 1 {"run_id": "x"}
      start timer closing at 60003
      dispatch tidy#1 {}
    > 4 cancel
      cancel run for continue#1
    > 5 ok tidy 1
      cancel timer closing
      finish COMPLETED decided at 6 9
    > 6 finished
    > 7 ?
      cancel run for continue#1
    > 8 cancel again
      cancel run for continue#1
    > 9 terminate
      terminate run for continue#1
    = COMPLETED
    "#);
    insta::assert_snapshot!(check(&plan, "0 submit-below 1\n1 ok a 1 0\n2 ok tidy 1\n3 cancel"), @r#"
    > 0 submit-below 1
      dispatch a#1 null
    > 1 ok a 1 0
      start timer closing at 60001
      dispatch tidy#1 {}
    > 2 ok tidy 1
      cancel timer closing
      report COMPLETED to up#1 of the run above
      finish COMPLETED decided at 3 0
    > 3 cancel
      ignored: run_finished
    = COMPLETED
    "#);
}

/// Whoever ends it while the other is being begun ends both; what cannot be begun waits for somebody.
#[test]
fn what_goes_on_is_ended_too() {
    let plan = json!({"steps": [{"id": "a"}], "continue": {"when": "true", "with": 1}});
    insta::assert_snapshot!(check(&plan, "0 submit\n1 ok a 1\n2 cancel\n3 ?"), @r#"
    > 0 submit
      dispatch a#1 {}
    > 1 ok a 1
      start run of test@1.0.0 for continue#1 in place of this one 1
    > 2 cancel
      cancel run for continue#1
      finish CANCELED decided at 3 canceled: canceled by ada
    > 3 ?
      cancel run for continue#1
      finish CANCELED decided at 3 canceled: canceled by ada
    = CANCELED
    "#);
    let script = r#"
        0 submit
        1 ok a 1
        2 fail continue 1 oops final
        3 retry
        4 ok continue 2
        5 ?"#;
    insta::assert_snapshot!(check(&plan, script), @r#"
    > 0 submit
      dispatch a#1 {}
    > 1 ok a 1
      start run of test@1.0.0 for continue#1 in place of this one 1
    > 2 fail continue 1 oops final
    > 3 retry
      start run of test@1.0.0 for continue#2 in place of this one 1
    > 4 ok continue 2
      finish COMPLETED decided at 5 null
    > 5 ?
      finish COMPLETED decided at 5 null
    = COMPLETED
    "#);
    let depth = "0 submit-below 7\n1 ok a 1\n2 ok continue 1";
    insta::assert_snapshot!(check(&plan, depth), @r#"
    > 0 submit-below 7
      dispatch a#1 {}
    > 1 ok a 1
      start run of test@1.0.0 for continue#1 in place of this one 1
    > 2 ok continue 1
      finish COMPLETED decided at 3 null
    = COMPLETED
    "#);
}
