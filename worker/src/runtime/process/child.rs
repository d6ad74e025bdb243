//! One child: started, spoken to, killed with everything that it started.

use std::ffi::OsString;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use kapelle_engine::Failure;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, ChildStdout, Command};

use super::Launch;
use super::broken::Broken;
use super::line::Lines;
use super::message::{Reply, Request, Said};
use super::tail::Tail;
use crate::failure;
use crate::secrets::Secrets;
use crate::usage::Meter;

/// How long a child that closed its stdout, or answered its only task, may take to end by itself.
const END_WAIT_MAX: Duration = Duration::from_secs(1);

/// A running program. Dropping it kills its whole process group.
#[derive(Debug)]
pub(super) struct Child {
    process: tokio::process::Child,
    group: Option<Pid>,
    stdin: Option<ChildStdin>,
    stdout: Lines<ChildStdout>,
    stderr: Tail,
    secrets: Arc<Secrets>,
    /// Its HOME and TMPDIR; gone with it.
    _home: TempDir,
}

/// What came of a task.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) reply: Reply,
    /// Whether the child has read its task and can be given another.
    pub(super) reusable: bool,
}

impl Child {
    /// Starts the program, with a folder of its own for what it leaves behind.
    pub(super) fn start(launch: &Launch, facts: impl IntoIterator<Item = (String, OsString)>) -> io::Result<Self> {
        let only_ours = Permissions::from_mode(0o700);
        let home =
            tempfile::Builder::new().prefix("kapelle-agent-").permissions(only_ours).tempdir_in(&launch.temp_dir)?;
        let mut command = command(launch, home.path())?;
        command.current_dir(&launch.spec.dir).env_clear().envs(&launch.environment).envs(facts);
        command.envs(launch.secrets.variables()).env("HOME", home.path()).env("TMPDIR", home.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.process_group(0).kill_on_drop(true).spawn()?;
        let group = process.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let pipes = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let secrets = Arc::clone(&launch.secrets);
        let stderr = Tail::of(stderr, Arc::clone(&secrets));
        Ok(Self { process, group, stdin: Some(stdin), stdout: Lines::new(stdout), stderr, secrets, _home: home })
    }

    /// Whether it has not ended. What it wrote about earlier tasks is forgotten.
    pub(super) fn is_ready(&mut self) -> bool {
        self.stderr.clear();
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Gives the child a task and reads until it answers. `only` closes its stdin after the task.
    pub(super) async fn exchange(
        &mut self,
        request: &Request<'_>,
        meter: &Meter,
        only: bool,
    ) -> Result<Exchange, Broken> {
        // Reading goes on while the task is written: a child may talk before it has read all, and pipes are short.
        let write = write(self.stdin.take(), request.line(), only);
        tokio::pin!(write);
        let mut written = false;
        let reply = loop {
            tokio::select! {
                pipe = &mut write, if !written => {
                    written = true;
                    self.stdin = pipe;
                }
                line = self.stdout.next() => {
                    let said = Said::read(line.map_err(Broken::of)?, &request.id, &self.secrets);
                    let (said, usage) = said.map_err(Broken::Garbage)?;
                    if let Some(usage) = usage {
                        meter.take(usage).map_err(Broken::Refused)?;
                    }
                    match said {
                        Said::Reply(reply) => break reply,
                        Said::Progress(p) => {
                            // The note is the agent's own words about its payload, which logs never show.
                            let note_bytes = p.note.len();
                            tracing::debug!(task = request.id, done = p.done, total = p.total, note_bytes, "progress");
                        }
                    }
                }
            }
        };
        Ok(Exchange { reply, reusable: written })
    }

    /// Lets a child that has answered its only task end by itself.
    pub(super) async fn end(mut self) {
        self.stdin = None;
        let _ = tokio::time::timeout(END_WAIT_MAX, self.process.wait()).await; // what does not end is killed by the drop
    }

    /// Kills the child with everything that it started; its last words.
    pub(super) async fn kill(mut self) -> String {
        self.kill_group();
        let _ = self.process.wait().await; // SIGKILL leaves nothing to wait long for
        self.group = None; // nobody is left in it, and another may get its number
        self.stderr.last_words().await
    }

    /// Ends a child that broke the protocol and says all that is known about it.
    pub(super) async fn autopsy(mut self, broken: Broken, launch: &Launch) -> Failure {
        let mut status = None;
        if matches!(broken, Broken::Ended) {
            self.stdin = None;
            status = tokio::time::timeout(END_WAIT_MAX, self.process.wait()).await.ok().and_then(Result::ok);
        }
        let words = self.kill().await;
        failure::with_evidence(broken.into_failure(launch, status, &words), &words)
    }

    /// Kills everybody in the child's group. Its number stays taken while there is anybody in it.
    fn kill_group(&self) {
        if let Some(group) = self.group {
            let _ = killpg(group, Signal::SIGKILL); // an error means that nobody is left
        }
    }
}

/// What is started: the agent's command, inside its cage if there is one.
fn command(launch: &Launch, home: &Path) -> io::Result<Command> {
    let own = &launch.spec.command;
    let (program, arguments) = own.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let (program, arguments) = match &launch.cage {
        None => (program.into(), arguments.iter().map(OsString::from).collect()),
        Some(cage) => cage.wrap(own, home),
    };
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

/// Writes a task and gives the pipe back, unless it is the child's only one: then its end says so.
async fn write(mut stdin: Option<ChildStdin>, line: Vec<u8>, only: bool) -> Option<ChildStdin> {
    if let Some(pipe) = &mut stdin {
        // A child that has ended takes nothing; the end of its stdout says that better.
        let _ = pipe.write_all(&line).await;
        let _ = pipe.flush().await;
    }
    stdin.filter(|_| !only)
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill_group();
    }
}
