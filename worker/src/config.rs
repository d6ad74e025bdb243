//! What a worker is started with.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kapelle_sdk::Agent;
use kapelle_types::AgentVersion;

use crate::Error;

/// Slots of a worker on a machine with few cores: agents mostly wait.
const SLOTS_MIN: usize = 8;
/// Slots at most: each may be a process, and each holds a task in memory.
const SLOTS_MAX: usize = 65_536;
/// How long tasks that run may go on after a drain was asked for. Kubernetes kills after 30 s by default.
const DRAIN_GRACE: Duration = Duration::from_secs(30);
/// What a process agent may inherit; everything else (tokens, keys, proxies) stays with the worker.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

/// How a worker is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its id, in reports, presence and logs: letters, digits, `-` and `_`. Default: `worker-` and a UUID.
    pub id: String,
    /// How many tasks it executes at once, over all its agents. Default: twice the cores, at least 8.
    pub slots: usize,
    /// How long a drain waits for what runs. Default: 30 s.
    pub drain_grace: Duration,
    /// The host's name, for people. Default: what the system says.
    pub host: String,
    /// What process agents inherit. Default: PATH, HOME, LANG, TZ and TMPDIR of this process.
    pub environment: Environment,
    /// The agents from the start on; [`crate::Handle::add_agent`] adds more. Default: none.
    pub agents: Vec<AgentSpec>,
}

impl Config {
    /// The defaults, with what they take from this machine and this process's environment.
    #[must_use]
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            id: format!("worker-{}", uuid::Uuid::now_v7()),
            slots: (2 * cores).max(SLOTS_MIN),
            drain_grace: DRAIN_GRACE,
            host: if host.trim().is_empty() { "unknown".into() } else { host.trim().into() },
            environment: Environment::inherited(),
            agents: Vec::new(),
        }
    }

    /// The same with one more agent that is a value in this process.
    #[must_use]
    pub fn native(mut self, version: AgentVersion, agent: impl Agent + 'static) -> Self {
        self.agents.push(AgentSpec::new(version, RuntimeSpec::Native(Arc::new(agent))));
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let token = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.id.is_empty() || !self.id.chars().all(token) {
            return Err(Error::Config(format!(
                "the worker id `{}` has other characters than letters, digits, - _",
                self.id
            )));
        }
        if !(1..=SLOTS_MAX).contains(&self.slots) {
            return Err(Error::Config(format!("slots is {}; 1 to {SLOTS_MAX} are possible", self.slots)));
        }
        self.agents.iter().try_for_each(AgentSpec::check)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::new()
    }
}

/// One agent version that a worker serves.
#[derive(Debug, Clone)]
pub struct AgentSpec {
    /// Which.
    pub version: AgentVersion,
    /// How it is executed.
    pub runtime: RuntimeSpec,
    /// How many of its tasks this worker executes at once; never more than its slots. Default: no limit of its own.
    pub concurrency: Option<usize>,
}

impl AgentSpec {
    /// An agent without a limit of its own.
    #[must_use]
    pub const fn new(version: AgentVersion, runtime: RuntimeSpec) -> Self {
        Self { version, runtime, concurrency: None }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let RuntimeSpec::Process(process) = &self.runtime else { return Ok(()) };
        if process.command.first().is_none_or(String::is_empty) {
            return Err(Error::Config(format!("{}: the command is empty", self.version)));
        }
        Ok(())
    }
}

/// How an agent is executed.
#[derive(Clone)]
pub enum RuntimeSpec {
    /// By a value in this process.
    Native(Arc<dyn Agent>),
    /// By a program of its own.
    Process(ProcessSpec),
}

impl fmt::Debug for RuntimeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native(_) => f.write_str("Native"),
            Self::Process(spec) => spec.fmt(f),
        }
    }
}

/// A program that speaks JSON lines on stdin and stdout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSpec {
    /// The program and its arguments. No shell is involved.
    pub command: Vec<String>,
    /// The folder that it is started in: the manifest's.
    pub dir: PathBuf,
    /// How many tasks one process does.
    pub protocol: Protocol,
}

/// How many tasks one process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// Many, one after the other: started once a slot.
    #[default]
    Jsonl,
    /// One: started for each task, its stdin ends with it.
    Once,
}

/// The variables that every process agent gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment(pub BTreeMap<String, OsString>);

impl Environment {
    /// Takes from this process what an agent may inherit. Call it once, at the edge.
    #[must_use]
    pub fn inherited() -> Self {
        Self(INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var_os(name)?))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_configurations_are_refused() {
        assert!(Config::new().check().is_ok());
        for bad in [
            Config { id: "a.b".into(), ..Config::new() },
            Config { id: String::new(), ..Config::new() },
            Config { slots: 0, ..Config::new() },
            Config { slots: SLOTS_MAX + 1, ..Config::new() },
        ] {
            assert!(matches!(bad.check(), Err(Error::Config(_))), "{bad:?}");
        }
        let process = ProcessSpec { command: vec![], dir: ".".into(), protocol: Protocol::Once };
        let spec = AgentSpec::new("a@1.0.0".parse().unwrap(), RuntimeSpec::Process(process));
        assert!(Config { agents: vec![spec], ..Config::new() }.check().is_err());
    }
}
