//! Direct gets: stored messages from any replica, one or many for one request.

use std::time::Duration;

use async_nats::{Client, Message};
use bytes::Bytes;
use futures::StreamExt;

use crate::{Bus, Error};

/// How long the broker may be silent inside one read before it counts as unavailable.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a batched direct get brought.
pub(crate) struct Answer {
    /// The stored messages; their place is in their headers.
    pub(crate) messages: Vec<Message>,
    /// How many more there are.
    pub(crate) pending: u64,
}

impl Answer {
    /// Where a further read begins: behind the last that was read, if there are more.
    pub(crate) fn next(&self) -> Option<u64> {
        let last: u64 = header(self.messages.last()?, "Nats-Sequence")?.parse().ok()?;
        (self.pending > 0).then_some(last + 1)
    }
}

impl Bus {
    /// Asks a stream for stored messages; nothing matching is an empty answer.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub(crate) async fn direct_get(&self, stream: &str, request: &serde_json::Value) -> Result<Answer, Error> {
        get(self.client(), stream, request).await
    }
}

/// The same without a bus.
///
/// # Errors
/// [`Error::Unavailable`] if the broker did not answer.
pub(crate) async fn get(client: &Client, stream: &str, request: &serde_json::Value) -> Result<Answer, Error> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.map_err(Error::unavailable)?;
    let to = format!("$JS.API.DIRECT.GET.{stream}");
    client.publish_with_reply(to, inbox, request.to_string().into()).await.map_err(Error::unavailable)?;
    let mut messages = Vec::new();
    loop {
        let message = tokio::time::timeout(PATIENCE, answers.next())
            .await
            .map_err(|_| Error::Unavailable("no answer to a direct get".into()))?
            .ok_or_else(|| Error::Unavailable("the connection is closed".into()))?;
        match message.status.map(|s| s.as_u16()) {
            None => messages.push(message),
            Some(204) => {
                let pending = header(&message, "Nats-Num-Pending").and_then(|n| n.parse().ok()).unwrap_or(0);
                return Ok(Answer { messages, pending });
            }
            Some(404) => return Ok(Answer { messages, pending: 0 }),
            Some(status) => return Err(Error::Unavailable(format!("direct get: status {status}"))),
        }
    }
}

/// The last message of a subject.
pub(crate) struct Last {
    /// Its place in the stream.
    pub(crate) seq: u64,
    pub(crate) payload: Bytes,
}

impl Bus {
    /// The last message of a subject; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub(crate) async fn last(&self, stream: &str, subject: &str) -> Result<Option<Last>, Error> {
        let Some(message) = self.single(format!("$JS.API.DIRECT.GET.{stream}.{subject}"), Bytes::new()).await? else {
            return Ok(None);
        };
        let seq = header(&message, "Nats-Sequence").and_then(|n| n.parse().ok());
        let seq = seq.ok_or_else(|| Error::Unreadable(format!("an answer about {subject}")))?;
        Ok(Some(Last { seq, payload: message.payload }))
    }

    /// The message at a place of a stream; `None` if there is none. A batch of one costs far more: the broker counts what stands
    /// behind it, message by message in the rest of its block.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub(crate) async fn at(&self, stream: &str, seq: u64) -> Result<Option<Message>, Error> {
        let request = serde_json::json!({ "seq": seq }).to_string();
        self.single(format!("$JS.API.DIRECT.GET.{stream}"), request.into()).await
    }

    async fn single(&self, to: String, request: Bytes) -> Result<Option<Message>, Error> {
        let asked = tokio::time::timeout(PATIENCE, self.client().request(to, request));
        let answer = asked.await.map_err(|_| Error::Unavailable("no answer to a direct get".into()))?;
        let message = answer.map_err(Error::unavailable)?;
        match message.status.map(|s| s.as_u16()) {
            Some(404) => Ok(None),
            Some(status) => Err(Error::Unavailable(format!("direct get: status {status}"))),
            None => Ok(Some(message)),
        }
    }
}

/// One header of a message: its last value. What the broker says of a stored message stands behind the headers that were stored
/// with it, and these are whoever's who published it: a report could say that it is something else.
pub(crate) fn header<'m>(message: &'m Message, name: &str) -> Option<&'m str> {
    message.headers.as_ref()?.get_last(name).map(|value| value.as_str())
}
