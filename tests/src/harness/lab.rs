//! The place of one test: a folder, the processes that it started, and their logs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::binary::kapelle;
use super::client::Cli;
use super::process::Process;

/// Lines of a log that are printed when a test fails.
const LAST_LINES: usize = 60;
/// How long processes may take to leave before they are killed.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// A folder and the processes of one test. Dropping it ends them all; on a panic it prints their logs first.
#[derive(Debug)]
pub struct Lab {
    processes: BTreeMap<String, Process>,
    started: usize,
    folder: TempDir, // last: the processes must be gone before their files are
}

impl Lab {
    /// A new folder.
    ///
    /// # Panics
    /// If there is no place for it.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it does more than a default should")]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("kapelle-e2e-").tempdir().expect("a temporary folder");
        Self { processes: BTreeMap::new(), started: 0, folder }
    }

    /// Where the test's files lie.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file below the folder and says where it is.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> std::path::PathBuf {
        let path = self.folder().join(path);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder can be made");
        fs::write(&path, content).expect("a file can be written");
        path
    }

    /// Starts `kapelle …` as a role, waits until it says that it is ready, and gives its name here and what it said.
    pub async fn start_role(&mut self, role: &str, arguments: &[&str]) -> (String, Value) {
        let mut command = Command::new(kapelle());
        command.args(arguments).args(["-o", "json"]).current_dir(self.folder());
        self.start(role, &mut command).await
    }

    /// Starts any command that says by a line of JSON that it is ready.
    pub async fn start(&mut self, role: &str, command: &mut Command) -> (String, Value) {
        let name = self.launch(role, command);
        let ready = self.process(&name).ready().await;
        (name, ready)
    }

    /// Starts any command and gives its name here.
    pub fn launch(&mut self, role: &str, command: &mut Command) -> String {
        self.started += 1;
        let name = format!("{role}-{}", self.started);
        let process = Process::start(self.folder(), &name, command);
        self.processes.insert(name.clone(), process);
        name
    }

    /// A process by its name.
    ///
    /// # Panics
    /// If there is none of this name.
    pub fn process(&mut self, name: &str) -> &mut Process {
        self.processes.get_mut(name).unwrap_or_else(|| panic!("there is no process {name}"))
    }

    /// The client commands against this address.
    #[must_use]
    pub fn cli(&self, address: &str) -> Cli {
        Cli::new(self.folder(), address)
    }

    /// All logs of all processes, those that have ended included.
    #[must_use]
    pub fn logs(&self) -> BTreeMap<String, String> {
        self.processes.iter().map(|(name, process)| (name.clone(), process.stderr())).collect()
    }

    /// No process panicked.
    ///
    /// # Panics
    /// If one did.
    pub fn assert_no_panic(&self) {
        for (name, log) in self.logs() {
            let panicked: Vec<_> = log.lines().filter(|l| l.contains("panicked at")).collect();
            assert!(panicked.is_empty(), "{name} panicked:\n{}", panicked.join("\n"));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (name, log) in self.logs() {
                let lines = log.lines().count();
                println!("---- {name}: the last of {lines} lines\n{}", last_lines(&log).join("\n"));
            }
            if std::env::var_os("KAPELLE_KEEP").is_some() {
                self.folder.disable_cleanup(true);
                println!("---- everything is kept in {}", self.folder().display());
            }
        }
        // `kapelle dev` takes its broker with it, if it is asked before it is killed.
        self.processes.values_mut().for_each(Process::ask_to_end);
        let asked_at = Instant::now();
        while asked_at.elapsed() < LEAVE_MAX && !self.processes.values_mut().all(Process::has_ended) {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.processes.values_mut().for_each(Process::kill9);
    }
}

/// The last lines of a log, the same message once.
fn last_lines(log: &str) -> Vec<String> {
    let mut told: Vec<(String, &str, usize)> = Vec::new();
    for line in log.lines().rev() {
        let message: String = line.chars().skip_while(|c| *c != ' ').filter(|c| !c.is_ascii_digit()).collect();
        if let Some((_, _, times)) = told.iter_mut().find(|(known, ..)| *known == message) {
            *times += 1;
        } else if told.len() < LAST_LINES {
            told.push((message, line, 1));
        }
    }
    let times = |n: usize| if n > 1 { format!("  ({n} times)") } else { String::new() };
    told.into_iter().rev().map(|(_, line, n)| format!("{line}{}", times(n))).collect()
}
