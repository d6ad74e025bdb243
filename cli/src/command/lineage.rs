//! `kapelle lineage`: the observed graph, and where it differs from the declared one.
//!
//! What runs did is read from their logs by the coordinator; what is declared is what is registered now. A step done by
//! somebody whom it would not get now is undeclared; what is declared and was not used is unused, which is only said if
//! everything of the window was read.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use kapelle_manifest::{Graph, Use};
use kapelle_proto::v1;
use serde::Serialize;

use super::agent::graph;
use crate::app::{App, End};
use crate::exit::Exit;
use crate::output::{Table, bold, dim, moment};

/// What to look at.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A workflow's name. Default: all
    workflow: Option<String>,
    /// How far back: runs that were submitted since
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = humantime::parse_duration)]
    since: Duration,
}

/// The observed graph and its differences.
#[derive(Debug, Serialize)]
struct Lineage {
    /// Every run that was submitted since then is counted.
    from: Option<String>,
    /// Whether that is all that was asked for.
    complete: bool,
    runs: u64,
    entries: u64,
    steps: Vec<Step>,
    edges: Vec<Edge>,
    findings: Vec<Finding>,
}

/// Who did a step.
#[derive(Debug, Clone, Serialize)]
struct Step {
    workflow: String,
    step: String,
    agent: String,
    runs: u64,
    attempts_succeeded: u64,
    attempts_failed: u64,
    runs_skipped: u64,
    first: Option<String>,
    last: Option<String>,
}

/// What flowed from step to step.
#[derive(Debug, Clone, Serialize)]
struct Edge {
    workflow: String,
    from: String,
    to: String,
    /// Who gives.
    agent: String,
    /// SHA-256 of the schema of what is given.
    schema_digest: String,
    runs: u64,
}

/// A difference between what is declared and what was observed.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// `undeclared` or `unused`.
    finding: &'static str,
    about: String,
    message: String,
}

/// `kapelle lineage`.
pub(crate) async fn run(app: &App, args: Args) -> End {
    let client = app.client().await?;
    let since_seconds = args.since.as_secs().max(1);
    let request = v1::LineageRequest { workflow: args.workflow.clone().unwrap_or_default(), since_seconds };
    let answer = client.runs().lineage(request).await.map_err(|s| client.failure(s))?.into_inner();
    let declared = graph::registered(&client).await?;
    app.output.show(&Lineage::of(answer, &declared, args.workflow.as_deref()), page)?;
    Ok(Exit::Ok)
}

impl Lineage {
    fn of(answer: v1::LineageResponse, declared: &Graph, workflow: Option<&str>) -> Self {
        let steps: Vec<Step> = answer.steps.into_iter().map(Step::from).collect();
        let mut findings = undeclared(&steps, declared);
        if answer.complete {
            findings.extend(unused(&steps, declared, workflow));
        }
        Self {
            from: moment(answer.from_unix_nanos),
            complete: answer.complete,
            runs: answer.runs,
            entries: answer.entries,
            steps,
            edges: answer.edges.into_iter().map(Edge::from).collect(),
            findings,
        }
    }
}

/// Steps that were done by somebody whom they would not get now.
fn undeclared(steps: &[Step], declared: &Graph) -> Vec<Finding> {
    let finding = |it: &Step| {
        let is_it = |used: &&Use| used.workflow.to_string() == it.workflow && used.step.as_str() == it.step;
        let mut uses = declared.uses().iter().filter(is_it);
        if uses.clone().any(|used| used.by.as_ref().is_ok_and(|agent| agent.to_string() == it.agent)) {
            return None;
        }
        // Of a step that is handed on, whoever has the name that did it then.
        let name = it.agent.split('@').next().unwrap_or_default();
        let same = uses.clone().find(|used| used.by.as_ref().is_ok_and(|agent| agent.name.as_str() == name));
        let now = match same.or_else(|| uses.next()).map(|used| &used.by) {
            Some(Ok(agent)) => format!("it would be given to {agent} now"),
            Some(Err(nobody)) => format!("nobody would do it now: {nobody}"),
            None => "this workflow version is not registered".to_owned(),
        };
        let about = format!("{}, step {}", it.workflow, it.step);
        let last = it.last.as_deref().unwrap_or("-");
        let message = format!("{} did it in {} runs, last at {last}; {now}", it.agent, it.runs);
        Some(Finding { finding: "undeclared", about, message })
    };
    steps.iter().filter_map(finding).collect()
}

/// Steps of current workflows that were passed over in every run, workflows without a run, agents that nobody called.
fn unused(steps: &[Step], declared: &Graph, workflow: Option<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut unused = |about: String, message: &str| {
        findings.push(Finding { finding: "unused", about, message: message.to_owned() });
    };
    let worked = |it: &&Step| it.attempts_succeeded + it.attempts_failed > 0;
    for current in declared.current_workflows() {
        if workflow.is_some_and(|name| name != current.name.as_str()) {
            continue;
        }
        let version = current.to_string();
        if !steps.iter().any(|it| it.workflow == version) {
            unused(version, "no run was submitted");
            continue;
        }
        let uses = declared.uses().iter().filter(|used| used.workflow == *current);
        let each_once: BTreeSet<&str> = uses.map(|used| used.step.as_str()).collect();
        for step in each_once {
            let of_step = || steps.iter().filter(|it| it.workflow == version && it.step == step);
            if !of_step().any(|it| worked(&it)) && of_step().any(|it| it.runs_skipped > 0) {
                unused(format!("{version}, step {step}"), "it was passed over in every run that ended");
            }
        }
    }
    if workflow.is_none() {
        let called: BTreeSet<&str> = steps.iter().filter(worked).map(|it| it.agent.as_str()).collect();
        for agent in declared.current_agents() {
            let version = agent.version().to_string();
            if !called.contains(version.as_str()) {
                unused(version, "no run called it");
            }
        }
    }
    findings
}

