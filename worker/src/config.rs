//! What a worker is started with.

mod model;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kapelle_sdk::Agent;
use kapelle_types::{AgentVersion, Code, Diagnosis, FolderName};

use crate::Error;
use crate::access::{Access, Limits};
use crate::sandbox::Sandbox;

pub use model::ModelSpec;

/// Slots of a worker on a machine with few cores: agents mostly wait.
const SLOTS_MIN: usize = 8;
/// Slots at most: each may be a process, and each holds a task in memory.
const SLOTS_MAX: usize = 65_536;
/// How long tasks that run may go on after a drain was asked for. Kubernetes kills after 30 s by default.
const DRAIN_GRACE: Duration = Duration::from_secs(30);
/// What every process agent inherits; everything else (tokens, keys, proxies) has to be in its `access`.
const INHERITED: [&str; 3] = ["PATH", "LANG", "TZ"];
/// How texts, numbers and dates are written: the other variables that every process agent inherits.
const INHERITED_PREFIX: &str = "LC_";

/// How a worker is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its id, in reports, presence and logs: letters, digits, `-` and `_`; or two such with a dot between, the name of the
    /// credentials that several share and which of them it is. Default: `worker-` and a UUID.
    pub id: String,
    /// How many tasks it executes at once, over all its agents. Default: twice the cores, at least 8.
    pub slots: usize,
    /// How long a drain waits for what runs. Default: 30 s.
    pub drain_grace: Duration,
    /// The host's name, for people. Default: what the system says.
    pub host: String,
    /// What process agents can be given of the environment. Default: that of this process.
    pub environment: Environment,
    /// Whether process agents are kept to their access. Default: nobody has decided, and none is started.
    pub sandbox: Sandbox,
    /// Where secrets lie, one file each. Default: only the environment has them, as `KAPELLE_SECRET_<NAME>`.
    pub secrets_dir: Option<PathBuf>,
    /// Where the folders are that agents name. Default: there is none.
    pub folders: Folders,
    /// Where each process of an agent gets a folder of its own while it lives. Default: the system's.
    pub temp_dir: PathBuf,
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
            environment: Environment::of_this_process(),
            sandbox: Sandbox::default(),
            secrets_dir: None,
            folders: Folders::default(),
            temp_dir: std::env::temp_dir(),
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
        let (name, instance) = self.id.split_once('.').unwrap_or((&self.id, "0"));
        let is_token =
            |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
        if !is_token(name) || !is_token(instance) {
            return Err(Error::Config(format!(
                "the worker id `{}` is not letters, digits, - and _, or two such with a dot between",
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
    /// By asking a language model.
    Model(Box<ModelSpec>),
    /// By nobody: every attempt fails for this reason, so that its run says what is missing instead of waiting.
    Refused(Diagnosis),
}

impl fmt::Debug for RuntimeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native(_) => f.write_str("Native"),
            Self::Process(spec) => spec.fmt(f),
            Self::Model(spec) => write!(f, "Model({} at {})", spec.model.model, spec.model.endpoint),
            Self::Refused(why) => write!(f, "Refused({why})"),
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
    /// What it may touch beside that folder.
    pub access: Access,
    /// How much it may take.
    pub limits: Limits,
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

/// The variables of the worker. Call [`Environment::of_this_process`] once, at the edge.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be secrets.
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// Takes them from this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        std::env::vars_os().collect()
    }

    /// The value of one.
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.get(name).map(OsString::as_os_str)
    }

    /// Those that every process agent gets, and those that this one may have besides.
    pub(crate) fn of(&self, names: &[String]) -> BTreeMap<String, OsString> {
        let inherited = |name: &str| INHERITED.contains(&name) || name.starts_with(INHERITED_PREFIX);
        let given = self.0.iter().filter(|(name, _)| inherited(name) || names.contains(name));
        given.map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        let named = variables.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Self(named.collect())
    }
}

/// Where named folders are on this machine. One name may have several places.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Folders(BTreeMap<FolderName, Vec<PathBuf>>);

impl Folders {
    /// Adds a place.
    pub fn add(&mut self, name: FolderName, place: PathBuf) {
        self.0.entry(name).or_default().push(place);
    }

    /// The places of a folder.
    pub(crate) fn find(&self, name: &FolderName) -> Result<&[PathBuf], Diagnosis> {
        self.0.get(name).map(Vec::as_slice).ok_or_else(|| {
            let message = format!("The agent needs the folder `{name}`, which has no place on this worker.");
            Diagnosis::new(Code::AGENT_SANDBOX, message).hint(format!("Start the worker with `--folder {name}=DIR`."))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_configurations_are_refused() {
        assert!(Config::new().check().is_ok());
        for bad in [
            Config { id: "a.b.c".into(), ..Config::new() },
            Config { id: String::new(), ..Config::new() },
            Config { slots: 0, ..Config::new() },
            Config { slots: SLOTS_MAX + 1, ..Config::new() },
        ] {
            assert!(matches!(bad.check(), Err(Error::Config(_))), "{bad:?}");
        }
        let process = ProcessSpec {
            command: vec![],
            dir: ".".into(),
            protocol: Protocol::Once,
            access: Access::default(),
            limits: Limits::default(),
        };
        let spec = AgentSpec::new("a@1.0.0".parse().unwrap(), RuntimeSpec::Process(process));
        assert!(Config { agents: vec![spec], ..Config::new() }.check().is_err());
    }

    #[test]
    fn an_agent_gets_no_variable_that_it_was_not_given() {
        let all = [("PATH", "/bin"), ("LC_ALL", "C"), ("HOME", "/root"), ("TOKEN", "t"), ("KAPELLE_SECRET_A", "s")];
        let all: Environment = all.map(|(name, value)| (name.into(), value.into())).into_iter().collect();
        let names = |names: &[String]| all.of(names).into_keys().collect::<Vec<_>>();
        assert_eq!(names(&[]), ["LC_ALL", "PATH"]);
        assert_eq!(names(&["TOKEN".into(), "ABSENT".into()]), ["LC_ALL", "PATH", "TOKEN"]);
        assert!(!format!("{all:?}").contains("/root"), "values are not shown");
    }
}
