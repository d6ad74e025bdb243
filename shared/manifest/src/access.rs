//! `access` and `runtime.process.limits`: what an agent may touch, and how much of the machine its process may take.
//!
//! Nothing is granted that is not written here; what a process needs to run at all comes from the worker
//! (docs/guides/write-an-agent.md has the list). Only what a worker can enforce has a name: files, ports and variables are
//! those of a process, hosts and tools those of a model agent, whose requests the worker itself makes.

use std::time::Duration;

use kapelle_types::{FolderName, Host, SecretName, ToolName};
use serde::Serialize;

use crate::issue::Issue;
use crate::read::{Issues, Part, optional};
use crate::{Runtime, write};

/// Open files at least: below it most programs do not start.
const FILES_MIN: u32 = 16;
/// Open files at most: what kernels allow without being told otherwise.
const FILES_MAX: u32 = 1_048_576;
/// Bytes of memory at least: below it most interpreters do not start.
const MEMORY_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// Variables that the worker sets; whatever its own environment has for them is not the agent's.
const SET_BY_WORKER: [&str; 3] = ["HOME", "TMPDIR", "PATH"];

/// What an agent may touch; a process agent, beside its own folder. Default: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Access {
    /// Files and folders, relative to the manifest's folder or absolute.
    #[serde(skip_serializing_if = "Granted::is_empty")]
    pub files: Granted<String>,
    /// Folders by names that each worker maps to places of its own.
    #[serde(skip_serializing_if = "Granted::is_empty")]
    pub folders: Granted<FolderName>,
    /// The network.
    #[serde(skip_serializing_if = "Network::is_none")]
    pub network: Network,
    /// Variables of the worker's environment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Secrets, by name; the worker has the values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretName>,
    /// Hosts that a model agent's requests may reach.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<Host>,
    /// Its own tools that a model agent may use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolName>,
}

/// What may be read, and what may be read and written: everything below, if it is a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Granted<T> {
    /// Read only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<T>,
    /// Read and written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write: Vec<T>,
}

/// The network that an agent may use. Default: none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Network {
    /// TCP ports, of any host, that it may connect to.
    pub connect: Vec<u16>,
}

/// How much of the machine one process of an agent may take; what is not named has the worker's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Bytes of private memory.
    #[serde(rename = "memory", serialize_with = "write::optional_size", skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processor time over the life of the process, in whole seconds.
    #[serde(serialize_with = "write::optional_duration", skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Duration>,
    /// Open files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u32>,
    /// Bytes of the largest file that it may write.
    #[serde(rename = "file_size", serialize_with = "write::optional_size", skip_serializing_if = "Option::is_none")]
    pub file_size_bytes: Option<u64>,
}

impl<T> Default for Granted<T> {
    fn default() -> Self {
        Self { read: Vec::new(), write: Vec::new() }
    }
}

impl<T> Granted<T> {
    fn is_empty(&self) -> bool {
        self.read.is_empty() && self.write.is_empty()
    }

    fn read(part: &Part<'_>, issues: &mut Issues, one: fn(&Part<'_>, &mut Issues) -> Option<T>) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let read = fields.optional("read").map_or(Some(Vec::new()), |it| each(&it, issues, one));
        let write = fields.optional("write").map_or(Some(Vec::new()), |it| each(&it, issues, one));
        fields.close(&["execute"], issues);
        Some(Self { read: read?, write: write? })
    }
}

impl Network {
    fn is_none(&self) -> bool {
        self.connect.is_empty()
    }

    fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let connect = fields.optional("connect").map_or(Some(Vec::new()), |it| each(&it, issues, port));
        // The kernel knows addresses and ports, not the names of hosts: nothing would hold a process to them.
        fields.close(&["hosts", "listen"], issues);
        Some(Self { connect: connect? })
    }
}

impl Access {
    /// Whether nothing is granted.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let files = fields.optional("files").map_or(Some(Granted::default()), |it| Granted::read(&it, issues, path));
        let folders =
            fields.optional("folders").map_or(Some(Granted::default()), |it| Granted::read(&it, issues, folder));
        let network = fields.optional("network").map_or(Some(Network::default()), |it| Network::read(&it, issues));
        let env = fields.optional("env").map_or(Some(Vec::new()), |it| each(&it, issues, variable));
        let secrets = fields.optional("secrets").map_or(Some(Vec::new()), |it| each(&it, issues, secret));
        let hosts = fields.optional("hosts").map_or(Some(Vec::new()), |it| each(&it, issues, host));
        let tools =
            fields.optional("tools").map_or(Some(Vec::new()), |it| each(&it, issues, |it, issues| it.name(issues)));
        fields.close(&["models"], issues);
        Some(Self {
            files: files?,
            folders: folders?,
            network: network?,
            env: env?,
            secrets: secrets?,
            hosts: hosts?,
            tools: tools?,
        })
    }

    /// The fields that are granted and would hold nobody: a process is held by the kernel, a model agent by its worker.
    pub(crate) fn idle(&self, runtime: &Runtime) -> Vec<&'static str> {
        let of_process = [
            ("files", !self.files.is_empty()),
            ("folders", !self.folders.is_empty()),
            ("network", !self.network.is_none()),
            ("env", !self.env.is_empty()),
        ];
        let of_model = [("hosts", !self.hosts.is_empty()), ("tools", !self.tools.is_empty())];
        let idle: &[(&str, bool)] = match runtime {
            Runtime::Process(_) => &of_model,
            Runtime::Model(_) => &of_process,
            Runtime::Native {} => &[],
        };
        idle.iter().filter(|(_, granted)| *granted).map(|(name, _)| *name).collect()
    }
}

