//! `kind: Agent`: a capability that does work, with its role, its contract and how it runs.

use kapelle_types::{AgentName, AgentVersion, RetryPolicy};
use serde::Serialize;

use crate::access::{Access, Resources};
use crate::issue::Issue;
use crate::limits::Limits;
use crate::metadata::Metadata;
use crate::model::Model;
use crate::read::{Fields, Issues, Part};
use crate::risk::Risk;
use crate::{Contract, contracts, retry, write};

/// An agent as people declare it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agent {
    /// Name, version, owner.
    pub metadata: Metadata<AgentName>,
    /// What it is and does.
    pub spec: AgentSpec,
}

/// What an agent is and does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgentSpec {
    /// What it is for and how much of it there may be.
    pub role: Role,
    /// What it takes.
    pub input: Contract,
    /// What it gives.
    pub output: Contract,
    /// How much harm it can do, if its owner says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
    /// What it may touch.
    #[serde(skip_serializing_if = "Access::is_none")]
    pub access: Access,
    /// How it is run.
    pub runtime: Runtime,
    /// How a failed step is retried, unless the step says otherwise.
    #[serde(serialize_with = "write::retry")]
    pub retry: RetryPolicy,
}

/// What an agent is for, and the limits that the platform enforces.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Role {
    /// One sentence for people.
    pub purpose: String,
    /// What it answers for.
    pub responsibilities: Vec<String>,
    /// What it can do, as names that others look for.
    pub capabilities: Vec<String>,
    /// The limits.
    pub limits: Limits,
}

/// How an agent is run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// A program that speaks JSON over its standard input and output.
    Process(Process),
    /// Code that is built into a worker and registered there by the agent's name.
    Native {},
    /// A language model that a worker asks.
    Model(Box<Model>),
}

/// A program that the worker starts in the manifest's folder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Process {
    /// The program and its arguments; no shell is between.
    pub command: Vec<String>,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// How much of the machine one process may take.
    #[serde(skip_serializing_if = "Resources::is_default")]
    pub limits: Resources,
}

/// How a process is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// One process a slot, one JSON object a line, task after task.
    Jsonl,
    /// One process a task.
    Once,
}

impl Agent {
    /// Name and version together.
    #[must_use]
    pub fn version(&self) -> AgentVersion {
        AgentVersion { name: self.metadata.name.clone(), version: self.metadata.version.clone() }
    }

    /// Whether it declares this capability.
    #[must_use]
    pub fn declares(&self, capability: &str) -> bool {
        self.spec.role.capabilities.iter().any(|it| it == capability)
    }

    pub(crate) fn read(mut document: Fields<'_>, issues: &mut Issues) -> Option<Self> {
        let metadata = document.required("metadata", issues).and_then(|it| Metadata::read(&it, issues));
        let spec = document.required("spec", issues).and_then(|it| AgentSpec::read(&it, issues));
        document.close(&[], issues);
        Some(Self { metadata: metadata?, spec: spec? })
    }
}

impl AgentSpec {
    /// What DESIGN knows and this version does not.
    const LATER: &[&str] = &["fallback", "cost", "approval", "breaker", "cache", "model", "memory"];

    fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let role = fields.required("role", issues).and_then(|it| Role::read(&it, issues));
        let input = fields.optional("input").map_or(Some(Contract::any()), |it| contracts::read(&it, issues));
        let output = fields.optional("output").map_or(Some(Contract::any()), |it| contracts::read(&it, issues));
        let risk = fields.optional("risk").map(|it| Risk::read(&it, issues));
        let access_part = fields.optional("access");
        let access = access_part.as_ref().map_or(Some(Access::default()), |it| Access::read(it, issues));
        let runtime = fields.required("runtime", issues).and_then(|it| Runtime::read(&it, issues));
        if let (Some(part), Some(runtime)) = (access_part, &runtime) {
            idle_access(&part, access.as_ref(), runtime, issues);
        }
        let retry = fields.optional("retry").map_or(Some(RetryPolicy::default()), |it| retry::read(&it, issues));
        fields.close(Self::LATER, issues);
        let risk = match risk {
            Some(risk) => Some(risk?),
            None => None,
        };
        let (input, output, access) = (input?, output?, access?);
        Some(Self { role: role?, input, output, risk, access, runtime: runtime?, retry: retry? })
    }
}

