//! The data folder: one broker at a time, and no child left over from a parent that was killed.
//!
//! A lock on a file says that a living process of ours uses the folder; the kernel drops it with that process. The
//! pid file says which nats-server was started last. Lock free and that server still alive means that its parent was
//! killed: it is stopped before a new one starts, because two servers on one store destroy it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::warn;

use crate::config::{CONF_FILE, PID_FILE};
use crate::{Error, process};

const LOCK_FILE: &str = "kapelle.lock";

/// A data folder that this process alone uses until the value is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    lock: File,
}

impl DataDir {
    /// Creates the folder if need be, locks it and stops a server that a killed parent left behind.
    pub(crate) async fn open(folder: &Path, grace: Duration) -> Result<Self, Error> {
        let unusable = |source| Error::DataDir { path: folder.to_owned(), source };
        // The store holds the payloads of every run: for the owner's eyes.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
        let path = folder.canonicalize().map_err(unusable)?;
        let lock = File::create(path.join(LOCK_FILE)).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { path }),
            Err(TryLockError::Error(e)) => return Err(unusable(e)),
        }
        let dir = Self { path, lock };
        dir.stop_leftover(grace).await?;
        Ok(dir)
    }

    /// The folder, absolute and without links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The arguments that a server on this folder is started with. They are also how a leftover is told from a stranger
    /// that has got its process id since.
    pub(crate) fn arguments(&self) -> [String; 2] {
        ["--config".into(), self.path.join(CONF_FILE).to_string_lossy().into_owned()]
    }

    async fn stop_leftover(&self, grace: Duration) -> Result<(), Error> {
        let Some(pid) = fs::read_to_string(self.path.join(PID_FILE)).ok().and_then(|t| t.trim().parse::<u32>().ok())
        else {
            return Ok(());
        };
        // pid 0 and 1 would signal groups or init; a server of ours is never one of them.
        if pid < 2 || !process::is_alive(pid) || !self.is_ours(pid).await {
            return Ok(());
        }
        warn!(pid, folder = %self.path.display(), "stopping a nats-server that its killed parent left behind");
        if process::end_stranger(pid, grace).await {
            return Ok(());
        }
        let source = io::Error::other(format!("nats-server {pid}, left over from a killed kapelle, cannot be stopped"));
        Err(Error::DataDir { path: self.path.clone(), source })
    }

    async fn is_ours(&self, pid: u32) -> bool {
        let ours = format!(" {}", self.arguments().join(" "));
        process::command_line(pid).await.is_some_and(|line| line.ends_with(&ours))
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that another thread is starting holds a copy until it runs.
        let _ = self.lock.unlock();
    }
}
