//! The metrics that a worker moves; handles are taken once.

use std::time::Duration;

use kapelle_engine::FailureKind;
use kapelle_telemetry::metrics::{
    PAYLOAD_BYTES, SCHEDULE_TO_START, STEP_DURATION, TASK_ATTEMPTS, TASK_REDELIVERIES, WORKER_SLOTS_AVAILABLE,
    WORKER_SLOTS_USED,
};
use kapelle_types::AgentVersion;
use metrics::{Counter, Gauge, Histogram};

/// How many slots are used and free.
#[derive(Clone)]
pub(crate) struct SlotMeters {
    available: Gauge,
    used: Gauge,
}

impl SlotMeters {
    pub(crate) fn new(total: usize) -> Self {
        let meters = Self { available: WORKER_SLOTS_AVAILABLE.gauge(&[]), used: WORKER_SLOTS_USED.gauge(&[]) };
        #[allow(clippy::cast_precision_loss)] // slots are few
        meters.available.set(total as f64);
        meters.used.set(0.0);
        meters
    }

    pub(crate) fn taken(&self) {
        self.available.decrement(1.0);
        self.used.increment(1.0);
    }

    pub(crate) fn freed(&self) {
        self.available.increment(1.0);
        self.used.decrement(1.0);
    }
}

/// What is measured of one agent version.
pub(crate) struct AgentMeters {
    succeeded: Counter,
    failed: Counter,
    timed_out: Counter,
    lost: Counter,
    returned: Counter,
    redeliveries: Counter,
    waited: Histogram,
    ran: Histogram,
    payload_bytes: Histogram,
}

impl AgentMeters {
    pub(crate) fn new(agent: &AgentVersion) -> Self {
        let version = agent.version.to_string();
        let labels = [agent.name.as_str(), version.as_str()];
        let outcome = |outcome| TASK_ATTEMPTS.counter(&[outcome]);
        Self {
            succeeded: outcome("succeeded"),
            failed: outcome("failed"),
            timed_out: outcome("timed_out"),
            lost: outcome("lost"),
            returned: outcome("returned"),
            redeliveries: TASK_REDELIVERIES.counter(&[]),
            waited: SCHEDULE_TO_START.histogram(&labels),
            ran: STEP_DURATION.histogram(&labels),
            payload_bytes: PAYLOAD_BYTES.histogram(&[]),
        }
    }

    /// An attempt left its queue after this time.
    pub(crate) fn started(&self, waited: Duration) {
        self.waited.record(waited);
    }

    /// An agent ran this long.
    pub(crate) fn ran(&self, duration: Duration) {
        self.ran.record(duration);
    }

    /// An attempt is reported: with an output of this size, or failed in this way.
    pub(crate) fn reported(&self, outcome: Result<usize, FailureKind>) {
        match outcome {
            #[allow(clippy::cast_precision_loss)] // payloads have 16 MiB at most
            Ok(bytes) => {
                self.succeeded.increment(1);
                self.payload_bytes.record(bytes as f64);
            }
            Err(FailureKind::Agent) => self.failed.increment(1),
            Err(FailureKind::Timeout) => self.timed_out.increment(1),
            Err(FailureKind::LeaseLost) => self.lost.increment(1),
            Err(FailureKind::Returned) => self.returned.increment(1),
        }
    }

    /// A task came a second time.
    pub(crate) fn redelivered(&self) {
        self.redeliveries.increment(1);
    }
}
