//! What is wrong with the roles of a fleet, seen together: what two own, what nobody owns, what nobody uses, and agents that
//! leave open what they may do.
//!
//! `kapelle agent check` shows it. A single manifest is checked by [`crate::check()`] before it is registered; here stand the
//! things that are right in each manifest and wrong, or suspicious, in all of them. Agents are judged by the version that
//! counts ([`Graph::current_agents`]), steps by the workflow versions that do. Changes nothing and refuses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kapelle_types::AgentVersion;

use crate::catalog::Catalog as _;
use crate::{Agent, Graph, Limits, Risk};

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A step that no agent does, or of which it is not clear which one does.
    UnownedStep,
    /// Two agents answer for the same.
    SharedResponsibility,
    /// An agent of high risk may give anything.
    HighRiskOpenOutput,
    /// An agent of high risk has the limits of one that names none.
    HighRiskDefaultLimits,
    /// Several agents declare a capability, so that no step can ask for it.
    SharedCapability,
    /// An agent answers for nothing.
    NoResponsibility,
    /// An agent has the limits of one that names none.
    DefaultLimits,
    /// An agent may give anything.
    OpenOutput,
    /// No workflow uses the agent.
    UnusedAgent,
    /// No workflow uses the capability.
    UnusedCapability,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It is wrong: something cannot be done, or nobody can be held to it.
    Error,
    /// Somebody should look at it.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub fault: Fault,
    /// The agent version, the agents, or the step of a workflow version that it is about.
    pub about: String,
    /// A sentence.
    pub message: String,
    /// The way out.
    pub hint: String,
}

impl Fault {
    /// Every fault there is, in the order of findings.
    pub const ALL: &'static [Self] = &[
        Self::UnownedStep,
        Self::SharedResponsibility,
        Self::HighRiskOpenOutput,
        Self::HighRiskDefaultLimits,
        Self::SharedCapability,
        Self::NoResponsibility,
        Self::DefaultLimits,
        Self::OpenOutput,
        Self::UnusedAgent,
        Self::UnusedCapability,
    ];

    /// The name that scripts know it by. It never changes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnownedStep => "unowned-step",
            Self::SharedResponsibility => "shared-responsibility",
            Self::HighRiskOpenOutput => "high-risk-open-output",
            Self::HighRiskDefaultLimits => "high-risk-default-limits",
            Self::SharedCapability => "shared-capability",
            Self::NoResponsibility => "no-responsibility",
            Self::DefaultLimits => "default-limits",
            Self::OpenOutput => "open-output",
            Self::UnusedAgent => "unused-agent",
            Self::UnusedCapability => "unused-capability",
        }
    }

    /// How bad it is.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::UnownedStep | Self::SharedResponsibility | Self::HighRiskOpenOutput | Self::HighRiskDefaultLimits => {
                Severity::Error
            }
            Self::SharedCapability
            | Self::NoResponsibility
            | Self::DefaultLimits
            | Self::OpenOutput
            | Self::UnusedAgent
            | Self::UnusedCapability => Severity::Warning,
        }
    }
}

/// All that is wrong, errors first, each fault in the order of what it is about.
#[must_use]
pub fn findings(graph: &Graph) -> Vec<Finding> {
    let current = graph.current_agents();
    let mut found = unowned_steps(graph);
    found.extend(shared_responsibilities(&current));
    found.extend(shared_capabilities(graph));
    for agent in &current {
        found.extend(of_one(agent));
        found.extend(unused(graph, agent));
    }
    found.sort_by(|a, b| (a.fault.severity(), a.fault, &a.about).cmp(&(b.fault.severity(), b.fault, &b.about)));
    found
}

fn unowned_steps(graph: &Graph) -> Vec<Finding> {
    let current: BTreeSet<_> = graph.current_workflows().into_iter().collect();
    let unowned = graph.uses().iter().filter(|it| current.contains(&it.workflow));
    unowned
        .filter_map(|it| {
            let nobody = it.by.as_ref().err()?;
            let hint = match nobody.hint.as_str() {
                "" => "apply an agent that does it, or a version of the workflow that asks for another",
                hint => hint,
            };
            let about = format!("{} {}", it.workflow, it.step);
            Some(finding(Fault::UnownedStep, about, nobody.message.clone(), hint))
        })
        .collect()
}

