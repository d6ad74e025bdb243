//! Whether new runs may start now. Cancelling, retrying and finishing what is open always may.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kapelle_bus::Bus;
use kapelle_types::{Code, Diagnosis};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ownership::Peers;
use std::sync::Arc;

/// The share of the broker's storage beyond which no run is started, in percent.
const STORAGE_PERCENT_MAX: u64 = 80;
/// How often the broker's storage is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The gate for new runs.
pub struct Admission {
    peers: watch::Receiver<Arc<Peers>>,
    open_runs_max: u64,
    started_since: AtomicU64,
    storage_full: AtomicBool,
}

impl Admission {
    /// A gate that admits up to `open_runs_max` open runs over all coordinators.
    #[must_use]
    pub fn start(
        bus: Bus,
        peers: watch::Receiver<Arc<Peers>>,
        open_runs_max: u64,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let gate = Arc::new(Self {
            peers,
            open_runs_max,
            started_since: AtomicU64::new(0),
            storage_full: AtomicBool::new(false),
        });
        tokio::spawn(Arc::clone(&gate).watch(bus, stop));
        gate
    }

    /// Whether one more run may start.
    ///
    /// # Errors
    /// `ADMISSION` with what would have to change.
    pub fn check(&self) -> Result<(), Diagnosis> {
        self.check_storage()?;
        // Announcements come twice a second; what was started since the last one is counted here.
        let open: u64 = self.peers.borrow().values().map(|p| p.open_runs).sum();
        let started = self.started_since.fetch_add(1, Ordering::Relaxed);
        if open + started >= self.open_runs_max {
            let message = format!("{open} runs are open, the limit is {}", self.open_runs_max);
            return Err(Diagnosis::new(Code::ADMISSION, message).hint("submit again when some have ended"));
        }
        Ok(())
    }

    /// Whether a run may start that another one wants. It is no new work: if runs that wait for others could keep those
    /// out, they would wait for ever.
    ///
    /// # Errors
    /// `ADMISSION` with what would have to change.
    pub fn check_storage(&self) -> Result<(), Diagnosis> {
        if self.storage_full.load(Ordering::Relaxed) {
            let message = format!("the broker's storage is more than {STORAGE_PERCENT_MAX} % full");
            return Err(Diagnosis::new(Code::ADMISSION, message).hint("give the broker more storage"));
        }
        Ok(())
    }

    async fn watch(self: Arc<Self>, bus: Bus, stop: CancellationToken) {
        let mut peers = self.peers.clone();
        let mut storage = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = peers.changed() => {
                    if changed.is_err() { return }
                    self.started_since.store(0, Ordering::Relaxed);
                }
                _ = storage.tick() => self.look_at_storage(&bus).await,
            }
        }
    }

    async fn look_at_storage(&self, bus: &Bus) {
        let Ok(account) = bus.jetstream().query_account().await else { return };
        let used = account.storage;
        let Ok(max) = u64::try_from(account.limits.max_storage.unwrap_or(-1)) else { return }; // no limit is set
        let full = max > 0 && used.saturating_mul(100) / max >= STORAGE_PERCENT_MAX;
        if self.storage_full.swap(full, Ordering::Relaxed) != full {
            tracing::warn!(used, max, full, "the broker's storage crossed the limit for new runs");
        }
    }
}