impl Resources {
    /// Whether every limit is the worker's.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn read(part: &Part<'_>, issues: &mut Issues) -> Option<Self> {
        let mut fields = part.fields(issues)?;
        let memory = optional(fields.optional("memory"), |it| it.size(MEMORY_BYTES_MIN, issues));
        let cpu = optional(fields.optional("cpu"), |it| seconds(it, issues));
        let files = optional(fields.optional("files"), |it| it.count(FILES_MIN, FILES_MAX, issues));
        let file_size = optional(fields.optional("file_size"), |it| it.size(1, issues));
        // The kernel counts the processes of a user, not those of an agent; nothing would hold one agent to a number.
        fields.close(&["processes", "disk"], issues);
        Some(Self { memory_bytes: memory?, cpu: cpu?, files: files?, file_size_bytes: file_size? })
    }
}

fn each<T>(part: &Part<'_>, issues: &mut Issues, one: impl Fn(&Part<'_>, &mut Issues) -> Option<T>) -> Option<Vec<T>> {
    let all: Vec<Option<T>> = part.items(issues)?.iter().map(|it| one(it, issues)).collect();
    all.into_iter().collect()
}

fn path(part: &Part<'_>, issues: &mut Issues) -> Option<String> {
    let text = part.text(issues)?;
    let wrong = if text.contains("${") {
        Some(("is no path", "a path is fixed; for one that differs from run to run, name a folder in `folders`"))
    } else if text.starts_with('~') {
        Some((
            "is no path",
            "write it out; for a place that differs from machine to machine, name a folder in `folders`",
        ))
    } else if text.contains('\0') {
        Some(("has a zero byte", "no file has such a name"))
    } else {
        None
    };
    let Some((what, hint)) = wrong else { return Some(text.to_owned()) };
    issues.push(Issue::rule(&part.pointer, format!("`{}` {what}", text.escape_debug())).hint(hint));
    None
}

fn folder(part: &Part<'_>, issues: &mut Issues) -> Option<FolderName> {
    part.name(issues)
}

fn host(part: &Part<'_>, issues: &mut Issues) -> Option<Host> {
    let text = part.text(issues)?;
    text.parse().map_err(|why| issues.push(Issue::rule(&part.pointer, format!("`{text}` is not a host: {why}")))).ok()
}

fn port(part: &Part<'_>, issues: &mut Issues) -> Option<u16> {
    part.count(1, u32::from(u16::MAX), issues).and_then(|it| u16::try_from(it).ok())
}

fn variable(part: &Part<'_>, issues: &mut Issues) -> Option<String> {
    let text = part.text(issues)?;
    let rest = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.starts_with(|c: char| c.is_ascii_digit()) || !text.chars().all(rest) {
        issues.push(Issue::rule(&part.pointer, format!("`{text}` is not the name of a variable")));
        return None;
    }
    is_free(text, part, issues).then(|| text.to_owned())
}

fn secret(part: &Part<'_>, issues: &mut Issues) -> Option<SecretName> {
    let name: SecretName = part.name(issues)?;
    is_free(&name.variable(), part, issues).then_some(name)
}

/// Whether an agent may have this variable; what the worker and its own settings are called is not its to ask for.
fn is_free(variable: &str, part: &Part<'_>, issues: &mut Issues) -> bool {
    let taken = SET_BY_WORKER.contains(&variable) || variable.starts_with("KAPELLE_");
    if taken {
        let issue = Issue::rule(&part.pointer, format!("the worker itself sets `{variable}`"));
        let hint = if variable.starts_with("KAPELLE_") { "secrets have names in `secrets`" } else { "remove it" };
        issues.push(issue.hint(hint));
    }
    !taken
}

fn seconds(part: &Part<'_>, issues: &mut Issues) -> Option<Duration> {
    let duration = part.duration(issues)?;
    if duration.subsec_millis() != 0 {
        let issue = Issue::rule(&part.pointer, "processor time is limited in whole seconds");
        issues.push(issue.label("not whole").hint("write `1s` or more"));
        return None;
    }
    Some(duration)
}
