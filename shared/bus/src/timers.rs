//! Durable timers: JetStream schedules that come back as `TimerFired` on the run's control subject.

use async_nats::HeaderMap;
use async_nats::header::{NATS_SCHEDULE, NATS_SCHEDULE_TARGET, NATS_SCHEDULE_TTL};
use bytes::Bytes;
use kapelle_engine::Channel;
use kapelle_proto::stream;
use kapelle_proto::subject::{RunSubject, TimerSubject};
use kapelle_types::{Timestamp, printed};

use crate::publish::Acknowledgement;
use crate::{Bus, Error};

/// How long a timer that went off is kept for its run's log to take it over: longer than any fail-over.
const FIRED_KEPT: &str = "1h";

impl Bus {
    /// Sets a timer, replacing one of the same name. `record` is what the broker appends to the run's control subject when
    /// it is due; due in the past means at once. Precision: about 250 ms.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the connection is gone.
    pub async fn start_timer(
        &self,
        timer: &TimerSubject,
        due: Timestamp,
        record: Bytes,
    ) -> Result<Acknowledgement, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_SCHEDULE, format!("@at {}", due.rfc3339()));
        if self.parts_timers() {
            headers.insert(NATS_SCHEDULE_TARGET, timer.fired());
            headers.insert(NATS_SCHEDULE_TTL, FIRED_KEPT);
        } else {
            let (partition, run_id) = (timer.partition, timer.run_id);
            let target = RunSubject { partition, run_id, channel: Channel::Control };
            headers.insert(NATS_SCHEDULE_TARGET, target.to_string());
        }
        self.publisher().publish(printed(timer), Some(headers), record).await
    }

    /// Forgets a timer. Harmless if there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub async fn cancel_timer(&self, timer: &TimerSubject) -> Result<(), Error> {
        let stream = if self.parts_timers() { stream::TIMERS.to_owned() } else { stream::runs(timer.partition) };
        self.purge(&stream, &timer.to_string()).await
    }
}
