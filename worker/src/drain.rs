//! How a worker leaves: `SIGTERM`, a scale-down, an upgrade. Whoever catches the signal calls [`crate::Handle::drain`].
//!
//! ```text
//!   stop pulling ─▶ give back what waits (K0408) ─▶ what runs ends, or is abandoned after the grace (K0406)
//!                ─▶ reports are stored, tasks acknowledged ─▶ presence removed ─▶ gone
//! ```

use std::time::Duration;

use crate::Handle;

/// How long the last reports may take. Without a broker they cannot be stored, and the leases bring the tasks back.
const REPORTS_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long the last acknowledgements may take to leave this process.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(2);

/// How a drain went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Attempts that did not end within the grace and were reported as lost.
    pub abandoned: usize,
    /// Whether every report was stored. If not, the broker was away, and the tasks come back by their leases.
    pub all_reported: bool,
}

pub(crate) async fn drain(worker: Handle) -> Drained {
    let Handle { bus, draining, consumers, reports, reporter, announcer, .. } = worker;
    draining.cancel();
    let mut abandoned = 0;
    for (agent, consumer) in consumers.into_inner() {
        match consumer.await {
            Ok(count) => abandoned += count,
            Err(error) => tracing::error!(%agent, %error, "the loop of an agent had ended before the drain"),
        }
    }
    drop(reports);
    let all_reported = tokio::time::timeout(REPORTS_WAIT_MAX, reporter).await.is_ok();
    announcer.stop().await;
    let flushed = tokio::time::timeout(FLUSH_WAIT_MAX, bus.client().flush()).await;
    if !all_reported || !matches!(flushed, Ok(Ok(()))) {
        tracing::warn!("the broker is away: what was not reported comes back to other workers by its lease");
    }
    let drained = Drained { abandoned, all_reported };
    tracing::info!(?drained, "the worker has drained");
    drained
}
