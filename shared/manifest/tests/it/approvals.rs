//! What approvals may say about reminders and rungs.

use kapelle_manifest::{Manifest, parse};
use serde_json::Value;

use crate::samples::problems;

/// A workflow with one approval that says this beside its title.
fn asking(says: &str) -> String {
    format!(
        "apiVersion: kapelle.dev/v1\nkind: Workflow\nmetadata: {{ name: w, version: 1.0.0, owner: o }}\nspec:\n  output: 1\n  \
         steps:\n    - {{ id: gate, approval: {{ title: May it?, {says} }} }}\n"
    )
}

#[test]
fn reminders_and_rungs_survive_their_ways_in_and_out() {
    let text = asking("groups: [legal], expires: 24h, remind: [1h, 8h], escalate: [{ after: 4h, to: [leads, board] }]");
    assert!(problems(&text).is_empty(), "{:?}", problems(&text));
    let manifest = parse("w.yaml", &text).unwrap().remove(0).manifest;
    let written = serde_json::to_value(&manifest).unwrap();
    let approval = &written["spec"]["steps"][0]["approval"];
    assert_eq!((&approval["remind"][1], &approval["escalate"][0]["after"]), (&Value::from("8h"), &Value::from("4h")));
    assert_eq!(serde_json::from_value::<Manifest>(written).unwrap(), manifest);
}

/// What is registered keeps its digest.
#[test]
fn an_approval_without_them_is_written_as_before() {
    let manifest = parse("w.yaml", &asking("quorum: 1")).unwrap().remove(0).manifest;
    let written = serde_json::to_value(&manifest).unwrap();
    let approval = written["spec"]["steps"][0]["approval"].as_object().unwrap();
    assert!(!approval.contains_key("remind") && !approval.contains_key("escalate"), "{approval:?}");
}

#[test]
fn times_that_never_come_and_rungs_that_ask_nobody_are_refused() {
    let rung =
        |after: &str, to: &str| format!("groups: [legal], expires: 24h, escalate: [{{ after: {after}, to: {to} }}]");
    for (says, problem) in [
        ("remind: [8h, 1h]".to_owned(), "one after another"),
        ("remind: [1h, 1h]".to_owned(), "one after another"),
        ("expires: 2h, remind: [2h]".to_owned(), "after 2h it is denied"),
        (format!("remind: [{}]", ["1h"; 11].join(", ")), "10 reminders at most"),
        (rung("24h", "[leads]"), "after 1d it is denied"),
        (rung("1h", "[]"), "at least one group"),
        (rung("1h", "leads"), "a list"),
        ("escalate: [{ after: 1h, to: [leads] }]".to_owned(), "every approver may decide"),
        ("groups: [legal], escalate: [{ after: 1h, to: [leads], approve: true }]".to_owned(), "approve"),
    ] {
        let problems = problems(&asking(&says));
        let told: Vec<String> = problems.iter().map(|it| it.render(false)).collect();
        assert!(told.iter().any(|it| it.contains(problem)), "{says}: {told:?}");
    }
}
