//! Setting the limits on this very process, and becoming the agent. Only `sandbox-exec` calls it, and does nothing else.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    make_bitflags,
};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use super::{Refusal, Rules};
use crate::access::Limits;

/// The Landlock that has to be there: files with truncation, and TCP. Linux 6.7.
const REQUIRED: ABI = ABI::V4;
/// Seconds after which a process that survives SIGXCPU is killed.
const CPU_GRACE_SECONDS: u64 = 1;
/// The bit that the x32 calls of x86-64 have in their numbers.
#[cfg(target_arch = "x86_64")]
const X32: libc::c_long = 0x4000_0000;

/// Limits this process to the rules and becomes the command. It returns only if that fails; then nothing was started.
#[must_use]
pub fn exec(rules: &Rules, command: &[OsString]) -> Refusal {
    let Some((program, arguments)) = command.split_first() else {
        return Refusal::Start("there is no command".into());
    };
    if let Err(why) = restrict(rules) {
        return Refusal::Sandbox(why);
    }
    let error = Command::new(program).args(arguments).exec();
    Refusal::Start(error.to_string())
}

/// Whether the kernel has the Landlock that every process agent needs. It restricts nothing.
pub(super) fn supported() -> Result<(), String> {
    handled().map(drop).map_err(unsupported)
}

fn restrict(rules: &Rules) -> Result<(), String> {
    let mut ruleset = handled().map_err(unsupported)?;
    for (paths, access) in [(&rules.execute, executes()), (&rules.read, reads()), (&rules.write, writes())] {
        for path in paths {
            ruleset = allow(ruleset, path, access)?;
        }
    }
    for port in &rules.connect {
        let rule = NetPort::new(*port, AccessNet::ConnectTcp);
        ruleset = ruleset.add_rule(rule).map_err(|e| format!("port {port} cannot be allowed: {e}"))?;
    }
    take(&rules.limits)?;
    let status = ruleset.restrict_self().map_err(unsupported)?;
    let RestrictionStatus { ruleset: enforced, no_new_privs, .. } = status;
    if enforced == RulesetStatus::NotEnforced || !no_new_privs {
        return Err("the kernel took the rules and does not enforce them".into());
    }
    if rules.connect.is_empty() { without_sockets() } else { Ok(()) }
}

/// Everything that is denied unless a rule allows it. What later kernels can deny too is denied there.
fn handled() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(REQUIRED))?
        .handle_access(AccessNet::from_all(REQUIRED))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::IoctlDev)?
        .scope(make_bitflags!(Scope::{AbstractUnixSocket | Signal}))?
        .set_compatibility(CompatLevel::HardRequirement)
        .create()
}

fn unsupported(error: RulesetError) -> String {
    format!("Landlock cannot do what is needed ({error})")
}

fn reads() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

fn executes() -> BitFlags<AccessFs> {
    reads() | AccessFs::Execute
}

/// Everything but running what lies there, and making devices.
fn writes() -> BitFlags<AccessFs> {
    AccessFs::from_all(REQUIRED) & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock)
}

fn allow(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, String> {
    let refused = |e: &dyn std::fmt::Display| format!("access to {} cannot be allowed: {e}", path.display());
    // Rights on what lies below make no sense for a file, and the kernel refuses them.
    let is_folder = std::fs::metadata(path).map_err(|e| refused(&e))?.is_dir();
    let access = if is_folder { access } else { access & AccessFs::from_file(REQUIRED) };
    let place = PathFd::new(path).map_err(|e| refused(&e))?;
    ruleset.add_rule(PathBeneath::new(place, access)).map_err(|e| refused(&e))
}

/// Takes the limits on; never more than this process itself may.
fn take(limits: &Limits) -> Result<(), String> {
    let Limits { memory_bytes, cpu_seconds, files, file_size_bytes } = *limits;
    // Private memory that can be written: what interpreters only reserve, which is a multiple, does not count.
    limit(Resource::RLIMIT_DATA, memory_bytes, 0)?;
    limit(Resource::RLIMIT_NOFILE, files.into(), 0)?;
    limit(Resource::RLIMIT_FSIZE, file_size_bytes, 0)?;
    // The memory of an agent may hold secrets; it is not written anywhere when it crashes.
    limit(Resource::RLIMIT_CORE, 0, 0)?;
    cpu_seconds.map_or(Ok(()), |seconds| limit(Resource::RLIMIT_CPU, seconds, CPU_GRACE_SECONDS))
}

fn limit(resource: Resource, soft: u64, more: u64) -> Result<(), String> {
    let set = || {
        let (_, max) = getrlimit(resource)?;
        setrlimit(resource, soft.min(max), soft.saturating_add(more).min(max))
    };
    set().map_err(|e| format!("{resource:?} cannot be set to {soft}: {e}"))
}

/// No sockets: Landlock holds TCP, and neither UDP nor the sockets that other programs have in the file system.
fn without_sockets() -> Result<(), String> {
    let calls = [libc::SYS_socket, libc::SYS_io_uring_setup];
    #[cfg(target_arch = "x86_64")]
    let calls = [calls[0], calls[1], calls[0] | X32, calls[1] | X32];
    let denied: BTreeMap<i64, Vec<_>> = calls.into_iter().map(|call| (call, Vec::new())).collect();
    let (otherwise, errno) = (SeccompAction::Allow, libc::EACCES.unsigned_abs());
    let program = std::env::consts::ARCH
        .try_into()
        .and_then(|arch| SeccompFilter::new(denied, otherwise, SeccompAction::Errno(errno), arch)?.try_into());
    let program: BpfProgram = program.map_err(|e| format!("sockets cannot be denied: {e}"))?;
    seccompiler::apply_filter(&program).map_err(|e| format!("sockets cannot be denied: {e}"))
}
