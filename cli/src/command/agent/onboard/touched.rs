//! What registering an agent changes for everything else: contracts, steps, permissions, what workers need, what it may cost.

use std::collections::BTreeSet;
use std::sync::Arc;

use kapelle_manifest::{Agent, Current, Graph, Manifest, Performer, Severity, findings};
use kapelle_policy::{Agents, Permissions, Place, Policies, permissions};
use kapelle_types::{AgentVersion, Caller, Namespace, Partitions, Principal, Role};
use serde::Serialize;

use super::learned::Cost;
use crate::command::diff::{self, Diff};
use crate::failure::Failure;
use crate::manifests::Found;

/// What is different once the agent is registered.
#[derive(Debug, Serialize)]
pub(super) struct Touched {
    /// The contract against the version before, and registered workflows that it breaks; null if nobody was asked.
    pub(super) contract: Option<Diff>,
    /// Steps that somebody else does now, or nobody.
    pub(super) steps: Vec<Step>,
    /// What a worker's user at the broker needs on top, to take its tasks.
    pub(super) permissions: Grants,
    /// What workers have to have for it.
    pub(super) needs: Needs,
    /// By the trial; null without one.
    pub(super) cost: Option<Cost>,
    /// What `kapelle agent check` will say about it.
    pub(super) findings: Vec<Row>,
}

/// A step of a registered workflow that the agent will do.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Step {
    pub(super) workflow: String,
    pub(super) step: String,
    pub(super) asks_for: String,
    /// Who does it now; null if nobody does.
    pub(super) now: Option<String>,
}

/// Subjects at the broker.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Grants {
    pub(super) publish: Vec<String>,
    pub(super) subscribe: Vec<String>,
}

/// What the operator of a worker has to provide.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Needs {
    pub(super) secrets: Vec<String>,
    pub(super) folders: Vec<String>,
    pub(super) variables: Vec<String>,
    pub(super) files: Vec<String>,
    pub(super) ports: Vec<u16>,
}

/// One finding of `kapelle agent check`.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) finding: &'static str,
    pub(super) severity: &'static str,
    pub(super) message: String,
    pub(super) hint: String,
}

/// What is registered.
#[derive(Default)]
pub(super) struct Registered {
    pub(super) manifests: Vec<Manifest>,
    pub(super) retired: BTreeSet<AgentVersion>,
    pub(super) current: Current,
}

impl Registered {
    /// What steps may get.
    fn in_use(&self) -> Vec<&Manifest> {
        let retired = |it: &&Manifest| matches!(it, Manifest::Agent(agent) if self.retired.contains(&agent.version()));
        self.manifests.iter().filter(|it| !retired(it)).collect()
    }
}

impl Touched {
    /// `there` is what is registered, if somebody was there to ask.
    pub(super) fn of(
        agent: &Agent,
        found: &[Found],
        there: Option<&Registered>,
        cost: Option<Cost>,
    ) -> Result<Self, Failure> {
        let version = agent.version();
        let in_use: Vec<&Manifest> = there.map(Registered::in_use).unwrap_or_default();
        let current = there.map(|there| there.current.clone()).unwrap_or_default();
        let before = graph(in_use.iter().copied()).with_current(current.clone());
        let after =
            graph(in_use.iter().copied().chain(found.iter().map(|it| &it.sourced.manifest))).with_current(current);
        Ok(Self {
            contract: there.map(|there| diff::compare(found, &there.manifests, &there.retired)),
            steps: steps(&before, &after, &version),
            permissions: grants(&version)?,
            needs: Needs::of(agent),
            cost,
            findings: rows(&before, &after, &version),
        })
    }
}

fn graph<'m>(manifests: impl Iterator<Item = &'m Manifest>) -> Graph {
    let (mut agents, mut workflows) = (Vec::new(), Vec::new());
    for manifest in manifests {
        match manifest {
            Manifest::Agent(agent) => agents.push(Arc::new(agent.clone())),
            Manifest::Workflow(workflow) => workflows.push(Arc::new(workflow.clone())),
        }
    }
    Graph::of(agents, workflows)
}

