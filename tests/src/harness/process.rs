//! One process that a test started: its output in files, ended by its pid.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::wait::{PATIENCE, within};

/// A running process, or one that has ended. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts a command with its output in files of this folder. It inherits nothing that would point it elsewhere.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(folder: &Path, name: &str, command: &mut Command) -> Self {
        let (stdout, stderr) = (folder.join(format!("{name}.out")), folder.join(format!("{name}.log")));
        let file = |path| File::create(path).expect("a file for the output of a process");
        command.stdin(Stdio::null()).stdout(file(&stdout)).stderr(file(&stderr)).env("NO_COLOR", "1");
        clean(command);
        let child = command.spawn().unwrap_or_else(|e| panic!("{name} cannot be started: {e}"));
        Self { name: name.to_owned(), child, ended: None, stdout, stderr }
    }

    /// Its name in this test.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the one line of JSON with which it says that it is ready.
    ///
    /// # Panics
    /// If it ends instead.
    pub async fn ready(&mut self) -> Value {
        within(PATIENCE, &format!("{} is ready", self.name), || {
            let line = self.stdout().lines().next().and_then(|l| serde_json::from_str(l).ok());
            if line.is_none() && self.has_ended() {
                panic!("{} ended with {:?}:\n{}", self.name, self.ended, self.stderr());
            }
            async { line }
        })
        .await
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
        }
        self.ended.is_some()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill9(&mut self) {
        if !self.has_ended() {
            let _ = self.child.kill(); // an error means that it has ended by itself
            self.ended = self.child.wait().ok();
        }
    }

    /// Asks it to end in order.
    pub fn ask_to_end(&mut self) {
        self.signal(Signal::SIGTERM);
    }

    /// Stops it where it is, as a machine does that hangs.
    pub fn freeze(&mut self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&mut self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&mut self, signal: Signal) {
        if !self.has_ended() {
            let pid = i32::try_from(self.pid()).expect("a process id");
            let _ = kill(Pid::from_raw(pid), signal); // an error means that it has ended by itself
        }
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// If it does not within `patience`.
    pub async fn end(&mut self, patience: Duration) -> ExitStatus {
        within(patience, &format!("{} ends", self.name), || {
            self.has_ended();
            let ended = self.ended;
            async move { ended }
        })
        .await
    }

    /// What it wrote to stdout so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// What it wrote to stderr so far: its log.
    #[must_use]
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// What is not inherited: variables that point at somebody else's coordinator or broker.
pub(super) fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KAPELLE_") {
            command.env_remove(&name);
        }
    }
}

fn text(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
