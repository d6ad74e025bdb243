//! What a command's end tells the script that called it.

use std::process::ExitCode;

use kapelle_types::Code;

/// The exit codes of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked.
    Ok = 0,
    /// It could not, or what it asked about failed.
    Failed = 1,
    /// The command line or a request is malformed.
    Usage = 2,
    /// Not allowed.
    Denied = 3,
    /// There is no such thing.
    NotFound = 4,
    /// Somebody who should answer does not; the same command may work later.
    Unavailable = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// The exit code that goes with an error code.
    pub(crate) fn of(code: Code) -> Self {
        match code {
            Code::REQUEST_INVALID | Code::FILTER_MISSING => Self::Usage,
            Code::UNKNOWN_WORKFLOW
            | Code::UNKNOWN_RUN
            | Code::UNKNOWN_DEAD_LETTER
            | Code::UNKNOWN_TOKEN
            | Code::UNKNOWN_ACCOUNT
            | Code::PROPOSAL_GONE
            | Code::NOT_HELD
            | Code::UNKNOWN_DELEGATION => Self::NotFound,
            Code::UNAUTHENTICATED
            | Code::DENIED
            | Code::BROKER_CREDENTIALS
            | Code::SECOND_PERSON
            | Code::NO_PERSON
            | Code::SELF_APPROVAL
            | Code::SAME_PERSON
            | Code::NOT_IN_GROUP
            | Code::APPROVAL_UNSEEN => Self::Denied,
            Code::BROKER_UNAVAILABLE
            | Code::COORDINATOR_UNAVAILABLE
            | Code::ADMISSION
            | Code::NOT_RECORDED
            | Code::AGENT_USE_UNKNOWN
            | Code::RUNS_UNKNOWN
            | Code::OLDER_COORDINATOR
            | Code::IDENTITY_UNAVAILABLE
            | Code::AUDIT_UNAVAILABLE
            | Code::POLICIES_UNAVAILABLE => Self::Unavailable,
            _ => Self::Failed,
        }
    }

    /// The exit code of a gRPC status that carries no code of ours.
    pub(crate) const fn of_grpc(code: tonic::Code) -> Self {
        match code {
            tonic::Code::PermissionDenied | tonic::Code::Unauthenticated => Self::Denied,
            tonic::Code::NotFound => Self::NotFound,
            tonic::Code::Unavailable | tonic::Code::DeadlineExceeded | tonic::Code::ResourceExhausted => {
                Self::Unavailable
            }
            tonic::Code::InvalidArgument => Self::Usage,
            _ => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_can_tell_the_ends_apart() {
        for (code, exit) in [
            (Code::COORDINATOR_UNAVAILABLE, Exit::Unavailable),
            (Code::BROKER_UNAVAILABLE, Exit::Unavailable),
            (Code::NOT_RECORDED, Exit::Unavailable),
            (Code::ADMISSION, Exit::Unavailable),
            (Code::UNKNOWN_RUN, Exit::NotFound),
            (Code::UNKNOWN_WORKFLOW, Exit::NotFound),
            (Code::UNKNOWN_DEAD_LETTER, Exit::NotFound),
            (Code::UNKNOWN_TOKEN, Exit::NotFound),
            (Code::UNAUTHENTICATED, Exit::Denied),
            (Code::DENIED, Exit::Denied),
            (Code::IDENTITY_UNAVAILABLE, Exit::Unavailable),
            (Code::REQUEST_INVALID, Exit::Usage),
            (Code::AGENT_USE_UNKNOWN, Exit::Unavailable),
            (Code::RUNS_UNKNOWN, Exit::Unavailable),
            (Code::FILTER_MISSING, Exit::Usage),
            (Code::AGENT_IN_USE, Exit::Failed),
            (Code::INPUT_INVALID, Exit::Failed),
            (Code::MANIFEST_SYNTAX, Exit::Failed),
            (Code::PORT_TAKEN, Exit::Failed),
        ] {
            assert_eq!(Exit::of(code), exit, "{code}");
        }
        for (code, exit) in [
            (tonic::Code::PermissionDenied, Exit::Denied),
            (tonic::Code::Unauthenticated, Exit::Denied),
            (tonic::Code::NotFound, Exit::NotFound),
            (tonic::Code::Unavailable, Exit::Unavailable),
            (tonic::Code::InvalidArgument, Exit::Usage),
            (tonic::Code::Internal, Exit::Failed),
        ] {
            assert_eq!(Exit::of_grpc(code), exit, "{code:?}");
        }
    }
}
