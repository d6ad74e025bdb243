//! The last message of each subject of a stream, as a list that ends.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures::StreamExt;

use crate::{Bus, Error};

/// How long a listing may be silent before it counts as broken off.
const SILENCE_MAX: Duration = Duration::from_secs(3);

impl Bus {
    /// What `take` makes of the last message of every subject that matches, in stream order, with or without its content.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker stopped answering.
    pub(crate) async fn latest<T>(
        &self,
        stream: &str,
        filter: String,
        headers_only: bool,
        take: impl Fn(Message) -> Option<T>,
    ) -> Result<Vec<T>, Error> {
        let config = pull::OrderedConfig {
            filter_subject: filter,
            deliver_policy: DeliverPolicy::LastPerSubject,
            headers_only,
            ..pull::OrderedConfig::default()
        };
        let consumer = self.jetstream().create_consumer_on_stream(config, stream).await.map_err(Error::unavailable)?;
        let mut pending = consumer.cached_info().num_pending;
        let name = consumer.cached_info().name.clone();
        let mut incoming = consumer.messages().await.map_err(Error::unavailable)?;
        let mut taken = Vec::new();
        while pending > 0 {
            let message = tokio::time::timeout(SILENCE_MAX, incoming.next())
                .await
                .map_err(|_| Error::Unavailable("listing stopped".into()))?
                .ok_or_else(|| Error::Unavailable("the connection is closed".into()))?
                .map_err(Error::unavailable)?;
            pending = message.info().map_err(Error::unavailable)?.pending;
            taken.extend(take(message));
        }
        drop(incoming);
        // It would leave by itself, but half a minute later.
        let _ = self.jetstream().delete_consumer_from_stream(&name, stream).await;
        Ok(taken)
    }
}
