//! How a child breaks the protocol, and the failure that this is: named by what is known for certain.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use kapelle_engine::Failure;
use kapelle_types::Code;
use nix::sys::signal::Signal;

use super::Launch;
use super::line::NoLine;
use crate::failure;
use crate::sandbox::refused;

/// What programs say, as their last words, when they get no more memory.
const OUT_OF_MEMORY: [&str; 6] = [
    "MemoryError",
    "OutOfMemoryError",
    "Cannot allocate memory",
    "std::bad_alloc",
    "heap out of memory",
    "memory allocation of ",
];

/// How a child broke the protocol.
#[derive(Debug)]
pub(super) enum Broken {
    /// It could not be started.
    Start(String),
    /// Its stdout ended without an answer.
    Ended,
    /// It wrote something else.
    Garbage(String),
    /// It wrote a line above the limit.
    TooLong,
    /// It used up more than it may, or says what makes no sense about it.
    Refused(Failure),
}

impl Broken {
    pub(super) fn of(no_line: NoLine) -> Self {
        match no_line {
            NoLine::End => Self::Ended,
            NoLine::TooLong => Self::TooLong,
        }
    }

    /// The failure. `status` and `words` are what a child left that has ended.
    pub(super) fn into_failure(self, launch: &Launch, status: Option<ExitStatus>, words: &str) -> Failure {
        match self {
            Self::Start(why) => {
                let (command, dir) = (launch.spec.command.join(" "), launch.spec.dir.display());
                let message = format!("`{command}` cannot be started in {dir}: {why}");
                failure::transient(Code::AGENT_START, message)
            }
            Self::Ended => ended(launch, status, words),
            Self::Garbage(what) => failure::transient(Code::AGENT_GARBAGE, format!("the agent wrote {what}")),
            Self::Refused(failure) => failure,
            Self::TooLong => {
                let message = "the agent wrote a line above the payload limit";
                failure::permanent(Code::AGENT_OUTPUT_TOO_LARGE, message)
            }
        }
    }
}

fn ended(launch: &Launch, status: Option<ExitStatus>, words: &str) -> Failure {
    if launch.cage.is_some() {
        match status.and_then(|status| refused(status, words)) {
            Some((Code::AGENT_START, why)) => return Broken::Start(why.to_owned()).into_failure(launch, None, ""),
            Some((code, why)) => {
                let message = format!("the agent was not started, because it cannot be kept to its access: {why}");
                return failure::transient(code, message);
            }
            None => {}
        }
        if let Some(what) = exceeded(launch, status, words) {
            return failure::transient(Code::AGENT_RESOURCES, format!("the agent {what}"));
        }
    }
    let how = status.map_or_else(|| "closed its stdout".to_owned(), |s| format!("ended with {s}"));
    failure::transient(Code::AGENT_EXITED, format!("the agent {how} without an answer"))
}

/// The limit that a child died of. The kernel says so by a signal, except for memory: there it only gives no more.
fn exceeded(launch: &Launch, status: Option<ExitStatus>, words: &str) -> Option<String> {
    let limits = &launch.spec.limits;
    let status = status?;
    match status.signal().and_then(|number| Signal::try_from(number).ok()) {
        Some(Signal::SIGXCPU) => {
            let seconds = limits.cpu_seconds.unwrap_or_default();
            Some(format!("used up its {seconds} s of processor time (`limits.cpu`)"))
        }
        Some(Signal::SIGXFSZ) => {
            Some(format!("wrote a file above {} bytes (`limits.file_size`)", limits.file_size_bytes))
        }
        _ if !status.success() && OUT_OF_MEMORY.iter().any(|text| words.contains(text)) => {
            let bytes = limits.memory_bytes;
            Some(format!(
                "ended with {status} and says that it got no more memory; its limit is {bytes} bytes (`limits.memory`)"
            ))
        }
        _ => None,
    }
}
