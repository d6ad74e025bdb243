//! Clients that wait for a run to end or to stall.
//!
//! A waiter registers before the run is submitted, so that no end can be missed by the coordinator that owns the run. Where
//! another one owns it, that one says so to all, and the waiter reads the log: see `api::execute`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kapelle_proto::v1;
use kapelle_types::RunId;
use tokio::sync::oneshot;

type Senders = Vec<oneshot::Sender<Arc<v1::RunView>>>;

/// Who waits for which run.
#[derive(Default)]
pub struct Waiters {
    by_run: Mutex<HashMap<RunId, Senders>>,
}

/// A place in the queue; dropping it leaves.
pub struct Waiting<'w> {
    waiters: &'w Waiters,
    run: RunId,
    /// Resolves with the run's view when it ends or stalls.
    pub settled: oneshot::Receiver<Arc<v1::RunView>>,
}

impl Waiters {
    /// Begins to wait.
    pub fn wait(&self, run: RunId) -> Waiting<'_> {
        let (sender, settled) = oneshot::channel();
        self.lock().entry(run).or_default().push(sender);
        Waiting { waiters: self, run, settled }
    }

    /// A run ended or stalled; the view is only made if somebody waits. False if nobody does.
    pub fn settled(&self, run: RunId, view: impl FnOnce() -> v1::RunView) -> bool {
        let Some(senders) = self.lock().remove(&run) else { return false };
        let view = Arc::new(view());
        for sender in senders {
            let _ = sender.send(Arc::clone(&view));
        }
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, Senders>> {
        self.by_run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.settled.close();
        let mut by_run = self.waiters.lock();
        if let Some(senders) = by_run.get_mut(&self.run) {
            senders.retain(|s| !s.is_closed());
            if senders.is_empty() {
                by_run.remove(&self.run);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_who_wait_are_told_and_nobody_is_left_behind() {
        let waiters = Waiters::default();
        let run = RunId::keyed("default", &"w".parse().unwrap(), "k");
        let mut one = waiters.wait(run);
        let gone = waiters.wait(run);
        drop(gone);
        assert!(waiters.settled(run, v1::RunView::default));
        assert!(!waiters.settled(run, v1::RunView::default));
        assert!((&mut one.settled).await.is_ok());
        drop(one);
        drop(waiters.wait(run));
        assert!(waiters.lock().is_empty());
    }
}
