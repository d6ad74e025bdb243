//! The last words of a child: what is kept of its stderr.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kapelle_types::limits::EVIDENCE_BYTES_MAX;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStderr;
use tokio::task::JoinHandle;

/// How long to wait for what a killed child had written: something it started may hold stderr open.
const LAST_WORDS_WAIT_MAX: Duration = Duration::from_millis(200);

/// Reads a child's stderr to its end, keeping the last bytes of the current task.
#[derive(Debug)]
pub(super) struct Tail {
    kept: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Tail {
    pub(super) fn of(mut stderr: ChildStderr) -> Self {
        let kept: Arc<Mutex<Vec<u8>>> = Arc::default();
        let into = Arc::clone(&kept);
        let reader = tokio::spawn(async move {
            let mut buffer = vec![0; EVIDENCE_BYTES_MAX];
            while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
                let mut kept = lock(&into);
                kept.extend_from_slice(&buffer[..count]);
                let surplus = kept.len().saturating_sub(EVIDENCE_BYTES_MAX);
                kept.drain(..surplus);
            }
        });
        Self { kept, reader }
    }

    /// Forgets what earlier tasks wrote.
    pub(super) fn clear(&self) {
        lock(&self.kept).clear();
    }

    /// The last words of a child that was killed or has ended.
    pub(super) async fn last_words(&mut self) -> String {
        let _ = tokio::time::timeout(LAST_WORDS_WAIT_MAX, &mut self.reader).await; // late words are left out
        String::from_utf8_lossy(&lock(&self.kept)).trim_end().to_owned()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn lock(kept: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
