//! `kapelle agent check`: roles that are wrong together. What is looked for stands in `kapelle_manifest::findings`; the page
//! docs/guides/roles.md explains each finding.

use std::collections::BTreeSet;
use std::path::PathBuf;

use kapelle_manifest::{Finding, Graph, Risk, Severity, findings};
use serde::Serialize;

use super::graph;
use crate::app::{App, End};
use crate::exit::Exit;
use crate::output::{Table, dim};

/// What to check.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Check these manifests by themselves: a file, a folder with everything below it, or `-` for stdin; repeat it for
    /// more. Default: what is registered
    #[arg(short, long = "file", value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,
}

/// All that was found.
#[derive(Debug, Serialize)]
struct Report {
    /// No error; there may be warnings.
    ok: bool,
    /// How many agents were looked at, each in the version that counts.
    agents: usize,
    /// How many of them are of each risk.
    risks: Risks,
    findings: Vec<Row>,
}

/// Agents by what their owners say of their risk.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Risks {
    high: usize,
    limited: usize,
    minimal: usize,
    /// Those of whom nobody says it.
    unstated: usize,
}

/// One finding.
#[derive(Debug, Serialize)]
struct Row {
    finding: &'static str,
    severity: &'static str,
    about: String,
    message: String,
    hint: String,
}

/// `kapelle agent check`.
pub(crate) async fn run(app: &App, args: &Args) -> End {
    let graph = match args.files.as_slice() {
        [] => graph::registered(&app.client().await?).await?,
        files => graph::of_files(files)?,
    };
    let report = Report::of(&graph);
    app.output.show(&report, render)?;
    Ok(if report.ok { Exit::Ok } else { Exit::Failed })
}

impl Report {
    fn of(graph: &Graph) -> Self {
        let findings = findings(graph);
        let ok = findings.iter().all(|it| it.fault.severity() != Severity::Error);
        let agents = graph.current_agents();
        let mut risks = Risks::default();
        for agent in &agents {
            *match agent.spec.risk {
                Some(Risk::High) => &mut risks.high,
                Some(Risk::Limited) => &mut risks.limited,
                Some(Risk::Minimal) => &mut risks.minimal,
                None => &mut risks.unstated,
            } += 1;
        }
        Self { ok, agents: agents.len(), risks, findings: findings.into_iter().map(Row::from).collect() }
    }
}

impl From<Finding> for Row {
    fn from(it: Finding) -> Self {
        let severity = match it.fault.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        Self { finding: it.fault.name(), severity, about: it.about, message: it.message, hint: it.hint }
    }
}

fn render(report: &Report) -> String {
    let mut table = Table::new(&["status", "finding", "about", "found"]);
    for row in &report.findings {
        let status = if row.severity == "error" { "FAIL" } else { "WARN" };
        table.row([status, row.finding, &row.about, &row.message]);
    }
    let mut text = table.render("Nothing was found.");
    // Many findings have the same way out.
    let hints: BTreeSet<String> = report.findings.iter().map(|it| format!("{}: {}", it.finding, it.hint)).collect();
    if !hints.is_empty() {
        text += "\n\n";
        text += &hints.into_iter().collect::<Vec<_>>().join("\n");
    }
    format!("{text}\n\n{}", dim(&summary(report)))
}

fn summary(report: &Report) -> String {
    let errors = report.findings.iter().filter(|it| it.severity == "error").count();
    let count = |n: usize, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
    let (agents, warnings) = (count(report.agents, "agent"), count(report.findings.len() - errors, "warning"));
    let Risks { high, limited, minimal, unstated } = report.risks;
    let risks = format!("{high} high, {limited} limited, {minimal} minimal, {unstated} not stated");
    format!("{agents} (risk: {risks}), {}, {warnings}.", count(errors, "error"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use kapelle_manifest::Fault;

    use super::*;

    fn checked(name: &str, text: &str) -> Report {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        Report::of(&graph::of_files(&[file]).unwrap())
    }

    fn agent(name: &str) -> String {
        format!(
            "apiVersion: kapelle.dev/v1\nkind: Agent\nmetadata: {{ name: {name}, version: 1.0.0, owner: o@example.com }}\n\
             spec: {{ role: {{ purpose: Work., responsibilities: [work] }}, runtime: {{ native: {{}} }} }}\n---\n"
        )
    }

    #[test]
    fn errors_and_warnings_are_told_apart() {
        let both = checked("both.yaml", &(agent("a") + &agent("b")));
        assert!(!both.ok);
        insta::assert_snapshot!("findings", anstream::adapter::strip_str(&render(&both)).to_string());
        let warned = checked("one.yaml", &agent("a"));
        assert!(warned.ok && !warned.findings.is_empty(), "{warned:?}");
    }

    #[test]
    fn the_examples_are_in_order() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        for (example, agents) in [("software-intake", 4), ("native-worker/manifests", 1)] {
            let report = Report::of(&graph::of_files(&[root.join(example)]).unwrap());
            assert_eq!(
                anstream::adapter::strip_str(&render(&report)).to_string().trim(),
                format!("Nothing was found.\n\n{}", summary(&report))
            );
            assert_eq!((report.ok, report.agents), (true, agents), "{example}");
        }
    }

    #[test]
    fn every_finding_is_explained() {
        let guide = include_str!("../../../../docs/guides/roles.md");
        for fault in Fault::ALL {
            assert!(guide.contains(&format!("| `{}` |", fault.name())), "{} has no row", fault.name());
        }
    }
}