/// The same text in two agents; case and space make no difference.
fn shared_responsibilities(current: &[&Arc<Agent>]) -> Vec<Finding> {
    let mut owners: BTreeMap<String, (&str, BTreeSet<AgentVersion>)> = BTreeMap::new();
    for agent in current {
        for text in &agent.spec.role.responsibilities {
            let folded = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
            owners.entry(folded).or_insert((text.trim(), BTreeSet::new())).1.insert(agent.version());
        }
    }
    let shared = owners.into_values().filter(|(_, agents)| agents.len() > 1);
    shared
        .map(|(text, agents)| {
            let hint = "leave it to one of them; let the other name what it does itself, or take it out of service";
            finding(Fault::SharedResponsibility, list(&agents), format!("each answers for `{text}`"), hint)
        })
        .collect()
}

fn shared_capabilities(graph: &Graph) -> Vec<Finding> {
    let catalog = graph.catalog();
    let several = catalog.capabilities().into_iter().map(|capability| {
        let agents: BTreeSet<AgentVersion> = catalog.capable(&capability).iter().map(|it| it.version()).collect();
        (capability, agents)
    });
    several
        .filter(|(_, agents)| agents.len() > 1)
        .map(|(capability, agents)| {
            let message = format!("each declares the capability `{capability}`, so no step can ask for it");
            let hint = "let one of them declare it; steps that mean another one name it";
            finding(Fault::SharedCapability, list(&agents), message, hint)
        })
        .collect()
}

/// What can be said of an agent alone. What is a warning for others is an error for one of high risk.
fn of_one(agent: &Agent) -> Vec<Finding> {
    let (about, role) = (agent.version().to_string(), &agent.spec.role);
    let (limits, output) = match agent.spec.risk {
        Some(Risk::High) => (Fault::HighRiskDefaultLimits, Fault::HighRiskOpenOutput),
        Some(Risk::Minimal | Risk::Limited) | None => (Fault::DefaultLimits, Fault::OpenOutput),
    };
    let mut found = Vec::new();
    if role.responsibilities.is_empty() {
        let hint = "say in `role.responsibilities` what it answers for";
        found.push(finding(Fault::NoResponsibility, &about, "it answers for nothing", hint));
    }
    if role.limits == Limits::default() {
        let hint = "say in `role.limits` how often at a time and how long it may work";
        found.push(finding(limits, &about, "its limits are those of an agent that names none", hint));
    }
    if agent.spec.output.is_any() {
        let hint = "say in `output.schema` what it gives; what breaks that is refused when it reports";
        found.push(finding(output, &about, "it may give anything", hint));
    }
    found
}

/// An agent that steps name is used for something that it can, and nobody can tell for what; of one that is only asked for
/// by capability, that is known.
fn unused(graph: &Graph, agent: &Agent) -> Vec<Finding> {
    let (about, name) = (agent.version().to_string(), &agent.metadata.name);
    if graph.uses().iter().any(|it| it.names(name)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    if !graph.uses().iter().any(|it| it.by.as_ref().is_ok_and(|by| by.name == *name)) {
        let hint = "take it out of service, or apply the workflow that needs it";
        found.push(finding(Fault::UnusedAgent, &about, "no workflow uses it in any version", hint));
    }
    let idle = |capability: &&String| !graph.uses().iter().any(|it| it.asks_for(capability));
    let idle: Vec<String> = agent.spec.role.capabilities.iter().filter(idle).map(|it| format!("`{it}`")).collect();
    if !idle.is_empty() {
        let message = format!("no workflow asks for {}", idle.join(", "));
        let hint = "leave out of `role.capabilities` what nobody looks for";
        found.push(finding(Fault::UnusedCapability, &about, message, hint));
    }
    found
}

fn list(agents: &BTreeSet<AgentVersion>) -> String {
    agents.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn finding(fault: Fault, about: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Finding {
    Finding { fault, about: about.into(), message: message.into(), hint: hint.into() }
}
