//! The worker's slots: how many tasks are executed at once, over all agents.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use crate::meters::SlotMeters;

/// The slots of one worker. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Slots {
    free: Arc<Semaphore>,
    total: usize,
    meters: SlotMeters,
}

/// A slot that is in use until this is dropped.
pub(crate) struct Slot<'a> {
    _permit: SemaphorePermit<'a>,
    meters: &'a SlotMeters,
}

impl Slots {
    pub(crate) fn new(total: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(total)), total, meters: SlotMeters::new(total) }
    }

    /// Waits for a slot; `None` if the worker drains before there is one.
    pub(crate) async fn take(&self, draining: &CancellationToken) -> Option<Slot<'_>> {
        if draining.is_cancelled() {
            return None;
        }
        let permit = match self.free.try_acquire() {
            Ok(permit) => permit,
            Err(_) => tokio::select! {
                biased;
                () = draining.cancelled() => return None,
                permit = self.free.acquire() => permit.ok()?,
            },
        };
        self.meters.taken();
        Some(Slot { _permit: permit, meters: &self.meters })
    }

    pub(crate) const fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn used(&self) -> usize {
        self.total - self.free.available_permits()
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.meters.freed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_when_the_drain_begins_gets_nothing() {
        let (slots, draining) = (Slots::new(1), CancellationToken::new());
        let first = slots.take(&draining).await;
        assert!(first.is_some() && slots.used() == 1);
        let waiting = tokio::spawn({
            let (slots, draining) = (slots.clone(), draining.clone());
            async move { slots.take(&draining).await.is_some() }
        });
        draining.cancel();
        assert!(!waiting.await.unwrap());
        drop(first);
        assert_eq!(slots.used(), 0);
        assert!(slots.take(&draining).await.is_none());
    }
}
