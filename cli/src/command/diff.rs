//! `kapelle diff`: what new versions change of what the registered ones promised, and which registered workflows that
//! breaks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use kapelle_manifest::{
    Agents, Breakage, Broken, Difference, Layered, Manifest, Verdict, Workflow, broken, changes, may_replace,
    next_breaking, predecessor,
};
use kapelle_types::AgentVersion;
use serde::Serialize;
use serde_json::Value;

use super::apply::brought;
use crate::app::{App, End};
use crate::exit::Exit;
use crate::manifests::{self, Found, registered};
use crate::output::{Table, bold};

/// What to compare.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file, a folder with everything below it, or `-` for stdin; repeat it for more
    #[arg(short, long = "file", required = true, value_name = "FILE|DIR|-")]
    files: Vec<PathBuf>,
}

/// What is new, and for whom.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Diff {
    manifests: Vec<Row>,
    /// What registered workflows would give or get that does not fit, and fits now.
    consumers: Vec<Consumer>,
}

/// One manifest against the version before it.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    kind: String,
    name: String,
    version: String,
    /// The version before it; none if it is the first.
    against: Option<String>,
    /// `new`, `compatible`, `breaking` or `not decided`.
    verdict: &'static str,
    /// The number to take instead, where it breaks something and its number says that it does not.
    take_instead: Option<String>,
    differences: Vec<Told>,
}

/// One difference; of a step that would be refused, the message alone.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Told {
    side: String,
    pointer: String,
    rule: String,
    message: String,
    /// A payload that shows it; none for what is not decided.
    example: Option<Value>,
}

/// One step of a registered workflow that would break.
#[derive(Debug, PartialEq, Serialize)]
struct Consumer {
    workflow: String,
    /// None for the workflow's own output.
    step: Option<String>,
    /// The agent that would refuse what the step is given; none if the step itself would be refused.
    agent: Option<String>,
    #[serde(flatten)]
    told: Told,
}

/// `kapelle diff`.
pub(crate) async fn run(app: &App, args: Args) -> End {
    let found = manifests::read(&args.files)?;
    let client = app.client().await?;
    let there = registered::all(&client).await?;
    let diff = compare(&found, &there, &registered::retired(&client).await?);
    app.output.show(&diff, page)?;
    let breaks = !diff.consumers.is_empty() || diff.manifests.iter().any(|row| row.take_instead.is_some());
    Ok(if breaks { Exit::Failed } else { Exit::Ok })
}

/// What these manifests change of what is registered.
pub(crate) fn compare(found: &[Found], there: &[Manifest], retired: &BTreeSet<AgentVersion>) -> Diff {
    let rows = found.iter().map(|f| row(&f.sourced.manifest, there)).collect();
    // What is retired still was promised, and no step gets it.
    let in_use = there.iter().filter(|it| !matches!(it, Manifest::Agent(agent) if retired.contains(&agent.version())));
    Diff { manifests: rows, consumers: consumers(&brought(found), in_use) }
}

fn row(new: &Manifest, there: &[Manifest]) -> Row {
    let (kind, name, version) = new.name_version();
    let old = predecessor(new, there);
    let mut row = Row {
        kind: kind.to_owned(),
        name: name.to_owned(),
        version: version.to_string(),
        against: old.map(|old| old.name_version().2.to_string()),
        verdict: if old.is_some() { "compatible" } else { "new" },
        take_instead: None,
        differences: vec![],
    };
    let Some(old) = old else { return row };
    for change in changes(old, new) {
        let (verdict, differences) = match change.verdict {
            Verdict::Compatible => continue,
            Verdict::Breaking(differences) => ("breaking", differences),
            Verdict::Undecided(differences) => ("not decided", differences),
        };
        row.verdict = if row.verdict == "breaking" { "breaking" } else { verdict };
        row.differences.extend(differences.into_iter().map(|it| Told::of(&change.side.to_string(), it)));
    }
    if row.verdict == "breaking" && may_replace(old.name_version().2, version) {
        let same = there.iter().map(Manifest::name_version).filter(|it| (it.0, it.1) == (kind, name));
        row.take_instead = same.map(|it| it.2).chain([version]).max().map(next_breaking);
    }
    row
}

/// What breaks in the highest version of each registered workflow once these agents are there too.
fn consumers<'m>(new: &Agents, there: impl Iterator<Item = &'m Manifest>) -> Vec<Consumer> {
    let mut workflows: BTreeMap<&str, &Workflow> = BTreeMap::new();
    let mut agents = Agents::default();
    for manifest in there {
        match manifest {
            Manifest::Agent(agent) => agents.insert(Arc::new(agent.clone())),
            Manifest::Workflow(workflow) => {
                agents.insert_workflow(Arc::new(workflow.clone()));
                let highest = workflows.entry(workflow.metadata.name.as_str()).or_insert(workflow);
                if workflow.metadata.version > highest.metadata.version {
                    *highest = workflow;
                }
            }
        }
    }
    let together = Layered(new.clone(), agents.clone());
    broken(workflows.into_values(), &agents, &together).into_iter().map(Consumer::from).collect()
}

