//! Why a process did not become the agent, and how its worker gets to know: by the exit code and the words on stderr.

use std::process::ExitStatus;

use kapelle_types::Code;

/// Nothing was started, because the limits could not be set. Containers use it so too.
const SANDBOX: i32 = 125;
/// The limits are set, and the program could not be started in them. Shells use it so too.
const START: i32 = 127;
/// What the words begin with.
const MARK: &str = "kapelle sandbox: ";

/// Why a process did not become the agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The sandbox cannot be what the rules say.
    #[error("{MARK}{0}")]
    Sandbox(String),
    /// The program cannot be started.
    #[error("{MARK}{0}")]
    Start(String),
}

impl Refusal {
    /// What the process ends with.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        let code = match self {
            Self::Sandbox(_) => SANDBOX,
            Self::Start(_) => START,
        };
        code.to_le_bytes()[0]
    }
}

/// The refusal that the end of a process was, if it was one. An agent that imitates one misnames only its own failure.
pub(crate) fn refused(status: ExitStatus, last_words: &str) -> Option<(Code, &str)> {
    let why = last_words.strip_prefix(MARK)?;
    match status.code()? {
        SANDBOX => Some((Code::AGENT_SANDBOX, why)),
        START => Some((Code::AGENT_START, why)),
        _ => None,
    }
}
