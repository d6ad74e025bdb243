//! `kapelle agent impact`: who depends on an agent, and what becomes of them if it changes or goes.
//!
//! Steps are weighed on the declared graph; open runs keep the version that they were pinned to, so every one of them
//! counts. The end says whether something would break, so that retirement can be made to wait for it.

use std::fmt::Write as _;

use kapelle_manifest::{Above, Graph, Loss, Performer};
use kapelle_proto::v1;
use kapelle_types::{AgentName, AgentVersion, Code, InvalidName, Version, WorkflowVersion};
use semver::VersionReq;
use serde::Serialize;

use super::graph;
use crate::app::{App, End};
use crate::client::Client;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::manifests;
use crate::output::{Table, bold, dim};

/// Which agent.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The agent: its name for all its versions together, NAME@VERSION for one
    #[arg(value_name = "NAME[@VERSION]")]
    agent: String,
}

/// All that depends on it.
#[derive(Debug, Serialize)]
struct Impact {
    /// The versions that are asked about.
    agents: Vec<String>,
    /// Whether something breaks if they go, or may.
    breaks: bool,
    steps: Vec<Step>,
    /// Steps of other workflows that run a workflow with such a step, however far above.
    above: Vec<Runner>,
    /// Those that start runs of a workflow that has such a step.
    schedules: Vec<Scheduled>,
    runs: Runs,
}

/// A schedule of a workflow that one of the versions has a step in.
#[derive(Debug, Serialize)]
struct Scheduled {
    schedule: String,
    /// The workflow with the versions that will do.
    workflow: String,
    /// Whether a step of it would have nobody then.
    breaks: bool,
}

/// A step that runs a workflow which feels it.
#[derive(Debug, Serialize)]
struct Runner {
    workflow: String,
    step: String,
    runs: String,
}

/// A step that one of the versions does now.
#[derive(Debug, Serialize)]
struct Step {
    workflow: String,
    /// Whether it is the version of the workflow that a job gets which asks for none.
    current: bool,
    step: String,
    asks_for: String,
    now: String,
    /// Who would do it then; null if nobody would.
    then: Option<String>,
    /// Why nobody would; empty if somebody would.
    why: String,
}

/// The open runs that are pinned to one of the versions.
#[derive(Debug, Serialize)]
struct Runs {
    open: u64,
    workflows: Vec<Count>,
    /// Those that were submitted first.
    first: Vec<String>,
    /// Open runs of which it is not known yet whether they are.
    unknown: u64,
    /// Whether every partition answered.
    complete: bool,
}

/// Open runs of one workflow version.
#[derive(Debug, Serialize)]
struct Count {
    workflow: String,
    runs: u64,
}

/// What is asked about.
struct Wanted {
    name: AgentName,
    version: Option<Version>,
}

/// `kapelle agent impact`.
pub(crate) async fn run(app: &App, args: &Args) -> End {
    let wanted = Wanted::parse(&args.agent)?;
    let client = app.client().await?;
    let graph = graph::registered(&client).await?;
    // What is retired is asked about too: runs may have been pinned to it before.
    let retired = manifests::registered::retired(&client).await?;
    let all = graph.agents().map(|it| it.version()).chain(retired);
    let agents: Vec<String> = all.filter(|it| wanted.takes(it)).map(|it| it.to_string()).collect();
    if agents.is_empty() {
        let message = format!("There is no agent {}.", args.agent);
        let failure = Failure::coded(Code::UNKNOWN_AGENT, message, "`kapelle agent list` shows what is registered.");
        return Err(failure.ending(Exit::NotFound));
    }
    let runs = Runs::ask(&client, &wanted).await?;
    let mut impact = Impact::of(&graph, agents, |it| wanted.takes(it), runs);
    let answer = client.schedules().list(v1::ListSchedulesRequest {}).await.map_err(|s| client.failure(s))?;
    let of = |it: v1::ScheduleView| Scheduled::of(&impact.steps, it.name, it.workflow);
    impact.schedules = answer.into_inner().schedules.into_iter().filter_map(of).collect();
    app.output.show(&impact, page)?;
    Ok(if impact.breaks { Exit::Failed } else { Exit::Ok })
}

impl Wanted {
    fn parse(text: &str) -> Result<Self, Failure> {
        let (name, version) = text.split_once('@').map_or((text, None), |(name, version)| (name, Some(version)));
        let invalid =
            |e: InvalidName| Failure::usage(format!("{e}."), "It looks like `inventory` or `inventory@1.0.0`.");
        let version = version.map(str::parse).transpose().map_err(invalid)?;
        Ok(Self { name: name.parse().map_err(invalid)?, version })
    }

