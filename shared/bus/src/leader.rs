//! Reads and first writes by the word of a stream's leader.
//!
//! A direct get is answered by any replica, and one that lags does not have yet what the leader acknowledged long ago. That is
//! good enough where what is read is held against something else; where "it is not there" decides, the leader is asked.

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::Context;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;

use crate::{Bus, Error, Refusal};

/// What a subject held last.
pub(crate) enum Last {
    /// A value.
    There(StreamMessage),
    /// The mark of a value that was removed.
    Removed(StreamMessage),
}

impl Last {
    /// The value, unless it was removed.
    pub(crate) fn there(self) -> Option<StreamMessage> {
        match self {
            Self::There(message) => Some(message),
            Self::Removed(_) => None,
        }
    }
}

/// The last message of a subject, or of all that match; `None` if there never was one.
///
/// # Errors
/// [`Error::Unavailable`] if the leader did not answer.
pub(crate) async fn last(jetstream: &Context, stream: &str, subject: &str) -> Result<Option<Last>, Error> {
    let stream = jetstream.get_stream_no_info(stream).await.map_err(Error::unavailable)?;
    match stream.get_last_raw_message_by_subject(subject).await {
        Ok(message) if message.payload.is_empty() => Ok(Some(Last::Removed(message))),
        Ok(message) => Ok(Some(Last::There(message))),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(Error::unavailable(error)),
    }
}

/// The first message of a subject that is there from a sequence on; `None` if there is none.
///
/// # Errors
/// [`Error::Unavailable`] if the leader did not answer.
pub(crate) async fn next(
    jetstream: &Context,
    stream: &str,
    subject: &str,
    seq: u64,
) -> Result<Option<StreamMessage>, Error> {
    let stream = jetstream.get_stream_no_info(stream).await.map_err(Error::unavailable)?;
    match stream.get_first_raw_message_by_subject(subject, seq).await {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(Error::unavailable(error)),
    }
}

impl Bus {
    /// The value of a key, as the leader has it; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the leader did not answer.
    pub(crate) async fn value(&self, bucket: &str, key: &str) -> Result<Option<Bytes>, Error> {
        let last = last(self.jetstream(), &format!("KV_{bucket}"), &format!("$KV.{bucket}.{key}")).await?;
        Ok(last.and_then(Last::there).map(|message| message.payload))
    }

    /// Writes a key that is never removed, unless it is there: then false.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready: it may or may not be written.
    pub(crate) async fn write_once(&self, bucket: &str, key: &str, value: Bytes) -> Result<bool, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        self.write_if(format!("$KV.{bucket}.{key}"), headers, value).await
    }

    /// Writes what the headers set a condition for; false if the condition does not hold.
    ///
    /// # Errors
    /// As [`Bus::write_once`].
    pub(crate) async fn write_if(&self, subject: String, condition: HeaderMap, value: Bytes) -> Result<bool, Error> {
        match self.publisher().publish(subject, Some(condition), value).await?.await {
            Ok(_) => Ok(true),
            Err(error) if error.refusal() == Some(Refusal::NotFirst) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