/// The steps that the agent does then and somebody else, or nobody, does now.
fn steps(before: &Graph, after: &Graph, version: &AgentVersion) -> Vec<Step> {
    let current = after.current_workflows();
    let then = after.uses().iter().filter(|it| it.by.as_ref() == Ok(version) && current.contains(&&it.workflow));
    let now = |workflow, step| {
        let same = before.uses().iter().find(|it| (&it.workflow, &it.step) == (workflow, step));
        same.and_then(|it| it.by.as_ref().ok())
    };
    then.filter(|it| now(&it.workflow, &it.step) != Some(version))
        .map(|it| Step {
            workflow: it.workflow.to_string(),
            step: it.step.to_string(),
            asks_for: match &it.wanted {
                Performer::Agent(requirement) => requirement.to_string(),
                Performer::Capability(capability) => format!("capability {capability}"),
            },
            now: now(&it.workflow, &it.step).map(ToString::to_string),
        })
        .collect()
}

/// What a worker that takes its tasks may do beyond one that takes none, by the policies that come with Kapelle.
fn grants(version: &AgentVersion) -> Result<Grants, Failure> {
    let policies = Policies::embedded().map_err(crate::command::policy::invalid)?;
    let caller = Caller {
        principal: Principal(format!("worker:{}", version.name)),
        person: None,
        roles: [Role::Worker].into(),
        namespace: Some(Namespace::default()),
        sees_payloads: false,
        groups: BTreeSet::new(),
    };
    let with = |agents: Vec<AgentVersion>| {
        let (namespace, id, inbox) = (Namespace::default(), "*".to_owned(), "_INBOX".to_owned());
        let partitions = Partitions::new(1).unwrap_or_else(|| kapelle_coordinator::Config::default().layout.partitions);
        permissions(&policies, &caller, &Place { namespace, id, inbox, partitions, agents: Agents::Named(agents) })
    };
    let (all, common): (Permissions, Permissions) = (with(vec![version.clone()]), with(vec![]));
    let more = |all: Vec<String>, common: &[String]| all.into_iter().filter(|it| !common.contains(it)).collect();
    Ok(Grants {
        publish: more(all.publish.allow, &common.publish.allow),
        subscribe: more(all.subscribe.allow, &common.subscribe.allow),
    })
}

impl Needs {
    fn of(agent: &Agent) -> Self {
        let access = &agent.spec.access;
        let texts = |all: Vec<&dyn std::fmt::Display>| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut folders: Vec<String> = Vec::new();
        folders.extend(access.folders.read.iter().map(|it| format!("{it} (read)")));
        folders.extend(access.folders.write.iter().map(|it| format!("{it} (write)")));
        let mut files: Vec<String> = access.files.read.iter().map(|it| format!("{it} (read)")).collect();
        files.extend(access.files.write.iter().map(|it| format!("{it} (write)")));
        Self {
            secrets: texts(access.secrets.iter().map(|it| it as _).collect()),
            folders,
            variables: access.env.clone(),
            files,
            ports: access.network.connect.clone(),
        }
    }

    /// What has to be provided, in words; none if nothing has.
    pub(super) fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        let mut tell = |what: &str, all: &[String], how: &str| {
            if !all.is_empty() {
                told.push(format!("{what} {}{how}", all.join(", ")));
            }
        };
        tell("secrets", &self.secrets, ": a file of that name in `--secrets-dir`, or KAPELLE_SECRET_<NAME>");
        tell("folders", &self.folders, ": `--folder NAME=DIR` at every worker");
        tell("variables", &self.variables, ": in the environment of every worker");
        tell("files", &self.files, ": there on every worker");
        let ports: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
        tell("TCP ports", &ports, ": to any host");
        told
    }
}

