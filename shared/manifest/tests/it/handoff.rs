//! Steps that are handed on: how they are written, who is in them, and what is wrong with them.

use std::sync::Arc;

use kapelle_manifest::{Agents, Graph, Manifest, Sourced, Workflow, broken, check, parse, warnings};
use serde_json::json;

/// The example whose desks hand tickets to each other.
const SUPPORT: &str = include_str!("../../../../examples/patterns/handoff/workflow.yaml");

fn read(text: &str) -> Vec<Sourced> {
    parse("support.yaml", text).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn catalog(manifests: &[Sourced]) -> Agents {
    manifests.iter().map(|it| &it.manifest).collect()
}

fn workflow(manifests: &[Sourced]) -> Workflow {
    match &manifests[0].manifest {
        Manifest::Workflow(it) => it.clone(),
        Manifest::Agent(_) => panic!("not a workflow"),
    }
}

fn replaced(from: &str, to: &str) -> String {
    assert!(SUPPORT.contains(from), "{from}");
    SUPPORT.replacen(from, to, 1)
}

/// Snapshots what is wrong when one text is replaced by another, or else what may go wrong.
#[track_caller]
fn shows(name: &str, from: &str, to: &str) {
    let told = match parse("support.yaml", &replaced(from, to)) {
        Err(problems) => problems,
        Ok(manifests) => {
            let there = catalog(&manifests);
            let wrong: Vec<_> = manifests.iter().flat_map(|it| check(it, &there)).collect();
            let doubtful = || manifests.iter().flat_map(|it| warnings(it, &there)).collect();
            if wrong.is_empty() { doubtful() } else { wrong }
        }
    };
    let rendered: Vec<String> = told.iter().map(|it| it.render(false)).collect();
    assert!(!rendered.is_empty(), "{name}: nothing is wrong");
    insta::assert_snapshot!(name, rendered.join("\n"));
}

#[test]
fn it_survives_its_ways_in_and_out() {
    let it = workflow(&read(SUPPORT));
    let written = serde_json::to_value(Manifest::Workflow(it.clone())).unwrap();
    let expected = json!({
        "to": ["billing@^1", "technical@^1", "triage@^1"], "next": "${output.next}", "max": 5,
        "with": { "ticket": "${input.ticket}", "notes": "${output.notes}" },
    });
    assert_eq!(written["spec"]["steps"][0]["handoff"], expected);
    assert_eq!(serde_json::from_value::<Manifest>(written).unwrap(), Manifest::Workflow(it));
    let short = replaced("        max: 5\n", "");
    assert_eq!(workflow(&read(&short)).spec.steps[0].handoff.as_ref().unwrap().max, 10);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let step = "      agent: triage@^1\n";
    shows("handoff_kind", step, "      workflow: support@^1\n");
    shows("handoff_foreach", step, "      agent: triage@^1\n      foreach: ${[1, 2]}\n");
    shows("handoff_repeat", step, "      agent: triage@^1\n      repeat: { until: \"${output.next == null}\" }\n");
    shows("handoff_compensate", step, "      agent: triage@^1\n      compensate: { agent: triage@^1, with: {} }\n");
    shows("handoff_nobody", "[billing@^1, technical@^1, triage@^1]", "[]");
    shows(
        "handoff_twice",
        "[billing@^1, technical@^1, triage@^1]",
        "[billing@^1, technical@^1, triage@^1, billing@^2]",
    );
    shows("handoff_no_next", "        next: \"${output.next}\"\n", "");
    shows("handoff_too_often", "max: 5", "max: 101");
    shows("handoff_capability", "[billing@^1,", "[{ capability: money },");
}

#[test]
fn whoever_may_act_is_known_and_may_be_named() {
    shows("handoff_unknown_agent", "[billing@^1,", "[billing@^1, legal@^1,");
    shows("handoff_unknown_version", "technical@^1", "technical@^2");
    shows("handoff_names_a_stranger", "[billing@^1, technical@^1, triage@^1]", "[billing@^1, technical@^1]");
    shows("handoff_next_not_there", "${output.next}", "${output.whom}");
}

/// The contract of each that may get it, and of each that may end it.
#[test]
fn what_is_handed_on_fits_everybody() {
    shows("handoff_missing_field", "notes: \"${output.notes}\" }", "}");
    shows("handoff_never_fits", "ticket: \"${input.ticket}\", notes: \"${output.notes}\"", "ticket: 7, notes: []");
    shows("handoff_plain_with", "notes: [] }\n      handoff:", "notes: [7] }\n      handoff:");
    let last = "next: { enum: [billing, triage, null] }, notes: { type: array, items: { type: string } }";
    shows("handoff_output_of_one", last, "next: { enum: [billing, triage, null] }, said: { type: string }");
    shows("handoff_output_too_early", "notes: [] }", "notes: \"${output.notes}\" }");
    shows("handoff_item", "notes: \"${output.notes}\" }", "notes: \"${item}\" }");
}

#[test]
fn everybody_that_may_act_is_a_dependency() {
    let manifests = read(SUPPORT);
    let agents: Vec<Arc<_>> = manifests
        .iter()
        .filter_map(|it| if let Manifest::Agent(agent) = &it.manifest { Some(Arc::new(agent.clone())) } else { None })
        .collect();
    let graph = Graph::of(agents, [Arc::new(workflow(&manifests))]);
    let by: Vec<String> = graph.uses().iter().map(|it| it.by.as_ref().unwrap().to_string()).collect();
    assert_eq!(by, ["triage@1.0.0", "billing@1.0.0", "technical@1.0.0", "triage@1.0.0"]);
    let losses = graph.losses(|it| it.name.as_str() == "technical");
    assert_eq!(
        losses.iter().map(|it| (it.used.step.as_str(), it.then.is_err())).collect::<Vec<_>>(),
        [("support", true)]
    );

    // A new version that gives less than what the step's output has to have.
    let less = replaced("name: technical, version: 1.0.0", "name: technical, version: 1.1.0").replacen(
        "next: { enum: [billing, triage, null] }, notes: { type: array, items: { type: string } }",
        "next: { enum: [billing, triage, null] }, said: { type: string }",
        1,
    );
    let (before, newer) = (catalog(&manifests), read(&less));
    let after: Agents = manifests.iter().chain(&newer).map(|it| &it.manifest).collect();
    let told: Vec<String> = broken([&workflow(&manifests)], &before, &after).iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|it| it.contains("notes")), "{told:?}");
}
