//! The last words of a child: what is kept of its stderr.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kapelle_types::limits::EVIDENCE_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;

use crate::secrets::Secrets;

/// How long to wait for what a killed child had written: something it started may hold stderr open.
const LAST_WORDS_WAIT_MAX: Duration = Duration::from_millis(200);

/// Reads a child's stderr to its end, keeping the last bytes of the current task.
#[derive(Debug)]
pub(super) struct Tail {
    kept: Arc<Mutex<Kept>>,
    secrets: Arc<Secrets>,
    reader: JoinHandle<()>,
}

/// The last bytes, and before them so many that a secret which goes over the cut is known.
#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    /// Where the words of the current task begin.
    start: usize,
}

impl Kept {
    fn add(&mut self, bytes: &[u8], longest: usize) {
        self.bytes.extend_from_slice(bytes);
        let surplus = self.bytes.len().saturating_sub(EVIDENCE_BYTES_MAX + longest);
        if surplus > 0 {
            self.bytes.drain(..surplus);
            self.start = self.start.saturating_sub(surplus).max(longest);
        }
    }

    fn clear(&mut self, longest: usize) {
        let surplus = self.bytes.len().saturating_sub(longest);
        self.bytes.drain(..surplus);
        self.start = self.bytes.len();
    }
}

impl Tail {
    pub(super) fn of(mut stderr: impl AsyncRead + Unpin + Send + 'static, secrets: Arc<Secrets>) -> Self {
        let kept: Arc<Mutex<Kept>> = Arc::default();
        let (into, longest) = (Arc::clone(&kept), secrets.longest());
        let reader = tokio::spawn(async move {
            let mut buffer = vec![0; EVIDENCE_BYTES_MAX];
            while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
                lock(&into).add(&buffer[..count], longest);
            }
        });
        Self { kept, secrets, reader }
    }

    /// Forgets what earlier tasks wrote.
    pub(super) fn clear(&self) {
        lock(&self.kept).clear(self.secrets.longest());
    }

    /// The last words of a child that was killed or has ended, without secrets.
    pub(super) async fn last_words(&mut self) -> String {
        let _ = tokio::time::timeout(LAST_WORDS_WAIT_MAX, &mut self.reader).await; // late words are left out
        let kept = lock(&self.kept);
        self.secrets.mask_from(&kept.bytes, kept.start).trim_end().to_owned()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
