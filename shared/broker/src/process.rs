//! Child processes: bounded runs, polite and impolite ends. No threads, no unsafe code.

use std::io;
use std::process::{Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

/// How often a condition that no event announces is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// Runs a command to its end and collects what it says; kills it when it takes longer than `wait_max`.
pub(crate) async fn output(command: &mut Command, wait_max: Duration) -> io::Result<Output> {
    let run = command.stdin(Stdio::null()).kill_on_drop(true).output();
    timeout(wait_max, run).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("it did not end within {} s", wait_max.as_secs())))
    })
}

/// Sends a signal; a process that is gone is no error.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Ok(raw) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(raw), signal);
    }
}

/// Whether there is a process with this id.
pub(crate) fn is_alive(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|raw| kill(Pid::from_raw(raw), None).is_ok())
}

/// Ends a process that is not our child: SIGTERM, then SIGKILL after `grace`. True once it is gone, or is at most a
/// zombie that its new parent does not care for: that one has no command line any more.
pub(crate) async fn end_stranger(pid: u32, grace: Duration) -> bool {
    let known_by = command_line(pid).await;
    signal(pid, Signal::SIGTERM);
    let kill_at = Instant::now() + grace;
    let give_up_at = kill_at + grace;
    let mut killed = false;
    while is_alive(pid) && command_line(pid).await == known_by {
        if !killed && Instant::now() >= kill_at {
            signal(pid, Signal::SIGKILL);
            killed = true;
        }
        if Instant::now() >= give_up_at {
            return false;
        }
        sleep(POLL).await;
    }
    true
}

/// What a process was started with, the words separated by blanks; `None` if that cannot be had.
pub(crate) async fn command_line(pid: u32) -> Option<String> {
    if let Ok(raw) = std::fs::read(format!("/proc/{pid}/cmdline")) {
        let words = raw.strip_suffix(b"\0").unwrap_or(&raw).split(|b| *b == 0);
        return Some(words.map(String::from_utf8_lossy).collect::<Vec<_>>().join(" "));
    }
    // No /proc, as on macOS.
    let mut ps = Command::new("ps");
    let printed = output(ps.args(["-ww", "-o", "args=", "-p", &pid.to_string()]), Duration::from_secs(5)).await.ok()?;
    Some(String::from_utf8_lossy(&printed.stdout).trim_end().to_owned())
}
