//! Who does a step: an agent by its name, or whichever agent declares a capability.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use kapelle_types::{AgentName, Code, InvalidName};
use semver::VersionReq;
use serde::{Serialize, Serializer};

use crate::Agent;
use crate::catalog::Catalog;
use crate::issue::{Issue, suggestion};
use crate::read::{Issues, Part};

/// Who does a step. Written as the step's field `agent` or `capability`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Performer {
    /// This agent, in one of these versions.
    Agent(AgentRequirement),
    /// The agent that declares this capability, in its highest version that does.
    Capability(String),
}

/// An agent and the versions of it that will do: `licence-review@^1`; the name alone takes any.
pub type AgentRequirement = Requirement<AgentName>;

/// What is registered by a name, and the versions of it that will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement<N> {
    /// The name.
    pub name: N,
    /// The versions; the highest registered one that matches is taken.
    pub versions: VersionReq,
}

/// Why nobody can do a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Nobody {
    /// The stable code.
    pub code: Code,
    /// What is missing, as a sentence.
    pub message: String,
    /// The same in two or three words.
    pub label: &'static str,
    /// The way out; may be empty.
    pub hint: String,
}

impl Performer {
    /// The step's field that names it.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Agent(_) => "agent",
            Self::Capability(_) => "capability",
        }
    }

    /// The agent version that does the step now: the highest that matches and is no pre-release, unless one is asked for.
    ///
    /// # Errors
    /// There is no such agent or version, nobody declares the capability, or several agents do.
    pub fn resolve(&self, catalog: &dyn Catalog) -> Result<Arc<Agent>, Nobody> {
        match self {
            Self::Agent(wanted) => catalog.agent(&wanted.name, &wanted.versions).ok_or_else(|| wanted.missing(catalog)),
            Self::Capability(wanted) => match catalog.capable(wanted).as_slice() {
                [only] => Ok(Arc::clone(only)),
                [] => Err(undeclared(wanted, catalog)),
                several => Err(ambiguous(wanted, several)),
            },
        }
    }

    /// Reads the step's field `agent` or `capability`.
    pub(crate) fn read(field: &str, part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        match field {
            "capability" => Some(Self::Capability(part.text(issues)?.to_owned())),
            _ => read_agent(part, issues).map(Self::Agent),
        }
    }
}

impl AgentRequirement {
    fn missing(&self, catalog: &dyn Catalog) -> Nobody {
        let names = catalog.agent_names();
        if names.contains(&self.name) {
            let highest = catalog.agent(&self.name, &VersionReq::STAR);
            let hint = highest.map_or(String::new(), |it| format!("the highest version is {}", it.metadata.version));
            let mut retired = catalog.retired(&self.name);
            retired.retain(|it| self.versions.matches(it.semver()));
            if !retired.is_empty() {
                let retired: Vec<String> = retired.iter().map(ToString::to_string).collect();
                let (name, versions, retired) = (&self.name, &self.versions, retired.join(", "));
                let message = format!("of the agent `{name}` only what is out of use matches `{versions}`: {retired}");
                return Nobody { code: Code::AGENT_RETIRED, message, label: "out of use", hint };
            }
            let message = format!("no version of the agent `{}` matches `{}`", self.name, self.versions);
            return Nobody { code: Code::UNKNOWN_AGENT, message, label: "no such version", hint };
        }
        let hint = match suggestion(self.name.as_str(), names.iter().map(|it| it.as_str())) {
            hint if hint.is_empty() => "no agents are registered; apply their manifests first, or together".to_owned(),
            hint => hint,
        };
        let message = format!("there is no agent `{}`", self.name);
        Nobody { code: Code::UNKNOWN_AGENT, message, label: "no such agent", hint }
    }
}

fn undeclared(capability: &str, catalog: &dyn Catalog) -> Nobody {
    let declared = catalog.capabilities();
    let hint = match suggestion(capability, declared.iter().map(String::as_str)) {
        hint if hint.is_empty() => "an agent declares what it can in `role.capabilities`".to_owned(),
        hint => hint,
    };
    let message = format!("no agent declares the capability `{capability}`");
    Nobody { code: Code::UNKNOWN_AGENT, message, label: "nobody can", hint }
}

fn ambiguous(capability: &str, several: &[Arc<Agent>]) -> Nobody {
    let names: Vec<String> = several.iter().map(|agent| format!("`{}`", agent.metadata.name)).collect();
    let message = format!("several agents declare the capability `{capability}`: {}", names.join(", "));
    let hint = several
        .first()
        .map_or(String::new(), |it| format!("name the one that is meant: `agent: {}`", it.metadata.name));
    Nobody { code: Code::UNKNOWN_AGENT, message, label: "not clear who", hint }
}

impl<N: fmt::Display> fmt::Display for Requirement<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.versions == VersionReq::STAR {
            true => write!(f, "{}", self.name),
            false => write!(f, "{}@{}", self.name, self.versions),
        }
    }
}

impl<N: fmt::Display> Serialize for Requirement<N> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Why a text is not a name with versions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRequirement(pub(crate) String);

impl<N: FromStr<Err = InvalidName>> FromStr for Requirement<N> {
    type Err = InvalidRequirement;

    fn from_str(text: &str) -> Result<Self, InvalidRequirement> {
        let (name, versions) = text.split_once('@').unwrap_or((text, "*"));
        let name = name.parse().map_err(|invalid| InvalidRequirement(format!("{invalid}")))?;
        let short: String = versions.chars().take(40).collect();
        let versions = VersionReq::parse(versions).map_err(|_| {
            InvalidRequirement(format!("`{short}` does not say versions: write `^1`, `=1.2.0`, `>=1.2, <3` or `*`"))
        })?;
        Ok(Self { name, versions })
    }
}

/// Reads an agent and the versions of it that will do.
pub(crate) fn read_agent(part: &Part<'_>, issues: &mut Issues) -> Option<AgentRequirement> {
    let text = part.text(issues)?;
    text.parse()
        .map_err(|InvalidRequirement(why)| {
            let issue = Issue::rule(&part.pointer, why);
            issues.push(
                issue.label("not an agent").hint("write the agent's name and the versions that will do: `name@^1`"),
            );
        })
        .ok()
}
