//! Dead letters: one message per step that gave up, on `kapelle.dead.…`. They are derived from the run log.

use async_nats::jetstream::Message;
use bytes::Bytes;
use kapelle_proto::stream;
use kapelle_proto::subject::DeadSubject;
use kapelle_types::printed;

use crate::publish::Acknowledgement;
use crate::{Bus, Error};

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
        let letter = |m: Message| Some((m.subject.as_str().parse().ok()?, m.message.payload));
        self.latest(stream::DEAD, filter.to_owned(), headers_only, letter).await
    }
}
