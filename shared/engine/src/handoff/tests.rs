//! Cases of handing on.

use std::sync::Arc;

use kapelle_types::{AgentVersion, TaskId, Timestamp};
use serde_json::{Value, json};

use crate::testing::{check, entry, fresh, plan};
use crate::{Command, Run, Stamp, StepStatus, apply};

/// A desk that hands tickets to whoever knows about them, and on from there.
fn desk(handoff: &Value) -> Value {
    let mut all = json!({"to": ["bills", "wires", "desk"], "next": "output.next", "max": 3});
    handoff.as_object().unwrap().iter().for_each(|(field, value)| all[field] = value.clone());
    json!({"steps": [
        {"id": "desk", "with": "${input}", "handoff": all, "retry": {"max_attempts": 2, "initial_ms": 0}},
        {"id": "after", "needs": ["desk"], "with": "${steps.desk.output.said}"},
    ]})
}

#[test]
fn whoever_is_named_goes_on_and_whoever_names_nobody_ends_it() {
    let script = r#"
        0 submit "ticket"
        1 ok desk 1 {"next": "agent-bills", "said": 1}
        2 ok desk 1 {"next": null, "said": 0}
        3 fail desk 1 oops
        4 ok desk 2 {"next": "agent-desk", "said": 2}
        5 ?
        6 ok desk 3 {"next": "agent-wires", "said": 3}
        7 ok desk 4 {"next": null, "said": 4}
        8 ok desk 4 {"next": "agent-bills", "said": 5}"#;
    let with = json!({"from": "${output.said}", "hop": "${round}", "ticket": "${input}"});
    insta::assert_snapshot!(check(&desk(&json!({ "with": with })), script));
    // Without a `with` of its own the step's is what each of them works on.
    insta::assert_snapshot!(check(&desk(&json!({})), "0 submit 7\n1 ok desk 1 {\"next\": \"agent-wires\"}"));
}

#[test]
fn a_stranger_is_a_failure_that_another_attempt_may_mend() {
    let script = r#"
        0 submit 1
        1 ok desk 1 {"next": "agent-boss"}
        2 ok desk 2 {"next": "agent-bills"}
        3 ok desk 3 {"next": 7}
        4 ok desk 3 {"next": 7}
        1003 fire retry=desk=4
        1004 ok desk 4 {"next": "bills"}
        3004 fire retry=desk=5
        3005 ok desk 5 {"next": ["agent-bills"]}
        3006 retry
        3007 ok desk 6 {"next": null, "said": 6}"#;
    insta::assert_snapshot!(check(&desk(&json!({})), script));
}

#[test]
fn a_step_is_handed_on_so_often_and_no_more() {
    let script = r#"
        0 submit 1
        1 ok desk 1 {"next": "agent-bills"}
        2 ok desk 2 {"next": "agent-desk"}
        3 ?
        4 retry
        5 ok desk 2 {"next": null}
        6 ok desk 3 {"next": "agent-desk"}
        7 retry
        8 ok desk 4 {"next": null, "said": 4}"#;
    insta::assert_snapshot!(check(&desk(&json!({"max": 1})), script));
    let mut failing = desk(&json!({"max": 1}));
    failing["steps"][0]["on_give_up"] = json!("continue");
    failing["steps"][1]["with"] = json!("${steps.desk.output}");
    insta::assert_snapshot!(check(
        &failing,
        "0 submit\n1 ok desk 1 {\"next\": \"agent-bills\"}\n2 ok desk 2 {\"next\": \"agent-bills\"}"
    ));
}

#[test]
fn each_has_contracts_retries_limits_and_a_purse_of_its_own() {
    let to = json!([
        {"agent": "bills", "takes": ["x"], "gives": ["said"], "retry": {"max_attempts": 1}, "limits": {"cost_per_run": 1, "tokens": 5}},
        {"agent": "wires", "takes": ["x", "y"], "retry": {"max_attempts": 3}},
    ]);
    let plan = desk(&json!({"to": to, "with": "${output}"}));
    let script = r#"
        0 submit 1
        1 ok desk 1 cost=9 tokens=9 {"next": "agent-bills", "x": 1}
        2 ok desk 2 tokens=5 cost=1 {"next": null}
        3 retry
        4 ok desk 3 tokens=6 {"next": null, "said": 1}
        5 retry
        6 ok desk 4 {"next": "agent-wires", "said": 1}
        7 retry
        8 giveup"#;
    insta::assert_snapshot!(check(&plan, script));
    let spent = r#"
        0 submit 1
        1 ok desk 1 {"next": "agent-bills", "x": 1}
        2 ok desk 2 cost=2 {"next": "agent-wires", "said": 1, "x": 1, "y": 1}
        3 ok desk 3 cost=9 {"next": "agent-bills", "x": 2}
        4 ok desk 2 cost=3 {"next": null}
        5 retry
        6 ok desk 4 {"next": null, "said": 4}"#;
    insta::assert_snapshot!(check(&plan, spent));
}

