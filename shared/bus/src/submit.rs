//! Jobs that systems without gRPC publish straight to `kapelle.submit.<workflow>`.
//!
//! The broker's acknowledgement of that publish is the durable receipt. A message without an idempotency key gets a run id
//! that derives from its place in the stream, so that a redelivery is the same run.

use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::pull;
use bytes::Bytes;
use futures::StreamExt;
use kapelle_proto::stream;

use crate::provision::SUBMIT_CONSUMER;
use crate::{Bus, Error};

/// The header that carries an idempotency key.
pub const KEY_HEADER: &str = "Kapelle-Idempotency-Key";
/// The header that carries a SemVer requirement on the workflow's version.
pub const VERSION_HEADER: &str = "Kapelle-Version";
/// Messages that one coordinator takes at once.
const BATCH: usize = 256;

/// One job as it was published.
#[derive(Debug)]
pub struct Submission {
    /// The subject's last part; not checked yet.
    pub workflow: String,
    /// The version requirement, if the header was there.
    pub version: String,
    /// The idempotency key, or the message's own place.
    pub key: String,
    /// JSON text.
    pub input: Bytes,
    message: async_nats::jetstream::Message,
}

impl Submission {
    /// It became a run or was refused for good: never deliver it again.
    pub async fn settle(&self) {
        if let Err(error) = self.message.ack().await {
            tracing::debug!(%error, "a submission's ack was lost; it will be delivered again and found to be the same");
        }
    }

    /// Not now: deliver it again later.
    pub async fn postpone(&self, delay: Duration) {
        let _ = self.message.ack_with(AckKind::Nak(Some(delay))).await;
    }
}

/// The queue of direct submissions.
pub struct Submissions {
    messages: pull::Stream,
}

impl Submissions {
    /// Starts pulling; several coordinators share the queue.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn open(bus: &Bus) -> Result<Self, Error> {
        let consumer: async_nats::jetstream::consumer::PullConsumer = bus
            .jetstream()
            .get_consumer_from_stream(SUBMIT_CONSUMER, stream::SUBMIT)
            .await
            .map_err(Error::unavailable)?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(BATCH)
            .expires(Duration::from_secs(5))
            .heartbeat(Duration::from_secs(1))
            .messages()
            .await
            .map_err(Error::unavailable)?;
        Ok(Self { messages })
    }

    /// The next job.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: open the queue again.
    pub async fn next(&mut self) -> Result<Submission, Error> {
        let message = self.messages.next().await.ok_or_else(|| Error::Unavailable("closed".into()))?;
        let message = message.map_err(Error::unavailable)?;
        let header = |name: &str| message.headers.as_ref().and_then(|h| h.get(name)).map(|v| v.as_str().to_owned());
        let place = message.info().map_err(Error::unavailable)?;
        let key = header(KEY_HEADER)
            .unwrap_or_else(|| format!("submit/{}/{}", place.published.unix_timestamp_nanos(), place.stream_sequence));
        let workflow = message.subject.as_str().strip_prefix("kapelle.submit.").unwrap_or_default().to_owned();
        let version = header(VERSION_HEADER).unwrap_or_default();
        Ok(Submission { workflow, version, key, input: message.payload.clone(), message })
    }
}