    fn takes(&self, agent: &AgentVersion) -> bool {
        agent.name == self.name && self.version.as_ref().is_none_or(|it| *it == agent.version)
    }
}

impl Runs {
    async fn ask(client: &Client, wanted: &Wanted) -> Result<Self, Failure> {
        let version = wanted.version.as_ref().map(ToString::to_string).unwrap_or_default();
        let request = v1::PinnedRequest { agent: wanted.name.to_string(), version };
        let v1::PinnedResponse { workflows, run_ids, unknown, complete } =
            client.runs().pinned(request).await.map_err(|s| client.failure(s))?.into_inner();
        Ok(Self {
            open: workflows.iter().map(|it| it.runs).sum(),
            workflows: workflows.into_iter().map(|it| Count { workflow: it.workflow, runs: it.runs }).collect(),
            first: run_ids,
            unknown,
            complete,
        })
    }
}

impl Impact {
    fn of(graph: &Graph, agents: Vec<String>, gone: impl Fn(&AgentVersion) -> bool, runs: Runs) -> Self {
        let current = graph.current_workflows();
        let losses = graph.losses(gone).into_iter();
        let losses: Vec<Loss> = losses.collect();
        let steps: Vec<Step> = losses.iter().map(|it| Step::of(it, current.contains(&&it.used.workflow))).collect();
        let above = graph.above(losses.into_iter().map(|it| it.used.workflow)).into_iter();
        let above = above.map(|Above { workflow, step, runs }| Runner {
            workflow: workflow.to_string(),
            step: step.to_string(),
            runs: runs.to_string(),
        });
        let unclear = runs.unknown > 0 || !runs.complete;
        let breaks = runs.open > 0 || unclear || steps.iter().any(|it| it.then.is_none());
        Self { agents, breaks, steps, above: above.collect(), schedules: Vec::new(), runs }
    }
}

impl Scheduled {
    /// `None` if its workflow has no such step in any version that will do.
    fn of(steps: &[Step], schedule: String, workflow: String) -> Option<Self> {
        let (name, versions) = workflow.split_once('@').unwrap_or((&workflow, "*"));
        let versions = VersionReq::parse(versions).ok()?;
        let runs = |step: &&Step| {
            let of = step.workflow.parse::<WorkflowVersion>();
            of.is_ok_and(|of| of.name.as_str() == name && versions.matches(of.version.semver()))
        };
        let mut steps = steps.iter().filter(runs).peekable();
        steps.peek()?;
        let breaks = steps.any(|step| step.then.is_none());
        Some(Self { schedule, workflow, breaks })
    }
}