#[test]
fn a_name_that_cannot_be_found_stalls_the_run_in_the_middle_of_the_chain() {
    let script = r#"
        0 submit 1
        1 ok desk 1 {"next": "agent-bills"}
        2 ok desk 2 {"said": 1}
        3 retry
        4 ok desk 3 {"next": null, "said": 1}"#;
    insta::assert_snapshot!(check(&desk(&json!({})), script));
}

#[test]
fn people_are_asked_before_each_of_them() {
    let mut plan = desk(&json!({"with": "${output.said}"}));
    plan["steps"][0]["approve"] = json!({});
    let script = r#"
        0 submit 1
        1 decide desk approve bob
        2 checked desk
        3 ok desk 1 {"next": "agent-bills", "said": 1}
        4 ?
        5 decide desk edit bob 5
        6 checked desk
        7 ok desk 2 {"next": null, "said": 2}"#;
    insta::assert_snapshot!(check(&plan, script));
}

#[test]
fn what_is_taken_back_is_taken_from_whoever_has_it() {
    let script = r#"
        0 submit 1
        1 ok desk 1 {"next": "agent-bills"}
        2 pause
        3 ok desk 2 {"next": "agent-wires"}
        4 ?
        5 resume
        6 lost desk 3
        7 ok desk 3 {"next": "agent-bills"}
        8 cancel
        9 ?"#;
    insta::assert_snapshot!(check(&desk(&json!({})), script));
}

/// Plays a script and hands back every command with the agent that it is about.
fn agents(spec: &Value, script: &[&str]) -> (Run, Vec<String>) {
    let mut run = fresh(Arc::new(plan(spec)));
    let mut told = Vec::new();
    for (seq, text) in (1..).zip(script) {
        let (entry, channel) = entry(text);
        let stamp = Stamp { seq, at: Timestamp::default() };
        told.extend(apply(&mut run, &entry, channel, stamp).commands.iter().filter_map(|command| match command {
            Command::DispatchTask(task) => Some(format!("dispatch {}", task.agent)),
            Command::WithdrawTask { agent, .. } => Some(format!("withdraw {agent}")),
            Command::WriteDeadLetter(letter) => Some(format!("letter {}", letter.agent)),
            Command::RemoveDeadLetter { agent, .. } => Some(format!("no letter {agent}")),
            _ => None,
        }));
    }
    (run, told)
}

#[test]
fn commands_and_views_name_who_has_it() {
    let plan = desk(&json!({"to": [{"agent": "bills", "retry": {"max_attempts": 1}}, "desk"]}));
    let script = [
        "submit 1",
        r#"ok desk 1 {"next": "agent-bills"}"#,
        "fail desk 2 oops",
        "retry",
        "lost desk 3",
        r#"ok desk 3 {"next": "agent-desk"}"#,
    ];
    let (run, told) = agents(&plan, &script);
    let expected = [
        "dispatch agent-desk@1.0.0",
        "dispatch agent-bills@1.0.0",
        "letter agent-bills@1.0.0",
        "no letter agent-bills@1.0.0",
        "dispatch agent-bills@1.0.0",
        "dispatch agent-bills@1.0.0",
        "withdraw agent-bills@1.0.0",
        "dispatch agent-desk@1.0.0",
    ];
    assert_eq!(told, expected);
    let seen = |run: &Run| {
        let desk = run.steps().next().unwrap();
        let names = |it: &AgentVersion| it.name.to_string();
        (desk.status, desk.agent.map(names), desk.chain.into_iter().map(names).collect::<Vec<_>>(), desk.round)
    };
    let chain = vec!["agent-desk".to_owned(), "agent-bills".to_owned()];
    assert_eq!(seen(&run), (StepStatus::Running, Some("agent-desk".to_owned()), chain.clone(), Some(2)));
    let task = |attempt| TaskId { step: "desk".parse().unwrap(), attempt };
    let of = |attempt| run.agent_of(&task(attempt)).unwrap().name.to_string();
    assert_eq!([of(1), of(2), of(4), of(5)], ["agent-desk", "agent-bills", "agent-bills", "agent-desk"]);

    let ended = [&script[..], &[r#"ok desk 5 {"next": null, "said": 1}"#]].concat();
    let (run, _) = agents(&plan, &ended);
    assert_eq!(seen(&run), (StepStatus::Succeeded, Some("agent-desk".to_owned()), chain, None));
}
