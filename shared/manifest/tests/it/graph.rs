//! The declared graph, and what it says of a fleet's roles.

use std::sync::Arc;

use kapelle_manifest::{Agent, Current, Fault, Graph, Manifest, Workflow, findings, parse};
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

#[test]
fn what_is_released_counts_whatever_is_higher() {
    let agents = ["a@1.0.0", "a@1.1.0", "a@2.0.0-rc.1", "b@1.0.0"].map(|id| plain(id, "x"));
    let workflows =
        ["w@1.0.0", "w@1.1.0"].map(|id| workflow(id, &["agent: a", "agent: a@^1.1", "agent: a@^1", "capability: x"]));
    let released = |a: &str, w: &str| {
        let current = Current {
            agents: [("a".parse().unwrap(), a.parse().unwrap())].into(),
            workflows: [("w".parse().unwrap(), w.parse().unwrap())].into(),
        };
        let graph = Graph::of(agents.iter().take(3).cloned(), workflows.clone()).with_current(current);
        let counts: Vec<String> = graph.current_agents().iter().map(|it| it.version().to_string()).collect();
        let whom =
            graph.uses().iter().take(4).map(|it| it.by.as_ref().unwrap().version.to_string()).collect::<Vec<_>>();
        (counts, graph.current_workflows()[0].to_string(), whom)
    };
    let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        released("1.0.0", "1.0.0"),
        (texts(&["a@1.0.0"]), "w@1.0.0".into(), texts(&["1.0.0", "1.1.0", "1.0.0", "1.0.0"]))
    );
    assert_eq!(
        released("2.0.0-rc.1", "1.1.0"),
        (texts(&["a@2.0.0-rc.1"]), "w@1.1.0".into(), texts(&["2.0.0-rc.1", "1.1.0", "1.1.0", "2.0.0-rc.1"]))
    );
}

/// One line a finding.
fn found(agents: &[Arc<Agent>], workflows: &[Arc<Workflow>]) -> Vec<String> {
    let graph = Graph::of(agents.iter().cloned(), workflows.iter().cloned());
    let line = |it: &kapelle_manifest::Finding| {
        assert!(!it.hint.is_empty(), "{it:?} leaves people alone");
        format!("{:?} {} [{}] {}", it.fault.severity(), it.fault.name(), it.about, it.message)
    };
    findings(&graph).iter().map(line).collect()
}

/// What an agent says that leaves nothing open.
const CLOSED: &str = "    limits: { concurrency: 2 }\n  output: { schema: { type: object } }\n";

#[test]
fn a_fleet_in_order_has_no_findings() {
    let agents =
        [agent("read@1.0.0", "read it", "text.read, text.scan", CLOSED), agent("rate@1.0.0", "rate it", "r", CLOSED)];
    assert_eq!(found(&agents, &[workflow("w@1.0.0", &["agent: read@^1", "capability: r"])]), Vec::<String>::new());
}

#[test]
fn what_two_own_and_what_nobody_owns_is_an_error() {
    let agents = [
        agent("a@0.9.0", "Count it", "", CLOSED),
        agent("a@1.0.0", "\"Read  the TEXT\", rate it, rate it", "x", CLOSED),
        agent("b@1.0.0", "read the text, count it", "x", CLOSED),
    ];
    let old = workflow("w@0.9.0", &["agent: nobody"]);
    let now = workflow("w@1.0.0", &["agent: a", "agent: b", "capability: x", "agent: a@^2"]);
    assert_eq!(
        found(&agents, &[old, now]),
        [
            "Error unowned-step [w@1.0.0 s2] several agents declare the capability `x`: `a`, `b`",
            "Error unowned-step [w@1.0.0 s3] no version of the agent `a` matches `^2`",
            "Error shared-responsibility [a@1.0.0, b@1.0.0] each answers for `Read  the TEXT`",
            "Warning shared-capability [a@1.0.0, b@1.0.0] each declares the capability `x`, so no step can ask for it",
        ],
        "only versions that count, and nobody shares with himself"
    );
}

#[test]
fn what_is_left_open_or_unused_is_a_warning() {
    let agents = [
        agent("lazy@1.0.0", "", "", ""),
        agent("idle@1.0.0", "x", "a, b", CLOSED),
        agent("c@1.0.0", "y", "c, d", CLOSED),
    ];
    assert_eq!(
        found(&agents, &[workflow("w@1.0.0", &["agent: lazy", "capability: c"])]),
        [
            "Warning no-responsibility [lazy@1.0.0] it answers for nothing",
            "Warning default-limits [lazy@1.0.0] its limits are those of an agent that names none",
            "Warning open-output [lazy@1.0.0] it may give anything",
            "Warning unused-agent [idle@1.0.0] no workflow uses it in any version",
            "Warning unused-capability [c@1.0.0] no workflow asks for `d`",
            "Warning unused-capability [idle@1.0.0] no workflow asks for `a`, `b`",
        ]
    );
    let half = agent("half@1.0.0", "x", "", "    limits: { timeout: 5s }\n  output: { schema: true }\n");
    let old = workflow("w@0.1.0", &["agent: half@=0.9.0"]);
    assert_eq!(
        found(&[half], &[old, workflow("w@1.0.0", &["agent: half"])]),
        ["Warning open-output [half@1.0.0] it may give anything"],
        "one limit that is named is a limit"
    );
}

#[test]
fn faults_have_names_of_their_own() {
    let names: std::collections::BTreeSet<&str> = Fault::ALL.iter().map(|it| it.name()).collect();
    assert_eq!(names.len(), Fault::ALL.len());
}

#[test]
fn a_high_risk_makes_what_is_left_open_an_error() {
    let risky = |risk: &str| agent("a@1.0.0", "x", "", &format!("  risk: {risk}\n"));
    let used = [workflow("w@1.0.0", &["agent: a"])];
    assert_eq!(
        found(&[risky("high")], &used),
        [
            "Error high-risk-open-output [a@1.0.0] it may give anything",
            "Error high-risk-default-limits [a@1.0.0] its limits are those of an agent that names none",
        ]
    );
    let expected = [
        "Warning default-limits [a@1.0.0] its limits are those of an agent that names none",
        "Warning open-output [a@1.0.0] it may give anything",
    ];
    assert_eq!(found(&[risky("limited")], &used), expected);
    let closed = agent("a@1.0.0", "x", "", &format!("{CLOSED}  risk: high\n"));
    assert_eq!(found(&[closed], &used), Vec::<String>::new());
}
