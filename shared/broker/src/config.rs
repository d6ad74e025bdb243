//! What a broker child is started with, and the nats.conf that says so to nats-server.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::Binary;

/// What survives when not only a process but the machine stops. A killed process loses nothing under either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The disk is synced every 100 ms: a power cut may cost the last 100 ms of acknowledged writes.
    #[default]
    Standard,
    /// Every write is on the disk before it is acknowledged: a power cut costs nothing, throughput does.
    Power,
}

impl Durability {
    /// The value of `sync_interval`. nats-server's own default of two minutes is never used.
    const fn sync_interval(self) -> &'static str {
        match self {
            Self::Standard => "\"100ms\"",
            Self::Power => "always",
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standard => "standard",
            Self::Power => "power",
        })
    }
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "standard" => Ok(Self::Standard),
            "power" => Ok(Self::Power),
            other => Err(format!("`{other}` is neither `standard` nor `power`")),
        }
    }
}

/// How to start a broker.
#[derive(Debug, Clone)]
pub struct Config {
    /// The nats-server to run.
    pub binary: Binary,
    /// The folder for the store, nats.conf and nats.log; created if it is not there. One broker a folder.
    pub data_dir: PathBuf,
    /// The port on 127.0.0.1; `None` picks a free one, which stays the same over restarts of this [`crate::Server`].
    pub port: Option<u16>,
    /// The sync policy. Default: [`Durability::Standard`].
    pub durability: Durability,
    /// What the server's name begins with, in logs and for clients. Default: `kapelle`.
    pub name: String,
    /// Bytes of streams in files at most. Default: `None`, nats-server's own limit of three quarters of the free disk.
    pub store_bytes_max: Option<u64>,
    /// Bytes of streams in memory at most. Default: 256 MiB, because an embedded broker shares the machine.
    pub memory_bytes_max: u64,
    /// How long the server may take to open its store and answer. Default: 60 s, enough for millions of subjects.
    pub start_wait: Duration,
    /// How long the server may take to close its store before it is killed. Default: 10 s.
    pub stop_grace: Duration,
    /// Runs the child in a process group of its own, so that Ctrl-C in the terminal reaches us and not the child. Tests
    /// turn it off, so that whoever ends the test ends the child too. Default: true.
    pub own_group: bool,
}

impl Config {
    /// A broker on a free port with the defaults.
    #[must_use]
    pub fn new(binary: Binary, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            binary,
            data_dir: data_dir.into(),
            port: None,
            durability: Durability::default(),
            name: "kapelle".into(),
            store_bytes_max: None,
            memory_bytes_max: 256 * 1024 * 1024,
            start_wait: Duration::from_secs(60),
            stop_grace: Duration::from_secs(10),
            own_group: true,
        }
    }

    /// The configuration file. `folder` is the data folder in its absolute form.
    pub(crate) fn render(&self, folder: &Path, server_name: &str, port: u16) -> String {
        let path = |file: &str| quoted(&folder.join(file).to_string_lossy());
        let max_file = self.store_bytes_max.map(|n| format!("  max_file_store: {n}\n")).unwrap_or_default();
        format!(
            "# Written by kapelle at every start; changes are lost.\n\
             server_name: {name}\n\
             listen: \"127.0.0.1:{port}\"\n\
             pid_file: {pid}\n\
             log_file: {log}\n\
             logfile_size_limit: 16MB\n\
             logfile_max_num: 3\n\
             jetstream {{\n  \
               store_dir: {store}\n  \
               sync_interval: {sync}\n  \
               max_memory_store: {memory}\n\
             {max_file}  \
               # Each stream sets its own limit; the server's default of 1000 consumers would cap it silently.\n  \
               limits {{ default_max_consumers: -1 }}\n\
             }}\n",
            name = quoted(server_name),
            pid = path(PID_FILE),
            log = path(LOG_FILE),
            store = quoted(&folder.to_string_lossy()),
            sync = self.durability.sync_interval(),
            memory = self.memory_bytes_max,
        )
    }
}

/// The configuration, in the data folder.
pub(crate) const CONF_FILE: &str = "nats.conf";
/// The child's process id, written by nats-server itself: no death of ours can leave a child that is not named here.
pub(crate) const PID_FILE: &str = "nats.pid";
/// The server's log, rotated by the server at 16 MB.
pub(crate) const LOG_FILE: &str = "nats.log";
/// What the server says before and beside its log: configuration errors, a crash's stack.
pub(crate) const STDERR_FILE: &str = "nats.stderr";

/// A string as nats.conf takes it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
