//! Dead letters: one message per step that gave up, on `kapelle.dead.…`. They are derived from the run log.

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use bytes::Bytes;
use futures::StreamExt;
use kapelle_proto::stream;
use kapelle_proto::subject::DeadSubject;
use kapelle_types::printed;

use crate::publish::Acknowledgement;
use crate::{Bus, Error};

/// How long a listing may be silent before it counts as broken off.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

impl Bus {
    /// Keeps a dead letter; a later one of the same step replaces it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the connection is gone.
    pub async fn keep_dead_letter(&self, letter: &DeadSubject, message: Bytes) -> Result<Acknowledgement, Error> {
        self.publisher().publish(printed(letter), None, message).await
    }

    /// Removes a dead letter. Harmless if there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub async fn remove_dead_letter(&self, letter: &DeadSubject) -> Result<(), Error> {
        self.purge(stream::DEAD, &letter.to_string()).await
    }

    /// All dead letters whose subject matches, oldest first, as (subject, message).
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker stopped answering.
    pub async fn dead_letters(&self, filter: &str) -> Result<Vec<(DeadSubject, Bytes)>, Error> {
        self.list_dead(filter, false).await
    }

    /// The subjects of all dead letters that match: to count them without reading them.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker stopped answering.
    pub async fn dead_subjects(&self, filter: &str) -> Result<Vec<DeadSubject>, Error> {
        Ok(self.list_dead(filter, true).await?.into_iter().map(|(subject, _)| subject).collect())
    }

    async fn list_dead(&self, filter: &str, headers_only: bool) -> Result<Vec<(DeadSubject, Bytes)>, Error> {
        let config = pull::OrderedConfig {
            filter_subject: filter.to_owned(),
            deliver_policy: DeliverPolicy::LastPerSubject,
            headers_only,
            ..pull::OrderedConfig::default()
        };
        let jetstream = self.jetstream();
        let consumer = jetstream.create_consumer_on_stream(config, stream::DEAD).await.map_err(Error::unavailable)?;
        let mut pending = consumer.cached_info().num_pending;
        let name = consumer.cached_info().name.clone();
        let mut messages = consumer.messages().await.map_err(Error::unavailable)?;
        let mut letters = Vec::new();
        while pending > 0 {
            let message = tokio::time::timeout(PATIENCE, messages.next())
                .await
                .map_err(|_| Error::Unavailable("listing stopped".into()))?
                .ok_or_else(|| Error::Unavailable("the connection is closed".into()))?
                .map_err(Error::unavailable)?;
            pending = message.info().map_err(Error::unavailable)?.pending;
            if let Ok(subject) = message.subject.as_str().parse() {
                letters.push((subject, message.payload.clone()));
            }
        }
        drop(messages);
        let _ = jetstream.delete_consumer_from_stream(&name, stream::DEAD).await;
        Ok(letters)
    }
}