/// The findings that are about the agent, and those that others have only since it is there.
fn rows(before: &Graph, after: &Graph, version: &AgentVersion) -> Vec<Row> {
    let known = findings(before);
    let own = version.to_string();
    let new = findings(after).into_iter().filter(|it| {
        it.about.split(", ").any(|about| about == own)
            || !known.iter().any(|old| (old.fault, &old.about) == (it.fault, &it.about))
    });
    new.map(|it| Row {
        finding: it.fault.name(),
        severity: match it.fault.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        message: if it.about == own { it.message } else { format!("{}: {}", it.about, it.message) },
        hint: it.hint,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Found> {
        let all = kapelle_manifest::parse("m.yaml", text).unwrap();
        all.into_iter().map(|sourced| Found { sourced, folder: "/agents".into() }).collect()
    }

    fn agent(version: &str, more: &str) -> Vec<Found> {
        read(&format!(
            "apiVersion: kapelle.dev/v1\nkind: Agent\nmetadata: {{ name: count, version: {version}, owner: o }}\nspec:\n  \
             role: {{ purpose: Counts., capabilities: [text.count] }}\n  {more}\n  \
             runtime: {{ process: {{ command: [./count] }} }}\n"
        ))
    }

    fn touched(new: &[Found], there: &[Found]) -> Touched {
        let there: Vec<Manifest> = there.iter().map(|it| it.sourced.manifest.clone()).collect();
        let Manifest::Agent(agent) = &new[0].sourced.manifest else { panic!("an agent comes first") };
        let there = Registered { manifests: there, ..Registered::default() };
        Touched::of(agent, new, Some(&there), None).unwrap()
    }

    const WORKFLOW: &str = "apiVersion: kapelle.dev/v1\nkind: Workflow\nmetadata: { name: w, version: 1.0.0, owner: o }\nspec:\n  \
         output: 1\n  steps:\n    - { id: named, agent: count@^1 }\n    - { id: asked, capability: text.count }\n    \
         - { id: other, agent: other@^1 }\n";

    #[test]
    fn steps_that_get_another_agent_are_named() {
        let mut there = agent("1.0.0", "access: {}");
        there.extend(read(WORKFLOW));
        let step = |step: &str, asks_for: &str, now: Option<&str>| Step {
            workflow: "w@1.0.0".into(),
            step: step.into(),
            asks_for: asks_for.into(),
            now: now.map(str::to_owned),
        };
        let next = touched(&agent("1.1.0", "access: {}"), &there);
        let now = Some("count@1.0.0");
        assert_eq!(next.steps, [step("named", "count@^1", now), step("asked", "capability text.count", now)]);
        let first = touched(&agent("1.0.0", "access: {}"), &read(WORKFLOW));
        assert_eq!(first.steps.iter().map(|it| it.now.as_deref()).collect::<Vec<_>>(), [None, None]);
        assert_eq!(touched(&agent("2.0.0", "access: {}"), &there).steps, [step("asked", "capability text.count", now)]);
        assert_eq!(touched(&agent("1.0.0", "access: {}"), &there).steps, [], "it does them already");
    }

    #[test]
    fn workers_are_told_what_they_need_and_what_they_may() {
        let access = "access: { secrets: [crm-token], folders: { read: [project] }, network: { connect: [443] } }";
        let touched = touched(&agent("1.0.0", access), &[]);
        assert_eq!(
            touched.needs.told(),
            [
                "secrets crm-token: a file of that name in `--secrets-dir`, or KAPELLE_SECRET_<NAME>",
                "folders project (read): `--folder NAME=DIR` at every worker",
                "TCP ports 443: to any host",
            ]
        );
        assert!(!touched.permissions.publish.is_empty());
        let all = touched.permissions.publish.iter().chain(&touched.permissions.subscribe);
        assert!(all.clone().all(|it| it.contains("count")), "{:?}", touched.permissions);
        let findings: Vec<_> = touched.findings.iter().map(|it| it.finding).collect();
        assert_eq!(
            findings,
            ["no-responsibility", "default-limits", "open-output", "unused-agent", "unused-capability"]
        );
    }
}