impl From<Broken> for Consumer {
    fn from(it: Broken) -> Self {
        let (agent, told) = match it.how {
            Breakage::Misfit(agent, difference) => (Some(agent.to_string()), Told::of("input", difference)),
            Breakage::Refused(message) => (None, Told { message, ..Told::default() }),
        };
        Self { workflow: it.workflow.to_string(), step: it.step.map(|it| it.to_string()), agent, told }
    }
}

impl Told {
    fn of(side: &str, difference: Difference) -> Self {
        Self {
            side: side.to_owned(),
            pointer: difference.pointer,
            rule: difference.rule.to_string(),
            message: difference.message,
            example: difference.witness,
        }
    }

    fn line(&self) -> String {
        if self.rule.is_empty() {
            return self.message.clone();
        }
        let place = if self.pointer.is_empty() { "at the top" } else { &self.pointer };
        let example = self.example.as_ref().map_or(String::new(), |it| format!(", for example {it}"));
        format!("{} {place}: {} (rule {}){example}", self.side, self.message, self.rule)
    }
}

/// For people: a table, then what is different, then who breaks.
pub(crate) fn page(diff: &Diff) -> String {
    let mut table = Table::new(&["kind", "name", "version", "against", "verdict"]);
    for row in &diff.manifests {
        let against = row.against.as_deref().unwrap_or("-");
        table.row([&row.kind, &row.name, &row.version, against, row.verdict]);
    }
    let mut text = table.render("Nothing to compare.");
    for row in diff.manifests.iter().filter(|row| !row.differences.is_empty()) {
        text += &format!("\n\n{}", bold(&format!("{}@{} {}", row.name, row.version, row.verdict)));
        row.differences.iter().for_each(|it| text += &format!("\n  {}", it.line()));
        if let Some(number) = &row.take_instead {
            text += &format!("\n  The number says that nothing breaks: take {number} instead.");
        }
    }
    for (n, it) in diff.consumers.iter().enumerate() {
        let heading = if n == 0 { format!("\n\n{}", bold("registered workflows that break")) } else { String::new() };
        let step = it.step.as_ref().map_or(String::new(), |it| format!(", step {it}"));
        let agent = it.agent.as_ref().map_or(String::new(), |it| format!(" ({it})"));
        text += &format!("{heading}\n  {}{step}{agent}: {}", it.workflow, it.told.line());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Manifest> {
        kapelle_manifest::parse("m.yaml", text).unwrap().into_iter().map(|it| it.manifest).collect()
    }

    fn agent(name: &str, version: &str, input: &str, output: &str) -> Manifest {
        let text = format!(
            "apiVersion: kapelle.dev/v1\nkind: Agent\nmetadata: {{ name: {name}, version: {version}, owner: o }}\nspec:\n  \
             role: {{ purpose: Plays a part. }}\n  input: {{ schema: {input} }}\n  output: {{ schema: {output} }}\n  \
             runtime: {{ native: {{}} }}\n"
        );
        read(&text).remove(0)
    }

    const NUMBER: &str = "{ type: object, required: [n], properties: { n: { type: integer } } }";
    const LARGER: &str = "{ type: object, required: [n], properties: { n: { type: integer, minimum: 1 } } }";
    const NUMERIC: &str = "{ type: object, required: [n], properties: { n: { type: number } } }";

    /// Two steps in a row, `first` handing what it gives to `second`.
    fn registered() -> Vec<Manifest> {
        let workflow = "apiVersion: kapelle.dev/v1\nkind: Workflow\nmetadata: { name: w, version: 1.0.0, owner: o }\nspec:\n  \
             output: 1\n  steps:\n    - { id: a, agent: first@^1 }\n    \
             - { id: b, agent: second@^1, with: { n: \"${steps.a.output.n}\" } }\n";
        let mut all = vec![agent("first", "1.0.0", "{}", NUMBER), agent("second", "1.0.0", NUMBER, "{}")];
        all.extend(read(workflow));
        all
    }

    fn diff(new: Manifest) -> Diff {
        let there = registered();
        let agents: Agents = match &new {
            Manifest::Agent(agent) => std::iter::once(Arc::new(agent.clone())).collect(),
            Manifest::Workflow(_) => Agents::default(),
        };
        Diff { manifests: vec![row(&new, &there)], consumers: consumers(&agents, there.iter()) }
    }

    fn told(new: Manifest) -> String {
        anstream::adapter::strip_str(&page(&diff(new))).to_string()
    }

    #[test]
    fn a_new_input_is_held_against_what_workflows_send() {
        insta::assert_snapshot!("input", told(agent("second", "1.1.0", LARGER, "{}")));
    }

    #[test]
    fn a_new_output_is_held_against_the_steps_that_use_it() {
        insta::assert_snapshot!("output", told(agent("first", "1.1.0", "{}", NUMERIC)));
    }

    #[test]
    fn another_first_number_is_for_nobody_yet() {
        let two = diff(agent("second", "2.0.0", LARGER, "{}"));
        assert_eq!((two.manifests[0].verdict, &two.manifests[0].take_instead), ("breaking", &None));
        assert_eq!(two.consumers, []);
        let first = diff(agent("third", "1.0.0", LARGER, "{}"));
        assert_eq!((first.manifests[0].verdict, &first.manifests[0].against), ("new", &None));
        let same = diff(agent("second", "1.0.1", NUMERIC, "{}"));
        assert_eq!((same.manifests[0].verdict, same.consumers.len()), ("compatible", 0));
    }
}
