//! How attempts stand, case by case.

use std::sync::Arc;

use kapelle_types::{Flow, Timestamp};
use serde_json::{Value, json};

use crate::testing::{check, entry, fresh, plan};
use crate::{Body, Command, Stamp, apply};

#[test]
fn what_says_nothing_is_plain_and_a_step_comes_before_the_workflow() {
    let plan = json!({"steps": [{"id": "a"}, {"id": "b", "priority": 5}, {"id": "c", "priority": "${input.p + 1}"}]});
    insta::assert_snapshot!(check(&plan, r#"0 submit {"p": 2}"#), @r#"
    > 0 submit {"p": 2}
      dispatch a#1 {}
      dispatch b#1 {} priority 5
      dispatch c#1 {}
    = RUNNING
    "#);
    let plan = json!({
        "steps": [{"id": "a"}, {"id": "b", "priority": 5}], "priority": "${input.p}",
        "fairness": {"key": "${input.tenant}", "weight": "${input.w}", "weights": {"acme": 7}},
    });
    insta::assert_snapshot!(check(&plan, r#"0 submit {"p": 1, "tenant": "acme", "w": 2}"#), @r#"
    > 0 submit {"p": 1, "tenant": "acme", "w": 2}
      dispatch a#1 {} priority 1 share 7 of acme
      dispatch b#1 {} priority 5 share 7 of acme
    = RUNNING
    "#);
    insta::assert_snapshot!(check(&plan, "0 submit {\"p\": 1, \"tenant\": 12, \"w\": 2}\n1 ?"), @r#"
    > 0 submit {"p": 1, "tenant": 12, "w": 2}
      dispatch a#1 {} priority 1 share 2 of 12
      dispatch b#1 {} priority 5 share 2 of 12
    > 1 ?
      dispatch a#1 {} priority 1 share 2 of 12
      dispatch b#1 {} priority 5 share 2 of 12
    = RUNNING
    "#);
}

#[test]
fn agents_limit_by_their_own_input_and_members_by_their_item() {
    let limits = json!({"by_key": {"key": "${input.repo}", "concurrency": 2, "rate": "10/s"}});
    let plan = json!({"steps": [
        {"id": "each", "foreach": "input", "with": {"repo": "${item}"}, "limits": limits, "priority": "${index + 1}"},
    ]});
    insta::assert_snapshot!(check(&plan, "0 submit [\"x\", true]\n1 fail each:0 1 oops\n1001 fire retry=each:0=2\n1002 ?"), @r#"
    > 0 submit ["x", true]
      dispatch each:0#1 {"repo":"x"} priority 1 limit x 2 at a time 10/s
      dispatch each:1#1 {"repo":true} priority 2 limit true 2 at a time 10/s
    > 1 fail each:0 1 oops
      start timer retry=each:0=2 at 1001
    > 1001 fire retry=each:0=2
      dispatch each:0#2 {"repo":"x"} priority 1 limit x 2 at a time 10/s
    > 1002 ?
      dispatch each:0#2 {"repo":"x"} priority 1 limit x 2 at a time 10/s
      dispatch each:1#1 {"repo":true} priority 2 limit true 2 at a time 10/s
    = RUNNING
    "#);
}

#[test]
fn what_gives_no_priority_key_or_weight_stalls_and_loses_nothing() {
    let plan = json!({
        "steps": [{"id": "a", "priority": "${input.p}"}, {"id": "b"}],
        "fairness": {"key": "${input.k}", "weight": "${input.w}"},
    });
    for input in [
        r#"{"p": 6, "k": "x", "w": 1}"#,
        r#"{"p": 1, "k": null, "w": 1}"#,
        r#"{"p": 1, "k": "", "w": 1}"#,
        r#"{"p": 1, "k": "x", "w": 0.5}"#,
        r#"{"p": 1, "k": "x"}"#,
    ] {
        let told = check(&plan, &format!("0 submit {input}"));
        assert!(told.contains("STALLED") && told.contains("K03"), "{told}");
    }
    insta::assert_snapshot!(check(&plan, r#"0 submit {"p": 9, "k": "x", "w": 1}"#), @r#"
    > 0 submit {"p": 9, "k": "x", "w": 1}
      dispatch b#1 {} priority 3 share 1 of x
    = STALLED
      K0340: step `a`: `priority` is a whole number from 1, served first, to 5, and this is none
    "#);
}

#[test]
fn a_run_below_has_what_its_own_workflow_does_not_say() {
    let plan = json!({
        "steps": [{"id": "a", "workflow": "other@1.0.0"}], "priority": 2,
        "fairness": {"key": "${input}"}, "continue": {"when": "true", "with": "${input}"},
    });
    insta::assert_snapshot!(check(&plan, "0 submit \"acme\"\n1 ok a 1"), @r#"
    > 0 submit "acme"
      start run of other@1.0.0 for a#1 {} priority 2 share 1 of acme
    > 1 ok a 1
      start run of test@1.0.0 for continue#1 in place of this one "acme"
    = RUNNING
    "#);
}

/// What is submitted wins over the workflow, what the run above has does not; and what goes on in the place of a run is
/// submitted as that one was, also at the priority that all have.
#[test]
fn a_submission_is_before_the_workflow_and_that_before_the_run_above() {
    let dispatched = |workflow: Value, priority: Option<u64>, below: bool| {
        let spec = json!({
            "priority": workflow, "steps": [{"id": "a"}], "continue": {"when": "true", "with": "${input}"},
        });
        let mut run = fresh(Arc::new(plan(&spec)));
        let (mut first, channel) = entry(if below { "submit-below 0" } else { "submit" });
        if let Body::RunSubmitted(submitted) = &mut first.body {
            submitted.priority = priority.map(|it| kapelle_types::Priority::new(u8::try_from(it).unwrap()).unwrap());
        }
        let stamp = |seq| Stamp { seq, at: Timestamp::from_millis(0) };
        let at = |commands: Vec<Command>| {
            commands.into_iter().find_map(|command| match command {
                Command::DispatchTask(task) => Some(task.flow.map_or(3, |flow| flow.priority.get())),
                Command::StartRun(next) => Some(next.priority.map_or(0, kapelle_types::Priority::get)),
                _ => None,
            })
        };
        let task = at(apply(&mut run, &first, channel, stamp(1)).commands).unwrap();
        let (done, channel) = entry("ok a 1");
        (task, at(apply(&mut run, &done, channel, stamp(2)).commands).unwrap())
    };
    assert_eq!(dispatched(json!(1), None, false), (1, 0));
    assert_eq!(dispatched(json!(1), Some(5), false), (5, 5));
    assert_eq!(dispatched(json!(1), Some(3), false), (3, 3), "somebody asked for it");
    assert_eq!(dispatched(json!(1), Some(5), true), (1, 5));
    assert_eq!(dispatched(json!("${run.id == '' ? 1 : 4}"), None, true), (4, 0));
}

/// A run that says nonsense of itself begins nothing, so that there is nothing to undo.
#[test]
fn what_a_run_does_last_has_its_priority() {
    let spec = json!({
        "priority": 2, "steps": [{"id": "a", "priority": 1}], "finally": [{"id": "tidy", "priority": 5}],
    });
    let told = check(&spec, "0 submit\n1 ok a 1");
    assert!(told.contains("dispatch a#1 {} priority 1") && told.contains("dispatch tidy#1 {} priority 2"), "{told}");
    let spec = json!({"priority": "${input.p}", "steps": [{"id": "a", "priority": 1}]});
    let told = check(&spec, r#"0 submit {"p": 0}"#);
    assert!(told.contains("K0340: the workflow's `priority`") && !told.contains("dispatch"), "{told}");
}

#[test]
fn people_see_how_a_step_stands_until_it_has_ended() {
    let limit = json!({"by_key": {"key": "${input.host}", "concurrency": 1}});
    let spec = json!({"fairness": {"key": "acme"}, "steps": [
        {"id": "a", "with": {"host": "x"}, "limits": limit}, {"id": "b", "needs": ["a"], "priority": 1},
        {"id": "c", "wait": 5}, {"id": "each", "foreach": "[1, 2]", "limits": limit, "with": {"host": "${item}"}},
    ]});
    let mut run = fresh(Arc::new(plan(&spec)));
    let mut seen = |text: &str, seq| {
        let (entry, channel) = entry(text);
        let _ = apply(&mut run, &entry, channel, Stamp { seq, at: Timestamp::from_millis(0) });
        let key = |flow: &Flow| flow.limit.as_ref().map(|limit| limit.key.clone()).unwrap_or_default();
        let flows = run.steps().filter_map(|it| Some((it.id.to_string(), it.flow?)));
        flows.map(|(id, flow)| format!("{id} {} {}", flow.priority, key(&flow))).collect::<Vec<_>>()
    };
    assert_eq!(seen("submit", 1), ["a 3 x", "each 3 "], "members have limits of their own");
    assert_eq!(seen("ok a 1", 2), ["b 1 ", "each 3 "]);
    assert_eq!(seen("cancel", 3), Vec::<String>::new());
}
