//! The processes that are measured, what they use up, and the broker under them.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use kapelle_broker::{Binary, Config, Search, Server};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::args::Common;

/// What a part prints when it is ready to work.
const READY: &str = "ready";
/// How long a part may take to start.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// Clock ticks a second in `/proc/<pid>/stat`: 100 on every Linux that Rust runs on (`man 7 time`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Tells the parent that this part works.
pub(crate) fn say_ready() -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout();
    writeln!(out, "{READY}")?;
    Ok(out.flush()?)
}

/// A broker for one half of a round: one of our own with an empty store, or the given one.
pub(crate) struct Broker {
    pub(crate) url: String,
    server: Option<(Server, TempDir)>,
}

impl Broker {
    pub(crate) async fn start(common: &Common) -> anyhow::Result<Self> {
        if let Some(url) = &common.nats_url {
            return Ok(Self { url: url.clone(), server: None });
        }
        let binary = match &common.nats_server {
            Some(path) => Binary::find(Some(path), None).await?,
            None => Search::from_env().find().await?,
        };
        let folder = tempfile::tempdir().context("a folder for the broker's store")?;
        let config = Config { durability: common.durability, ..Config::new(binary, folder.path()) };
        let server = Server::start(config).await?;
        Ok(Self { url: server.url(), server: Some((server, folder)) })
    }

    /// What it used up so far; nothing is known of a broker that is not ours.
    pub(crate) fn usage(&self) -> Usage {
        self.server.as_ref().and_then(|(s, _)| s.pid()).map_or_else(Usage::default, Usage::of)
    }

    /// Lets its peak begin anew.
    pub(crate) fn forget_peak(&self) {
        self.server.as_ref().and_then(|(s, _)| s.pid()).into_iter().for_each(Usage::forget_peak);
    }

    pub(crate) async fn stop(self) {
        if let Some((mut server, _folder)) = self.server {
            server.stop().await;
        }
    }
}

/// A part that runs as a process of its own.
pub(crate) struct Part {
    child: Child,
    pid: u32,
    _out: tokio::task::JoinHandle<()>,
}

impl Part {
    /// Starts this very binary with other arguments.
    pub(crate) fn spawn(arguments: &[String]) -> anyhow::Result<(Self, oneshot::Receiver<()>)> {
        let program: PathBuf = std::env::current_exe()?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", arguments.join(" ")))?;
        let pid = child.id().context("the part ended at once")?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let (ready, is_ready) = oneshot::channel();
        let out = tokio::spawn(async move {
            let mut ready = Some(ready);
            while let Ok(Some(line)) = lines.next_line().await {
                if line == READY
                    && let Some(ready) = ready.take()
                {
                    let _ = ready.send(());
                }
            }
        });
        Ok((Self { child, pid, _out: out }, is_ready))
    }

    /// Starts a part of the bench and waits until it says that it is ready.
    pub(crate) async fn start(arguments: &[String]) -> anyhow::Result<Self> {
        let (part, ready) = Self::spawn(arguments)?;
        let ready = tokio::time::timeout(START_PATIENCE, ready).await;
        ready
            .with_context(|| format!("`{}` is not ready in time", arguments.join(" ")))?
            .with_context(|| format!("`{}` ended before it was ready", arguments.join(" ")))?;
        Ok(part)
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage::of(self.pid)
    }

    /// Lets its peak begin anew.
    pub(crate) fn forget_peak(&self) {
        Usage::forget_peak(self.pid);
    }

    pub(crate) async fn kill(mut self) {
        let _ = self.child.kill().await;
    }
}

/// Bytes as people read them.
#[allow(clippy::cast_precision_loss)] // far below 2^52
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

/// CPU and memory of a process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    /// Since it began, or since [`Usage::forget_peak`].
    pub(crate) peak_bytes: u64,
    pub(crate) resident_bytes: u64,
}

impl Usage {
    /// Of a running process; zero where the system does not say.
    pub(crate) fn of(pid: u32) -> Self {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name may hold spaces; everything behind its closing bracket is numbers. utime and stime are fields 14 and 15.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let field = |n: usize| rest.split_whitespace().nth(n - 3).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let bytes = |name: &str| {
            let kib = status.lines().find_map(|l| l.strip_prefix(name)).and_then(|l| l.split_whitespace().next());
            kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        let cpu_seconds = (field(14) + field(15)) / TICKS_PER_SECOND;
        Self { cpu_seconds, peak_bytes: bytes("VmHWM:"), resident_bytes: bytes("VmRSS:") }
    }

    /// What was used since an earlier look.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { cpu_seconds: self.cpu_seconds - earlier.cpu_seconds, ..self }
    }

    /// Lets the peak of a process begin anew from what it holds now; without effect where the system does not know that.
    fn forget_peak(pid: u32) {
        let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
    }
}
