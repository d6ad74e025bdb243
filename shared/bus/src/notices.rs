//! Events of one kind for one destination outside: a durable consumer each, so that nothing is lost while nobody delivers.
//!
//! Coordinators share a destination's consumer: an event is given to one of them at a time, and to the next if that one dies
//! with it. What is kept is the stream of events, whose limits bound what a destination that is away misses.

use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use bytes::Bytes;
use futures::StreamExt;
use kapelle_proto::stream;

use crate::{Bus, Error};

/// Events that are on their way to one destination at once, over all coordinators.
const IN_FLIGHT_MAX: i64 = 32;
/// How long a delivery may take until another coordinator tries it: longer than any attempt (15 s).
const ACK_WAIT: Duration = Duration::from_secs(20);

/// An event that is to be delivered.
#[derive(Debug)]
pub struct Notice {
    /// Tells it from every other one, however often it is delivered.
    pub id: String,
    /// The event, a CloudEvent in its structured JSON form.
    pub body: Bytes,
    /// How often it was given to somebody, this time included.
    pub deliveries: u64,
    message: async_nats::jetstream::Message,
}

impl Notice {
    /// It was delivered, or nobody wants it: never again.
    pub async fn settle(&self) {
        if let Err(error) = self.message.ack().await {
            tracing::debug!(%error, "a notice's ack was lost; it is delivered again under the same id");
        }
    }

    /// Not now: again after a while.
    pub async fn postpone(&self, delay: Duration) {
        let _ = self.message.ack_with(AckKind::Nak(Some(delay))).await;
    }
}

/// What one destination is told.
pub struct Notices {
    messages: pull::Stream,
}

impl Notices {
    /// Goes on where the destination's last delivery was; from now on where it is new.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn open(bus: &Bus, destination: &str, filter: &str) -> Result<Self, Error> {
        let config = pull::Config {
            durable_name: Some(format!("notify-{destination}")),
            filter_subject: filter.to_owned(),
            deliver_policy: DeliverPolicy::New,
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: IN_FLIGHT_MAX,
            ..pull::Config::default()
        };
        let consumer: PullConsumer =
            bus.jetstream().create_consumer_on_stream(config, stream::EVENTS).await.map_err(Error::unavailable)?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(1)
            .expires(Duration::from_secs(5))
            .heartbeat(Duration::from_secs(1))
            .messages()
            .await
            .map_err(Error::unavailable)?;
        Ok(Self { messages })
    }

    /// The next event.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: open it again.
    pub async fn next(&mut self) -> Result<Notice, Error> {
        let message = self.messages.next().await.ok_or_else(|| Error::Unavailable("closed".into()))?;
        let message = message.map_err(Error::unavailable)?;
        let place = message.info().map_err(Error::unavailable)?;
        let deliveries = u64::try_from(place.delivered).unwrap_or(u64::MAX);
        let id = message.headers.as_ref().and_then(|h| h.get("ce-id")).map(|v| v.as_str().to_owned());
        let id = id.unwrap_or_else(|| place.stream_sequence.to_string());
        Ok(Notice { id, body: message.payload.clone(), deliveries, message })
    }
}
