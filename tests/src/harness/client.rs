//! Client commands as scripts run them: arguments in, exit code, stdout and stderr out.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use super::binary::kapelle;
use super::process::clean;

/// The longest that a command may take.
const COMMAND_WAIT_MAX: Duration = Duration::from_secs(120);

/// Runs `kapelle` against one coordinator.
#[derive(Debug, Clone)]
pub struct Cli {
    folder: PathBuf,
    address: String,
    token: Option<String>,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command line, for messages.
    pub command: String,
    /// Its exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Cli {
    pub(super) fn new(folder: &Path, address: &str) -> Self {
        Self { folder: folder.to_owned(), address: address.to_owned(), token: None }
    }

    /// The same commands with this token, as KAPELLE_TOKEN.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Runs one command to its end.
    ///
    /// # Panics
    /// If it does not end in time.
    pub async fn run(&self, arguments: &[&str]) -> Outcome {
        let mut command = std::process::Command::new(kapelle());
        command.args(arguments).args(["--address", &self.address]).current_dir(&self.folder);
        command.stdin(Stdio::null()).env("NO_COLOR", "1");
        clean(&mut command);
        if let Some(token) = &self.token {
            command.env("KAPELLE_TOKEN", token);
        }
        let name = format!("kapelle {}", arguments.join(" "));
        let output = Command::from(command).kill_on_drop(true).output();
        let output = tokio::time::timeout(COMMAND_WAIT_MAX, output).await;
        let output = output.unwrap_or_else(|_| panic!("`{name}` does not end")).expect("kapelle can be started");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let outcome = Outcome {
            command: name,
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        };
        assert!(!outcome.stderr.contains("panicked at"), "{outcome:?}");
        outcome
    }

    /// The same with `-o json`, which has to end well; what it printed.
    pub async fn json(&self, arguments: &[&str]) -> Value {
        let outcome = self.run(&[arguments, &["-o", "json"]].concat()).await;
        outcome.expect(0).json()
    }
}

impl Outcome {
    /// The outcome, if the exit code is this one.
    ///
    /// # Panics
    /// If it is another.
    #[must_use]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// What it printed, as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {self:#?}"))
    }

    /// The error object that `-o json` puts on stderr.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn error(&self) -> Value {
        let begin = self.stderr.lines().find(|l| l.starts_with("{\"error\"")).unwrap_or_default();
        let value: Value = serde_json::from_str(begin).unwrap_or_else(|e| panic!("no error object ({e}): {self:#?}"));
        value["error"].clone()
    }
}
