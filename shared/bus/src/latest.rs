//! The last message of each subject of a stream, as a list that ends.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use futures::StreamExt;

use crate::{Bus, Error};

/// How long a listing may be silent before it counts as broken off.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Messages that are asked for at once.
const BATCH: usize = 500;
/// How soon the broker forgets a listing that was broken off.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);
/// Listings in a row whose connection may break.
const BREAKS_MAX: usize = 3;

impl Bus {
    /// What `take` makes of the last message of every subject that matches, in stream order, with or without its content.
    /// What is removed meanwhile may be among them or not.
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
        let config = pull::Config {
            filter_subject: filter,
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            memory_storage: true,
            num_replicas: 1,
            inactive_threshold: FORGOTTEN_AFTER,
            headers_only,
            ..pull::Config::default()
        };
        let connects = || self.client().statistics().connects.load(Ordering::Relaxed);
        for _ in 0..BREAKS_MAX {
            let before = connects();
            let (taken, left) = self.list_once(config.clone(), stream, &take).await?;
            // What the broker announced and did not send was removed meanwhile. Only a connection that broke loses messages.
            if left == 0 || connects() == before {
                return Ok(taken);
            }
        }
        Err(Error::Unavailable("the connection breaks off again and again".into()))
    }

    /// What is there, and how much of what was announced did not come.
    async fn list_once<T>(
        &self,
        config: pull::Config,
        stream: &str,
        take: impl Fn(Message) -> Option<T>,
    ) -> Result<(Vec<T>, u64), Error> {
        let consumer = self.jetstream().create_consumer_on_stream(config, stream).await.map_err(Error::unavailable)?;
        let mut left = consumer.cached_info().num_pending;
        let name = &consumer.cached_info().name;
        let mut taken = Vec::new();
        let mut came = true;
        while left > 0 && came {
            came = false;
            let batch = consumer.fetch().max_messages(BATCH).messages().await.map_err(Error::unavailable)?;
            let mut batch = std::pin::pin!(batch);
            let silent = |_| Error::Unavailable("listing stopped".into());
            while let Some(message) = tokio::time::timeout(SILENCE_MAX, batch.next()).await.map_err(silent)? {
                let message = message.map_err(Error::unavailable)?;
                left = message.info().map_err(Error::unavailable)?.pending;
                taken.extend(take(message));
                came = true;
            }
        }
        // It would leave by itself, but half a minute later.
        let _ = self.jetstream().delete_consumer_from_stream(name, stream).await;
        Ok((taken, left))
    }
}
