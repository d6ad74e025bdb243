//! Brings notices to their destinations: each has a consumer of its own, so that one that is away holds up no other.
//!
//! What is not taken is tried again, later each time, and given up after [`DELIVERIES_MAX`] tries; a metric and the log say so.
//! It is delivered at least once, under an id that stays the same.

use std::sync::Arc;
use std::time::Duration;

use kapelle_bus::Bus;
use kapelle_bus::notices::{Notice, Notices};
use kapelle_telemetry::metrics::NOTICES;
use kapelle_types::{Code, Diagnosis};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::destinations::{Destination, Destinations, Way};
use super::mail;
use super::notice::FILTER;
use super::webhook::Webhooks;

/// How long one try may take.
const TRY_MAX: Duration = Duration::from_secs(15);
/// How soon what was not taken is tried again, the first time; twice as long each time.
const AGAIN_MIN: Duration = Duration::from_secs(1);
/// The longest pause between two tries.
const AGAIN_MAX: Duration = Duration::from_secs(3_600);
/// Tries of one notice: some twelve hours. Who was not there for that long looks at what is open.
const DELIVERIES_MAX: u64 = 24;
/// How soon a consumer that broke off is opened again.
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// Delivers to all destinations until `stop`.
///
/// # Errors
/// `NOTIFY_INVALID`: this machine's certificate authorities cannot be read.
pub(crate) fn deliver(bus: &Bus, destinations: Destinations, stop: &CancellationToken) -> Result<(), Diagnosis> {
    let webhooks = Webhooks::new().map_err(|why| Diagnosis::new(Code::NOTIFY_INVALID, why))?;
    let webhooks = Arc::new(webhooks);
    for destination in destinations.all {
        let courier = Courier { bus: bus.clone(), destination, webhooks: Arc::clone(&webhooks) };
        tokio::spawn(courier.run(stop.clone()));
    }
    Ok(())
}

/// Whoever delivers to one destination.
struct Courier {
    bus: Bus,
    destination: Destination,
    webhooks: Arc<Webhooks>,
}

impl Courier {
    async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match Notices::open(&self.bus, &self.destination.name, FILTER).await {
                Ok(notices) => self.follow(notices, &stop).await,
                Err(error) => {
                    tracing::debug!(destination = self.destination.name, %error, "notices wait for the broker")
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(OPEN_AGAIN) => {}
            }
        }
    }

    async fn follow(&self, mut notices: Notices, stop: &CancellationToken) {
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => return,
                next = notices.next() => next,
            };
            match next {
                Ok(notice) => self.take(notice).await,
                Err(error) => {
                    tracing::debug!(destination = self.destination.name, %error, "opening the notices again");
                    return;
                }
            }
        }
    }

    async fn take(&self, notice: Notice) {
        let name = self.destination.name.as_str();
        let count = |outcome| NOTICES.counter(&[name, outcome]).increment(1);
        let event: Value = serde_json::from_slice(&notice.body).unwrap_or_default();
        if !self.is_for(&event) {
            return notice.settle().await;
        }
        let tried = tokio::time::timeout(TRY_MAX, self.send(&notice, &event)).await;
        let Err(why) = tried.unwrap_or_else(|_| Err(format!("no answer within {TRY_MAX:?}"))) else {
            count("delivered");
            return notice.settle().await;
        };
        if notice.deliveries >= DELIVERIES_MAX {
            tracing::error!(destination = name, id = notice.id, why, "a notice cannot be delivered and is given up");
            count("given_up");
            return notice.settle().await;
        }
        tracing::warn!(destination = name, id = notice.id, why, tries = notice.deliveries, "a notice was not taken");
        count("failed");
        notice.postpone(pause(notice.deliveries)).await;
    }

    async fn send(&self, notice: &Notice, event: &Value) -> Result<(), String> {
        match &self.destination.way {
            Way::Webhook { url, secret } => self.webhooks.post(url, secret, &notice.id, notice.body.clone()).await,
            Way::Mail { server, from, to } => mail::send(server, (from, to), &notice.id, event).await,
        }
    }

    /// Whether a notice is about a group that this destination is told of. What is for everybody is.
    fn is_for(&self, event: &Value) -> bool {
        let groups = event["data"]["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut named = groups.iter().filter_map(Value::as_str);
        self.destination.groups.is_empty()
            || groups.is_empty()
            || named.any(|group| self.destination.groups.iter().any(|it| it == group))
    }
}

fn pause(deliveries: u64) -> Duration {
    let doublings = u32::try_from(deliveries.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    AGAIN_MIN.saturating_mul(1 << doublings).min(AGAIN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_come_later_each_time_and_end() {
        assert_eq!(pause(1), Duration::from_secs(1));
        assert_eq!(pause(4), Duration::from_secs(8));
        assert_eq!(pause(DELIVERIES_MAX), AGAIN_MAX);
        let total: Duration = (1..DELIVERIES_MAX).map(pause).sum();
        assert!(total > Duration::from_secs(11 * 3600) && total < Duration::from_secs(14 * 3600), "{total:?}");
    }
}
