//! What a run does last: how it is written, and what is wrong with it.

use kapelle_manifest::{Manifest, Workflow, parse};
use serde_json::{Value, json};

use crate::samples::{WORKFLOW, problems};

/// A workflow with something of everything that is done last.
fn with_last() -> String {
    WORKFLOW
        .replace(
            "with: { lockfile: \"${input.lockfile}\" } }",
            "with: { lockfile: \"${input.lockfile}\" }, compensate: { agent: inventory, with: \"${steps.inventory.output}\" } }",
        )
        .replace(
            "  output: {",
            "  on_failure:\n    - { id: tell, emit: intake.failed, with: \"${run.error.code}\" }\n    \
             - { id: note, value: \"${steps.tell.status}\" }\n  finally:\n    \
             - { id: tidy, agent: inventory, with: [\"${steps.review.outputs}\"], on_give_up: continue }\n  \
             close_within: 2h\n  output: {",
        )
}

fn workflow(text: &str) -> Workflow {
    match parse("test.yaml", text).unwrap().remove(0).manifest {
        Manifest::Workflow(it) => it,
        Manifest::Agent(_) => panic!("not a workflow"),
    }
}

#[test]
fn it_survives_its_ways_in_and_out() {
    let text = with_last();
    assert!(problems(&text).is_empty(), "{:?}", problems(&text));
    let it = workflow(&text);
    let names: Vec<&str> = it.every_step().map(|step| step.id.as_str()).collect();
    assert_eq!(names, ["inventory", "review", "score", "compensate_inventory", "tell", "note", "tidy"]);
    assert!(it.every_step().skip(3).all(|step| step.needs.is_empty()), "they are done one after another");
    let written = serde_json::to_value(Manifest::Workflow(it.clone())).unwrap();
    let undo = &written["spec"]["steps"][0]["compensate"];
    assert_eq!(*undo, json!({ "agent": "inventory", "with": "${steps.inventory.output}", "on_give_up": "stall" }));
    assert_eq!(written["spec"]["close_within"], "2h");
    assert_eq!(serde_json::from_value::<Manifest>(written).unwrap(), Manifest::Workflow(it));
}

/// What is registered keeps its digest.
#[test]
fn a_workflow_without_it_is_written_as_before() {
    let written: Value = serde_json::to_value(workflow(WORKFLOW)).unwrap();
    for field in ["on_failure", "finally", "close_within"] {
        assert!(written["spec"].get(field).is_none(), "{field}");
    }
    assert!(written["spec"]["steps"].as_array().unwrap().iter().all(|step| step.get("compensate").is_none()));
}

/// Snapshots what is wrong when one text is replaced by another.
#[track_caller]
fn shows(name: &str, from: &str, to: &str) {
    let text = with_last();
    assert!(text.contains(from), "{from}");
    let rendered: Vec<String> = problems(&text.replacen(from, to, 1)).iter().map(|it| it.render(false)).collect();
    assert!(!rendered.is_empty(), "{name}: nothing is wrong");
    insta::assert_snapshot!(name, rendered.join("\n"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    shows("last_foreach", "      max_parallel: 64", "      max_parallel: 64\n      compensate: { agent: inventory }");
    shows("last_kind", "emit: intake.failed, with: \"${run.error.code}\"", "wait: 1m");
    shows("last_needs", "id: tidy, agent", "id: tidy, needs: [tell], agent");
    shows("last_fails", "on_give_up: continue", "on_give_up: fail");
    shows("last_name_taken", "id: tidy", "id: compensate_inventory");
    shows("last_error_too_early", "${input.lockfile}", "${run.error.code}");
    shows("last_out_of_sight", "${steps.review.outputs}", "${steps.tell.output}");
    shows("last_seen_by_the_work", "size(steps.review.outputs)", "size(steps.note.output)");
    shows("last_agent_unknown", "id: tidy, agent: inventory", "id: tidy, agent: banana");
    let long = format!("id: {}, agent", "i".repeat(60));
    shows("last_name_too_long", "id: inventory, agent", &long);
}
