//! One child: started, spoken to, killed with everything that it started.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use kapelle_engine::Failure;
use kapelle_types::Code;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, ChildStdout, Command};

use super::line::{Lines, NoLine};
use super::message::{Reply, Request, Said};
use super::tail::Tail;
use crate::config::{Environment, ProcessSpec};
use crate::failure;

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
}

/// What came of a task.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) reply: Reply,
    /// Whether the child has read its task and can be given another.
    pub(super) reusable: bool,
}

/// How a child broke the protocol.
#[derive(Debug)]
pub(super) enum Broken {
    /// It could not be started.
    Start(io::Error),
    /// Its stdout ended without an answer.
    Ended,
    /// It wrote something else.
    Garbage(String),
    /// It wrote a line above the limit.
    TooLong,
}

impl Child {
    /// Starts the program.
    pub(super) fn start(spec: &ProcessSpec, environment: &Environment) -> io::Result<Self> {
        let (program, arguments) = spec.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&spec.dir).env_clear().envs(&environment.0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.process_group(0).kill_on_drop(true).spawn()?;
        let group = process.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let pipes = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else { return Err(io::ErrorKind::BrokenPipe.into()) };
        Ok(Self { process, group, stdin: Some(stdin), stdout: Lines::new(stdout), stderr: Tail::of(stderr) })
    }

    /// Whether it has not ended.
    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Gives the child a task and reads until it answers. `only` closes its stdin after the task.
    pub(super) async fn exchange(&mut self, request: &Request<'_>, only: bool) -> Result<Exchange, Broken> {
        self.stderr.clear();
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
                line = self.stdout.next() => match Said::read(line.map_err(Broken::of)?, &request.id) {
                    Ok(Said::Reply(reply)) => break reply,
                    Ok(Said::Progress(p)) => {
                        tracing::debug!(task = request.id, done = p.done, total = p.total, note = p.note, "progress");
                    }
                    Err(what) => return Err(Broken::Garbage(what)),
                },
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
    pub(super) async fn autopsy(mut self, broken: Broken, spec: &ProcessSpec) -> Failure {
        let mut status = None;
        if matches!(broken, Broken::Ended) {
            self.stdin = None;
            status = tokio::time::timeout(END_WAIT_MAX, self.process.wait()).await.ok().and_then(Result::ok);
        }
        let words = self.kill().await;
        failure::with_evidence(broken.into_failure(spec, status), &words)
    }

    /// Kills everybody in the child's group. Its number stays taken while there is anybody in it.
    fn kill_group(&self) {
        if let Some(group) = self.group {
            let _ = killpg(group, Signal::SIGKILL); // an error means that nobody is left
        }
    }
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

impl Broken {
    fn of(no_line: NoLine) -> Self {
        match no_line {
            NoLine::End => Self::Ended,
            NoLine::TooLong => Self::TooLong,
        }
    }

    pub(super) fn into_failure(self, spec: &ProcessSpec, status: Option<ExitStatus>) -> Failure {
        match self {
            Self::Start(error) => {
                let (command, dir) = (spec.command.join(" "), spec.dir.display());
                let message = format!("`{command}` cannot be started in {dir}: {error}");
                failure::transient(Code::AGENT_START, message)
            }
            Self::Ended => {
                let how = status.map_or_else(|| "closed its stdout".to_owned(), |s| format!("ended with {s}"));
                failure::transient(Code::AGENT_EXITED, format!("the agent {how} without an answer"))
            }
            Self::Garbage(what) => failure::transient(Code::AGENT_GARBAGE, format!("the agent wrote {what}")),
            Self::TooLong => {
                let message = "the agent wrote a line above the payload limit";
                failure::permanent(Code::AGENT_OUTPUT_TOO_LARGE, message)
            }
        }
    }
}
