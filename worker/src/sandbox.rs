//! The sandbox of a process agent: what it may touch on this machine, and how it is kept to that.
//!
//! ```text
//!   access of the manifest ─┐
//!   what programs need ─────┼─▶ Rules ──JSON──▶ kapelle sandbox-exec: limits itself (Landlock, seccomp, rlimits)
//!   its folder, its TMPDIR ─┘                        └── and becomes the agent: same pid, same pipes
//! ```
//!
//! A process of its own does it, because a limit that is once set is inherited and never given back, and because setting it
//! between fork and exec would need unsafe code. Whatever cannot be set refuses the start: nothing runs with less.

#[cfg(target_os = "linux")]
mod enter;
#[cfg(not(target_os = "linux"))]
#[path = "sandbox/elsewhere.rs"]
mod enter;
mod machine;
mod refusal;
mod rules;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use kapelle_types::{Code, Diagnosis};

pub use enter::exec;
pub use refusal::Refusal;
pub use rules::Rules;

use crate::access::Access;
use crate::config::{Environment, Folders, ProcessSpec};
pub(crate) use refusal::refused;

/// The first argument of the program that limits itself and then becomes the agent.
pub const COMMAND: &str = "sandbox-exec";

/// Whether process agents are kept to their access.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Sandbox {
    /// Nobody has decided: process agents are refused.
    #[default]
    Undecided,
    /// They are started by this program, whose `sandbox-exec` is [`exec`].
    Program(PathBuf),
    /// They are not: they may do whatever the worker may.
    Off,
}

impl Sandbox {
    /// Whether this machine can do what was decided.
    pub(crate) fn check(&self) -> Result<(), Diagnosis> {
        let Self::Program(_) = self else { return Ok(()) };
        enter::supported().map_err(|why| {
            let message = format!("This machine has no sandbox for process agents: {why}.");
            Diagnosis::new(Code::AGENT_SANDBOX, message).hint(
                "It takes Linux 6.7 or later with Landlock. `--sandbox off` serves agents without: \
                 they may then do whatever the worker may.",
            )
        })
    }
}

/// How the processes of one agent are started.
#[derive(Debug, Clone)]
pub(crate) struct Cage {
    program: PathBuf,
    rules: Rules,
}

impl Cage {
    /// # Errors
    /// Nobody has decided, or the agent needs a folder that has no place on this worker.
    pub(crate) fn of(
        spec: &ProcessSpec,
        sandbox: &Sandbox,
        folders: &Folders,
        environment: &Environment,
    ) -> Result<Option<Self>, Diagnosis> {
        let program = match sandbox {
            Sandbox::Program(program) => program.clone(),
            Sandbox::Off => return Ok(None),
            Sandbox::Undecided => {
                let message = "This worker was set up without a sandbox, so it starts no process agents.";
                return Err(Diagnosis::new(Code::AGENT_SANDBOX, message).hint("Set `Config::sandbox`."));
            }
        };
        Ok(Some(Self { program, rules: rules(spec, folders, environment)? }))
    }

    /// The program and the arguments that start a command in this cage, with a folder of its own to write into.
    pub(crate) fn wrap(&self, command: &[String], temp_dir: &Path) -> (PathBuf, Vec<OsString>) {
        let mut rules = self.rules.clone();
        rules.write.push(temp_dir.to_owned());
        let own = [COMMAND.into(), rules.to_json().into(), "--".into()];
        (self.program.clone(), own.into_iter().chain(command.iter().map(OsString::from)).collect())
    }
}

/// Everything that the agent may touch, but for its temporary folder.
fn rules(spec: &ProcessSpec, folders: &Folders, environment: &Environment) -> Result<Rules, Diagnosis> {
    let Access { read, write, read_folders, write_folders, connect, .. } = &spec.access;
    let mut rules = machine::rules();
    rules.execute.push(spec.dir.clone());
    if let Some(program) = spec.command.first() {
        rules.execute.extend(machine::home_of(program, &spec.dir, environment.get("PATH")));
    }
    rules.read.extend(read.iter().map(|path| spec.dir.join(path)));
    rules.write.extend(write.iter().map(|path| spec.dir.join(path)));
    for name in read_folders {
        rules.read.extend_from_slice(folders.find(name)?);
    }
    for name in write_folders {
        rules.write.extend_from_slice(folders.find(name)?);
    }
    rules.connect.clone_from(connect);
    rules.limits = spec.limits.clone();
    Ok(rules)
}