/// Reports what is granted and would hold nobody.
fn idle_access(part: &Part<'_>, access: Option<&Access>, runtime: &Runtime, issues: &mut Issues) {
    const HINT: &str = "remove it; nothing would enforce it";
    if let Runtime::Native {} = runtime {
        let issue = Issue::rule(&part.pointer, "`access` limits a process, and this agent is code inside a worker");
        issues.push(issue.on_key().hint(HINT));
    }
    let whose = if let Runtime::Model(_) = runtime { "a process" } else { "a model agent" };
    for name in access.map(|it| it.idle(runtime)).unwrap_or_default() {
        let issue = Issue::rule(&part.pointer.field(name), format!("`{name}` limits {whose}, and this agent is none"));
        issues.push(issue.on_key().hint(HINT));
    }
}

impl Role {
    fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let purpose = fields.required("purpose", issues).and_then(|it| it.text(issues)).map(str::to_owned);
        let responsibilities = fields.optional("responsibilities").map_or(Some(vec![]), |it| texts(&it, issues));
        let capabilities = fields.optional("capabilities").map_or(Some(vec![]), |it| texts(&it, issues));
        let limits = fields.optional("limits").map_or(Some(Limits::default()), |it| Limits::read(&it, issues));
        fields.close(&[], issues);
        Some(Self {
            purpose: purpose?,
            responsibilities: responsibilities?,
            capabilities: capabilities?,
            limits: limits?,
        })
    }
}

impl Runtime {
    const LATER: &[&str] = &["http", "mcp", "a2a"];

    fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let (process, native, model) =
            (fields.optional("process"), fields.optional("native"), fields.optional("model"));
        let is_native = fields.contains("native");
        let before = issues.len();
        fields.close(Self::LATER, issues);
        match (process, is_native, model) {
            (Some(process), false, None) => Process::read(&process, issues).map(Self::Process),
            (None, false, Some(model)) => Model::read(&model, issues).map(|it| Self::Model(Box::new(it))),
            (None, true, None) => {
                if let Some(part) = native {
                    part.fields(issues)?.close(&[], issues);
                }
                Some(Self::Native {})
            }
            // What is there instead has been reported already.
            (None, false, None) if issues.len() > before => None,
            (None, false, None) => {
                let issue = Issue::shape(&part.pointer, "the runtime says how the agent is run, and names nothing");
                let hint = "write `process: { command: […] }`, `model: { … }` or `native: {}`";
                issues.push(issue.on_key().hint(hint));
                None
            }
            _ => {
                let issue = Issue::shape(&part.pointer, "an agent has one runtime, this one has several");
                issues.push(issue.on_key().hint("leave one of `process`, `model` and `native`"));
                None
            }
        }
    }
}

impl Process {
    fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let command = fields.required("command", issues).and_then(|it| {
            let command = texts(&it, issues)?;
            if command.is_empty() {
                let issue = Issue::rule(&it.pointer, "the command is empty");
                issues.push(issue.hint("name the program and its arguments: `[python3, agent.py]`"));
                return None;
            }
            Some(command)
        });
        let words = [("jsonl", Protocol::Jsonl), ("once", Protocol::Once)];
        let protocol = fields.optional("protocol").map_or(Some(Protocol::Jsonl), |it| it.word(&words, issues));
        let limits_part = fields.optional("limits");
        let limits = limits_part.as_ref().map_or(Some(Resources::default()), |it| Resources::read(it, issues));
        fields.close(&["working_directory"], issues);
        if let (Some(part), Some(Protocol::Jsonl), Some(Resources { cpu: Some(_), .. })) =
            (limits_part, protocol, &limits)
        {
            let message = "`cpu` counts the life of a process, which with `jsonl` does many tasks";
            let hint = "set `protocol: once`, or leave it out: `timeout` bounds every attempt";
            issues.push(Issue::rule(&part.pointer.field("cpu"), message).hint(hint));
        }
        Some(Self { command: command?, protocol: protocol?, limits: limits? })
    }
}

fn texts(part: &Part<'_>, issues: &mut Issues) -> Option<Vec<String>> {
    let texts: Vec<Option<String>> = part.items(issues)?.iter().map(|it| Some(it.text(issues)?.to_owned())).collect();
    texts.into_iter().collect()
}
