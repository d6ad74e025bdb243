//! Durable timers: JetStream schedules that come back as `TimerFired` on the run's control subject.

use async_nats::HeaderMap;
use async_nats::header::{NATS_SCHEDULE, NATS_SCHEDULE_TARGET};
use bytes::Bytes;
use kapelle_engine::Channel;
use kapelle_proto::stream;
use kapelle_proto::subject::{RunSubject, TimerSubject};
use kapelle_types::{Timestamp, printed};

use crate::publish::Acknowledgement;
use crate::{Bus, Error};

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
        let target = RunSubject { partition: timer.partition, run_id: timer.run_id, channel: Channel::Control };
        let mut headers = HeaderMap::new();
        headers.insert(NATS_SCHEDULE, format!("@at {}", due.rfc3339()));
        headers.insert(NATS_SCHEDULE_TARGET, target.to_string());
        self.publisher().publish(printed(timer), Some(headers), record).await
    }

    /// Forgets a timer. Harmless if there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub async fn cancel_timer(&self, timer: &TimerSubject) -> Result<(), Error> {
        self.purge(&stream::runs(timer.partition), &timer.to_string()).await
    }
}
