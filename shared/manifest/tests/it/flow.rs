//! How attempts stand in queues: `priority`, `fairness` and `by_key`, and what is wrong with them.

use kapelle_manifest::{Manifest, parse};
use serde_json::{Value, json};

use crate::samples::{AGENT, WORKFLOW, problems};

/// A workflow and an agent with all that can be said.
fn workflow() -> String {
    WORKFLOW
        .replace("max_parallel: 64", "max_parallel: 64\n      priority: \"${index < 3 ? 1 : 4}\"")
        .replace("spec:\n", "spec:\n  priority: 2\n  fairness: { key: \"${input.lockfile}\", weights: { acme: 5 } }\n")
}

fn agent() -> String {
    AGENT.replace(
        "timeout: 20s }",
        "timeout: 20s, by_key: { key: \"${input.component.owner}\", concurrency: 2, rate: 10/s } }",
    )
}

fn written(text: &str) -> Value {
    serde_json::to_value(parse("test.yaml", text).unwrap().remove(0).manifest).unwrap()
}

#[test]
fn it_survives_its_ways_in_and_out() {
    for text in [workflow(), agent()] {
        assert!(problems(&text).is_empty(), "{:?}", problems(&text));
        let manifest = parse("test.yaml", &text).unwrap().remove(0).manifest;
        assert_eq!(serde_json::from_value::<Manifest>(written(&text)).unwrap(), manifest);
    }
    let spec = &written(&workflow())["spec"];
    assert_eq!((&spec["priority"], &spec["steps"][1]["priority"]), (&json!(2), &json!("${index < 3 ? 1 : 4}")));
    assert_eq!(spec["fairness"], json!({ "key": "${input.lockfile}", "weights": { "acme": 5 } }));
    let limit = json!({ "key": "${input.component.owner}", "concurrency": 2, "rate": "10/s" });
    assert_eq!(written(&agent())["spec"]["role"]["limits"]["by_key"], limit);
}

/// What is registered keeps its digest.
#[test]
fn what_says_nothing_is_written_as_before() {
    let (workflow, agent) = (written(WORKFLOW), written(AGENT));
    assert!(["priority", "fairness"].iter().all(|field| workflow["spec"].get(field).is_none()));
    assert!(workflow["spec"]["steps"].as_array().unwrap().iter().all(|step| step.get("priority").is_none()));
    assert!(agent["spec"]["role"]["limits"].get("by_key").is_none());
}

/// A step waits for what its priority refers to.
#[test]
fn what_a_priority_refers_to_is_needed() {
    let text = WORKFLOW.replace("needs: [inventory]", "priority: \"${steps.review.status == 'SKIPPED' ? 5 : 3}\"");
    let spec = &written(&text)["spec"];
    let needs = spec["steps"].as_array().unwrap().iter().find(|step| step.get("priority").is_some()).unwrap();
    assert!(needs["needs"].as_array().unwrap().contains(&json!("review")), "{needs}");
}

/// Snapshots what is wrong when one text is replaced by another.
#[track_caller]
fn shows(name: &str, text: &str, from: &str, to: &str) {
    assert!(text.contains(from), "{from}");
    let rendered: Vec<String> = problems(&text.replacen(from, to, 1)).iter().map(|it| it.render(false)).collect();
    assert!(!rendered.is_empty(), "{name}: nothing is wrong");
    insta::assert_snapshot!(format!("flow_{name}"), rendered.join("\n"));
}

#[test]
fn what_is_wrong_is_told() {
    let (workflow, agent) = (workflow(), agent());
    let workflow = |name: &str, from: &str, to: &str| shows(name, &workflow, from, to);
    workflow("priority_range", "priority: 2", "priority: 0");
    workflow("priority_text", "priority: 2", "priority: high");
    workflow("priority_in_a_text", "priority: 2", "priority: \"p${input.lockfile}\"");
    workflow("priority_of_steps", "priority: 2", "priority: \"${steps.review.status == 'SKIPPED' ? 1 : 2}\"");
    workflow("priority_of_item", "priority: 2", "priority: \"${item}\"");
    workflow("priority_of_nothing", "priority: 2", "priority: \"${input.urgency}\"");
    workflow("priority_of_a_wait", "agent: risk-score", "wait: 5m\n      priority: 1");
    workflow("key_constant", "\"${input.lockfile}\"", "input.lockfile");
    workflow("key_of_weights", "acme: 5", "\"\": 5");
    workflow("key_empty", "\"${input.lockfile}\"", "\"\"");
    workflow("key_long", "acme: 5", &format!("{}: 5", "k".repeat(129)));
    workflow("key_unknown", "${input.lockfile}", "${input.lockfiel}");
    workflow("weight_range", "weights: { acme: 5 }", "weights: { acme: 1001 }");
    workflow("weight_text", "weights: { acme: 5 }", "weight: heavy");
    let agent = |name: &str, from: &str, to: &str| shows(name, &agent, from, to);
    agent("limit_of_nothing", ", concurrency: 2, rate: 10/s", "");
    agent("limit_of_all", "${input.component.owner}", "everybody");
    agent("limit_of_a_step", "${input.component.owner}", "${steps.review.output.owner}");
    agent("limit_unknown", "${input.component.owner}", "${input.compnent.owner}");
    agent("limit_rate", "rate: 10/s }", "rate: fast }");
}

#[test]
fn what_a_run_does_last_has_no_priority_of_its_own() {
    let last = "finally:\n    - { id: tidy, agent: inventory, priority: 1 }\n  output: {";
    shows("priority_of_last_steps", WORKFLOW, "output: {", last);
}
