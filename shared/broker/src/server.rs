//! One nats-server child: started, waited for, stopped.

use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use crate::config::{CONF_FILE, LOG_FILE, STDERR_FILE};
use crate::data_dir::DataDir;
use crate::process::{self, POLL};
use crate::{Config, Error};

/// Ports to pick from: below every system's range for outgoing connections, so that no client's socket (not even one
/// that is dialling this very port) can sit on the port while the server restarts.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
/// Free ports to try before giving up: each is only lost to a process that takes it within milliseconds.
const PORT_TRIES_MAX: u32 = 20;
/// How long one greeting may take; a listener that accepts and says nothing is not ours.
const GREETING_WAIT_MAX: Duration = Duration::from_secs(2);
/// Bytes of the server's last words that an error carries.
const LAST_WORDS_BYTES_MAX: usize = 400;

/// A running nats-server on a data folder of its own. Dropping it kills the child: acknowledged writes survive that.
#[derive(Debug)]
pub struct Server {
    config: Config,
    dir: DataDir,
    name: String,
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// Starts a server and waits until it answers with JetStream on.
    ///
    /// # Errors
    /// If the data folder is in use or unusable, the port is taken, or the server does not come up.
    pub async fn start(config: Config) -> Result<Self, Error> {
        let dir = DataDir::open(&config.data_dir, config.stop_grace).await?;
        let name = format!("{}-{:08x}", config.name, random() & 0xffff_ffff);
        let fixed = config.port;
        let mut server = Self { config, dir, name, port: 0, child: None };
        let mut tries = 0;
        loop {
            tries += 1;
            server.port = fixed.map_or_else(free_port, Ok)?;
            match server.spawn().await {
                Ok(()) => break,
                Err(Error::PortTaken { .. }) if fixed.is_none() && tries < PORT_TRIES_MAX => {}
                Err(error) => return Err(error),
            }
        }
        info!(url = server.url(), version = %server.config.binary.version, "nats-server answers");
        Ok(server)
    }

    /// Where clients connect: `nats://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The child's process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// The data folder, absolute and without links. The store is its `jetstream` folder.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Waits until the child ends by itself (a crash, an operator's signal). Cancel-safe.
    ///
    /// # Errors
    /// If the operating system cannot tell.
    pub async fn exited(&mut self) -> io::Result<ExitStatus> {
        match &mut self.child {
            Some(child) => child.wait().await,
            None => Err(io::Error::other("the broker was stopped")),
        }
    }

    /// Asks the server to close its store and waits; kills it after the grace. Does nothing if it is not running.
    pub async fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let Some(pid) = child.id() else { return };
        process::signal(pid, Signal::SIGTERM);
        if timeout(self.config.stop_grace, child.wait()).await.is_err() {
            warn!(pid, "nats-server did not stop in time and is killed");
            let _ = child.kill().await; // also waits; an error means that it has ended by itself
        }
        debug!(pid, "nats-server stopped");
    }

    /// Kills the child as `kill -9` does and waits until it is gone. For tests and drills.
    pub async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill().await; // an error means that it has ended by itself
        }
    }

    /// Stops the server if it runs, and starts it again on the same port and store.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.stop().await;
        self.spawn().await
    }

    /// Writes the configuration, starts the child and waits for its greeting.
    async fn spawn(&mut self) -> Result<(), Error> {
        let folder = self.dir.path();
        let unwritable = |source| Error::DataDir { path: folder.to_owned(), source };
        fs::write(folder.join(CONF_FILE), self.config.render(folder, &self.name, self.port)).map_err(unwritable)?;
        let stderr = File::create(folder.join(STDERR_FILE)).map_err(unwritable)?;
        let logged = fs::metadata(folder.join(LOG_FILE)).map_or(0, |m| m.len());
        let mut command = Command::new(&self.config.binary.path);
        command.args(self.dir.arguments()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        command.kill_on_drop(true);
        if self.config.own_group {
            command.process_group(0);
        }
        let mut child = command.spawn().map_err(|e| Error::Start { why: e.to_string() })?;
        let ended = self.answers(&mut child, logged).await;
        if ended.is_err() {
            let _ = child.kill().await; // it may have ended already
        }
        ended?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until the child greets with its own name and JetStream, or ends, or has had its time.
    async fn answers(&self, child: &mut Child, logged: u64) -> Result<(), Error> {
        let give_up_at = Instant::now() + self.config.start_wait;
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(self.last_words(status, logged));
            }
            if let Some(info) = greeting(self.port).await
                && info.server_name == self.name
                && info.jetstream
            {
                return Ok(());
            }
            if Instant::now() >= give_up_at {
                return Err(Error::Silent { seconds: self.config.start_wait.as_secs() });
            }
            sleep(POLL).await;
        }
    }

    /// Why the child ended: what it wrote since this start, the fatal line first.
    fn last_words(&self, status: ExitStatus, logged: u64) -> Error {
        let read = |file| fs::read(self.dir.path().join(file)).unwrap_or_default();
        let log = read(LOG_FILE);
        let fresh = usize::try_from(logged).ok().and_then(|at| log.get(at..)).unwrap_or(&log);
        let said = format!("{}{}", String::from_utf8_lossy(&read(STDERR_FILE)), String::from_utf8_lossy(fresh));
        if said.contains("address already in use") {
            return Error::PortTaken { port: self.port };
        }
        let fatal = said.lines().find_map(|l| l.split_once("[FTL] ").map(|(_, why)| why));
        let last = fatal.or_else(|| said.lines().rev().find(|l| !l.trim().is_empty())).unwrap_or("it said nothing");
        let last: String = last.chars().take(LAST_WORDS_BYTES_MAX).collect();
        Error::Start { why: format!("it ended with {status}: {last}") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The folder's lock goes with `self`, so the child must be gone before it; SIGKILL takes milliseconds.
        let Some(mut child) = self.child.take() else { return };
        let _ = child.start_kill();
        for _ in 0..200 {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(POLL / 2);
        }
    }
}

/// What a nats-server says first, as far as we need it.
#[derive(Deserialize)]
struct Info {
    server_name: String,
    #[serde(default)]
    jetstream: bool,
}

/// Connects and reads the server's first line; `None` if there is none or it is something else.
async fn greeting(port: u16) -> Option<Info> {
    let line = timeout(GREETING_WAIT_MAX, async {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).await.ok()?;
        Some(line)
    });
    let line = line.await.ok()??;
    serde_json::from_str(line.strip_prefix("INFO ")?.trim()).ok()
}

/// A port that nobody listens on right now, from a random place in the range on.
fn free_port() -> Result<u16, Error> {
    let count = u64::from(PORTS.end - PORTS.start);
    let from = random() % count;
    (0..count)
        .filter_map(|i| u16::try_from((from + i) % count).ok())
        .map(|slot| PORTS.start + slot)
        .find(|port| is_free(*port))
        .ok_or_else(|| Error::Start { why: format!("no port of {}-{} is free", PORTS.start, PORTS.end) })
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A number that differs from process to process and call to call. Nothing secret hangs on it.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