impl Step {
    fn of(loss: &Loss, current: bool) -> Self {
        let asks_for = match &loss.used.wanted {
            Performer::Agent(requirement) => requirement.to_string(),
            Performer::Capability(capability) => format!("capability {capability}"),
        };
        Self {
            workflow: loss.used.workflow.to_string(),
            current,
            step: loss.used.step.to_string(),
            asks_for,
            now: loss.now.to_string(),
            then: loss.then.as_ref().ok().map(ToString::to_string),
            why: loss.then.as_ref().err().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

fn page(impact: &Impact) -> String {
    let mut table = Table::new(&["workflow", "step", "asks for", "now", "without it"]);
    for it in &impact.steps {
        let workflow = if it.current { it.workflow.clone() } else { format!("{} (older)", it.workflow) };
        let then = it.then.as_ref().map_or_else(|| format!("breaks: {}", it.why), |then| format!("moves to {then}"));
        table.row([&workflow, &it.step, &it.asks_for, &it.now, &then]);
    }
    let mut text = format!("{}\n\n{}", bold(&impact.agents.join(", ")), table.render("No workflow uses it."));
    if !impact.above.is_empty() {
        let mut table = Table::new(&["workflow", "step", "runs"]);
        for it in &impact.above {
            table.row([&it.workflow, &it.step, &it.runs]);
        }
        let _ = write!(text, "\n\n{}", table.render("")); // a String takes it
    }
    if !impact.schedules.is_empty() {
        let mut table = Table::new(&["schedule", "runs", "without it"]);
        for it in &impact.schedules {
            table.row(
                [it.schedule.as_str(), &it.workflow, if it.breaks { "breaks" } else { "goes on" }].map(String::from),
            );
        }
        let _ = write!(text, "\n\n{}", table.render("")); // a String takes it
    }
    let runs = &impact.runs;
    if runs.open > 0 {
        let mut table = Table::new(&["workflow", "open runs"]);
        for it in &runs.workflows {
            table.row([it.workflow.clone(), it.runs.to_string()]);
        }
        let first = runs.first.join("\n");
        let _ = write!(text, "\n\n{}\n\nSubmitted first:\n{first}", table.render("")); // a String takes it
    }
    let _ = write!(text, "\n\n{}", dim(&summary(impact))); // a String takes it
    text
}

fn summary(impact: &Impact) -> String {
    let (steps, runs) = (&impact.steps, &impact.runs);
    let breaking = steps.iter().filter(|it| it.then.is_none()).count();
    let mut text = format!(
        "Without it {breaking} of {} steps that use it break; {} open runs are pinned to it.",
        steps.len(),
        runs.open
    );
    if runs.unknown > 0 {
        let _ = write!(text, " Of {} more it is not known yet: ask again in a minute.", runs.unknown); // a String takes it
    }
    if !runs.complete {
        text += " Not every partition answered: there may be more.";
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What the demo has registered.
    fn demo() -> Graph {
        graph::of_files(&[Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/software-intake")]).unwrap()
    }

    fn none() -> Runs {
        Runs { open: 0, workflows: vec![], first: vec![], unknown: 0, complete: true }
    }

    fn impact(agent: &str, runs: Runs) -> Impact {
        let wanted = Wanted::parse(agent).unwrap();
        Impact::of(&demo(), vec![agent.to_owned()], |it| wanted.takes(it), runs)
    }

    #[test]
    fn the_demos_dependants_are_all_named() {
        let workflows = vec![Count { workflow: "software-intake@1.0.0".into(), runs: 21 }];
        let runs = Runs { open: 21, workflows, first: vec!["run-1".into(), "run-2".into()], ..none() };
        let mut impact = impact("licence-review@1.0.0", runs);
        let scheduled = |workflow: &str| Scheduled::of(&impact.steps, "nightly".into(), workflow.into());
        assert!(scheduled("software-intake@^2").is_none() && scheduled("other").is_none());
        assert!(scheduled("software-intake").is_some_and(|it| it.breaks));
        impact.schedules = scheduled("software-intake@^1").into_iter().collect();
        let page = page(&impact);
        insta::assert_snapshot!("page", anstream::adapter::strip_str(&page).to_string());
    }

    #[test]
    fn those_above_are_named_however_far() {
        let (parse, spec) = (kapelle_manifest::parse, "spec: { steps: [{ id: s, ");
        let workflow = |name: &str, step: &str| {
            let text = format!("metadata: {{ name: {name}, version: 1.0.0, owner: a@b.example }}\n{spec}{step} }}] }}");
            parse("it", &format!("apiVersion: kapelle.dev/v1\nkind: Workflow\n{text}")).unwrap().remove(0).manifest
        };
        let manifests =
            [workflow("top", "workflow: middle"), workflow("middle", "workflow: low"), workflow("low", "value: 1")];
        let workflows = manifests.into_iter().filter_map(|it| match it {
            kapelle_manifest::Manifest::Workflow(it) => Some(std::sync::Arc::new(it)),
            kapelle_manifest::Manifest::Agent(_) => None,
        });
        let above = Graph::of([], workflows).above(["low@1.0.0".parse().unwrap()]);
        let named: Vec<_> = above.iter().map(|it| format!("{} runs {}", it.workflow, it.runs)).collect();
        assert_eq!(named, ["middle@1.0.0 runs low@1.0.0", "top@1.0.0 runs middle@1.0.0"]);
    }

    #[test]
    fn what_is_not_known_may_break() {
        assert!(!impact("nobody", none()).breaks);
        assert!(impact("sbom", none()).breaks, "a step that nobody else does");
        for runs in [Runs { open: 1, ..none() }, Runs { unknown: 1, ..none() }, Runs { complete: false, ..none() }] {
            assert!(impact("nobody", runs).breaks);
        }
        let unclear = summary(&impact("nobody", Runs { unknown: 7, complete: false, ..none() }));
        assert!(unclear.ends_with(
            "Of 7 more it is not known yet: ask again in a minute. Not every partition answered: there may be more."
        ));
    }

    #[test]
    fn what_is_no_agent_is_refused() {
        for text in ["", "Inventory", "inventory@", "inventory@1", "inventory@1.0.0@1"] {
            assert_eq!(Wanted::parse(text).err().unwrap().exit(), Exit::Usage, "{text}");
        }
    }
}
