//! The declared graph, and what it says of a fleet's roles.

use std::sync::Arc;

use kapelle_manifest::{Agent, Graph, Manifest, Workflow, parse};
use kapelle_types::AgentVersion;

/// An agent in one line: its name and version, what it answers for, what it can, and the rest of its `spec`.
pub(crate) fn agent(id: &str, responsibilities: &str, capabilities: &str, rest: &str) -> Arc<Agent> {
    let (name, version) = id.split_once('@').unwrap();
    let text = format!(
        "apiVersion: kapelle.dev/v1\nkind: Agent\nmetadata: {{ name: {name}, version: {version}, owner: o@example.com }}\n\
         spec:\n  runtime: {{ native: {{}} }}\n  role:\n    purpose: Work.\n    responsibilities: [{responsibilities}]\n    \
         capabilities: [{capabilities}]\n{rest}"
    );
    match parse("agent.yaml", &text).unwrap().remove(0).manifest {
        Manifest::Agent(agent) => Arc::new(agent),
        Manifest::Workflow(_) => panic!("no agent"),
    }
}

/// A workflow whose steps `s0`, `s1`, … are done by these.
pub(crate) fn workflow(id: &str, performers: &[&str]) -> Arc<Workflow> {
    let (name, version) = id.split_once('@').unwrap();
    let steps = performers.iter().enumerate().map(|(n, by)| format!("    - {{ id: s{n}, {by} }}\n"));
    let text = format!(
        "apiVersion: kapelle.dev/v1\nkind: Workflow\nmetadata: {{ name: {name}, version: {version}, owner: o }}\nspec:\n  \
         output: 1\n  steps:\n{}",
        steps.collect::<String>()
    );
    match parse("workflow.yaml", &text).unwrap().remove(0).manifest {
        Manifest::Workflow(workflow) => Arc::new(workflow),
        Manifest::Agent(_) => panic!("no workflow"),
    }
}

fn plain(id: &str, capabilities: &str) -> Arc<Agent> {
    agent(id, "", capabilities, "")
}

/// One line a step: who does it, or why nobody does.
fn drawn(graph: &Graph) -> Vec<String> {
    let by = |it: &kapelle_manifest::Use| it.by.as_ref().map_or_else(ToString::to_string, ToString::to_string);
    graph.uses().iter().map(|it| format!("{} {} -> {}", it.workflow, it.step, by(it))).collect()
}

fn fleet() -> Graph {
    let agents = [
        plain("read@1.0.0", ""),
        plain("read@1.2.0", ""),
        plain("read@2.0.0", "text.read"),
        plain("rate@1.0.0", "text.rate"),
        plain("score@1.0.0-rc.1", "text.rate"),
    ];
    let steps = ["agent: read@^1", "agent: read", "agent: read@=1.2.0", "capability: text.rate", "agent: gone"];
    Graph::of(agents, [workflow("late@1.0.0", &["capability: text.read"]), workflow("early@1.0.0", &steps)])
}

#[test]
fn each_step_leads_to_the_version_that_a_submission_would_pin() {
    assert_eq!(
        drawn(&fleet()),
        [
            "early@1.0.0 s0 -> read@1.2.0",
            "early@1.0.0 s1 -> read@2.0.0",
            "early@1.0.0 s2 -> read@1.2.0",
            "early@1.0.0 s3 -> rate@1.0.0",
            "early@1.0.0 s4 -> there is no agent `gone`",
            "late@1.0.0 s0 -> read@2.0.0",
        ]
    );
}

#[test]
fn what_goes_breaks_some_steps_and_moves_others() {
    let graph = fleet();
    let lost = |gone: &dyn Fn(&AgentVersion) -> bool| -> Vec<String> {
        let then = |it: &kapelle_manifest::Loss| it.then.as_ref().map_or_else(ToString::to_string, ToString::to_string);
        let losses = graph.losses(gone);
        losses.iter().map(|it| format!("{} {}: {} -> {}", it.used.workflow, it.used.step, it.now, then(it))).collect()
    };
    assert_eq!(
        lost(&|it| it.to_string() == "read@1.2.0"),
        [
            "early@1.0.0 s0: read@1.2.0 -> read@1.0.0",
            "early@1.0.0 s2: read@1.2.0 -> no version of the agent `read` matches `=1.2.0`",
        ]
    );
    assert_eq!(
        lost(&|it| it.to_string() == "read@2.0.0"),
        [
            "early@1.0.0 s1: read@2.0.0 -> read@1.2.0",
            "late@1.0.0 s0: read@2.0.0 -> no agent declares the capability `text.read`",
        ]
    );
    assert_eq!(lost(&|it| it.name.as_str() == "read").len(), 4, "all versions at once: nothing is left to move to");
    assert_eq!(lost(&|it| it.to_string() == "read@1.0.0"), Vec::<String>::new(), "nobody uses it");
    assert_eq!(lost(&|it| it.name.as_str() == "gone"), Vec::<String>::new(), "what is not there is not lost");
}

#[test]
fn a_capability_of_two_becomes_clear_when_one_goes() {
    let agents = [plain("a@1.0.0", "x"), plain("b@1.0.0", "x")];
    let graph = Graph::of(agents.clone(), [workflow("w@1.0.0", &["capability: x"])]);
    assert_eq!(drawn(&graph), ["w@1.0.0 s0 -> several agents declare the capability `x`: `a`, `b`"]);
    assert_eq!(graph.losses(|it| it.name.as_str() == "a"), [], "nobody did it, so nothing is lost");
    let one = Graph::of([agents[0].clone()], [workflow("w@1.0.0", &["capability: x"])]);
    assert_eq!(drawn(&one), ["w@1.0.0 s0 -> a@1.0.0"]);
}

#[test]
fn the_version_that_counts_is_the_highest_that_is_released() {
    let agents = ["a@1.0.0", "a@1.1.0", "a@2.0.0-rc.1", "b@0.1.0-rc.1", "b@0.1.0-rc.2"].map(|id| plain(id, ""));
    let workflows = ["w@1.0.0", "w@1.10.0", "w@1.9.0", "v@1.0.0-rc.1"].map(|id| workflow(id, &["agent: a"]));
    let graph = Graph::of(agents, workflows);
    let current: Vec<String> = graph.current_agents().iter().map(|it| it.version().to_string()).collect();
    assert_eq!(current, ["a@1.1.0", "b@0.1.0-rc.2"]);
    let current: Vec<String> = graph.current_workflows().iter().map(ToString::to_string).collect();
    assert_eq!(current, ["v@1.0.0-rc.1", "w@1.10.0"]);
    assert_eq!(graph.agents().count(), 5);
}