fn page(it: &Lineage) -> String {
    let mut table = Table::new(&["workflow", "step", "agent", "runs", "succeeded", "failed", "skipped", "last"]);
    for step in &it.steps {
        let numbers = [step.runs, step.attempts_succeeded, step.attempts_failed, step.runs_skipped];
        let names = [&step.workflow, &step.step, &step.agent].map(String::clone);
        let last = step.last.clone().unwrap_or_else(|| "-".to_owned());
        table.row(names.into_iter().chain(numbers.map(|n| n.to_string())).chain([last]));
    }
    let mut text = table.render("No run was submitted.");
    if !it.edges.is_empty() {
        let mut table = Table::new(&["workflow", "from", "to", "given by", "schema", "runs"]);
        for edge in &it.edges {
            let schema: String = edge.schema_digest.chars().take(12).collect();
            let names = [&edge.workflow, &edge.from, &edge.to, &edge.agent].map(String::clone);
            table.row(names.into_iter().chain([schema, edge.runs.to_string()]));
        }
        let _ = write!(text, "\n\n{}", table.render("")); // a String takes it
    }
    if !it.findings.is_empty() {
        let _ = write!(text, "\n\n{}", bold("not as declared")); // a String takes it
        for finding in &it.findings {
            let _ = write!(text, "\n  {}  {}: {}", finding.finding, finding.about, finding.message); // a String takes it
        }
    }
    format!("{text}\n\n{}", dim(&summary(it)))
}

fn summary(it: &Lineage) -> String {
    let from = it.from.as_deref().unwrap_or("-");
    let mut text = format!("{} runs submitted since {from}, {} records read.", it.runs, it.entries);
    if !it.complete {
        text += " There is more than one answer reads: what is unused is not said. Ask with a shorter `--since`.";
    }
    text
}

impl From<v1::LineageStep> for Step {
    fn from(wire: v1::LineageStep) -> Self {
        Self {
            first: moment(wire.first_unix_nanos),
            last: moment(wire.last_unix_nanos),
            workflow: wire.workflow,
            step: wire.step,
            agent: wire.agent,
            runs: wire.runs,
            attempts_succeeded: wire.attempts_succeeded,
            attempts_failed: wire.attempts_failed,
            runs_skipped: wire.runs_skipped,
        }
    }
}

impl From<v1::LineageEdge> for Edge {
    fn from(wire: v1::LineageEdge) -> Self {
        let v1::LineageEdge { workflow, from, to, agent, schema_digest, runs } = wire;
        Self { workflow, from, to, agent, schema_digest, runs }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn demo() -> Graph {
        graph::of_files(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/software-intake")]).unwrap()
    }

    fn step(step: &str, agent: &str, succeeded: u64, skipped: u64) -> v1::LineageStep {
        v1::LineageStep {
            workflow: "software-intake@1.0.0".into(),
            step: step.into(),
            agent: agent.into(),
            runs: 3,
            attempts_succeeded: succeeded,
            runs_skipped: skipped,
            first_unix_nanos: 1_000_000_000,
            last_unix_nanos: 2_000_000_000,
            ..Default::default()
        }
    }

    fn answer(complete: bool) -> v1::LineageResponse {
        let edge = v1::LineageEdge {
            workflow: "software-intake@1.0.0".into(),
            from: "inventory".into(),
            to: "review".into(),
            agent: "inventory@0.9.0".into(),
            schema_digest: "0123456789abcdef".into(),
            runs: 3,
        };
        let steps = vec![
            step("inventory", "inventory@0.9.0", 3, 0),
            step("review", "licence-review@1.0.0", 120, 0),
            step("score", "risk-score@1.0.0", 3, 0),
            step("sbom", "sbom@1.0.0", 0, 3),
        ];
        let (runs, entries, from_unix_nanos) = (3, 132, 500_000_000);
        v1::LineageResponse { steps, edges: vec![edge], from_unix_nanos, complete, runs, entries }
    }

    #[test]
    fn what_was_done_otherwise_and_what_was_not_done_is_told() {
        let lineage = Lineage::of(answer(true), &demo(), None);
        insta::assert_snapshot!("page", anstream::adapter::strip_str(&page(&lineage)).to_string());
    }

    #[test]
    fn nothing_is_unused_by_half_of_the_evidence() {
        let lineage = Lineage::of(answer(false), &demo(), None);
        assert!(lineage.findings.iter().all(|it| it.finding == "undeclared"), "{:?}", lineage.findings);
        assert!(summary(&lineage).ends_with("Ask with a shorter `--since`."));
    }

    #[test]
    fn a_workflow_that_nobody_ran_is_one_finding() {
        let nothing = v1::LineageResponse { complete: true, ..Default::default() };
        let lineage = Lineage::of(nothing, &demo(), Some("software-intake"));
        let about: Vec<&str> = lineage.findings.iter().map(|it| it.about.as_str()).collect();
        assert_eq!(about, ["software-intake@1.0.0"]);
    }
}
