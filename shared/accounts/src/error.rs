//! What can go wrong with accounts, sorted by what the caller does next.

use kapelle_types::{Code, Diagnosis};

/// A failed operation on accounts.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder of the operator is missing, there already, in use, or cannot be read or written.
    #[error("{0}")]
    Folder(String),
    /// There is no such namespace, or no such credentials in it.
    #[error("{0}")]
    Unknown(String),
    /// What is asked for breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// The broker refused an account.
    #[error("the broker does not take the account: {0}")]
    Refused(String),
    /// The broker did not answer.
    #[error(transparent)]
    Broker(#[from] kapelle_bus::Error),
}

impl Error {
    pub(crate) fn folder(path: &std::path::Path, why: impl std::fmt::Display) -> Self {
        Self::Folder(format!("{}: {why}", path.display()))
    }
}

impl From<&Error> for Diagnosis {
    fn from(error: &Error) -> Self {
        let (code, hint) = match error {
            Error::Folder(_) => (Code::OPERATOR_INVALID, "`kapelle broker init` makes the folder, once."),
            Error::Unknown(_) => {
                (Code::UNKNOWN_ACCOUNT, "`kapelle namespace list` and `kapelle credentials list` show all.")
            }
            Error::Invalid(_) => (Code::REQUEST_INVALID, ""),
            Error::Refused(_) => (
                Code::ACCOUNT_REFUSED,
                "Does nats-server include the broker.conf of this folder, and is its system account this one's?",
            ),
            Error::Broker(_) => (Code::BROKER_UNAVAILABLE, "Check `--nats-url`; `kapelle namespace push` repeats it."),
        };
        Self::new(code, error.to_string()).hint(hint)
    }
}
