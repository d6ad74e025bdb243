//! The served policies: set after set in the bucket `policies`, and what is proposed.
//!
//! ```text
//!   set.1   set.2   set.3      each written once; the last that was written is served, the others are the history
//!   proposal.<id>              waits for a second person; gone when it is applied, void or expired
//! ```
//!
//! A set is one message, so it is served whole or not at all. Of two that are written at once under one number the broker
//! takes one. What policies mean is decided elsewhere.

use async_nats::jetstream::kv::{CreateErrorKind, Store};
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use kapelle_proto::bucket;
use kapelle_types::{Principal, Sha256, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Bus, Error};

/// The stream behind the bucket.
const STREAM: &str = "KV_policies";

/// One file of policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name, without folders.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A set that is, or was, served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// Its number, from 1.
    pub version: u64,
    /// The digest of its files ([`digest`]).
    pub digest: Sha256,
    /// Its files.
    pub files: Vec<File>,
    /// Who applied it, or proposed it.
    pub applied_by: Principal,
    /// The person behind that principal.
    pub person: Option<String>,
    /// When it was written.
    pub applied_at: Timestamp,
    /// Why, in that person's words; may be empty.
    pub why: String,
    /// The version whose content it serves again, if it is a rollback.
    pub again: Option<u64>,
    /// The proposal that it was.
    pub proposal: Option<String>,
    /// Who approved that.
    pub approved_by: Option<Principal>,
}

/// A set that waits for a second person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Derives from what it replaces and what it brings, so that the same proposal twice is one.
    pub id: String,
    /// What would be served; its version is the one after `replaces`.
    pub set: Set,
    /// The version that it was held against; 0 are the policies that come with Kapelle.
    pub replaces: u64,
    /// The digest of that version.
    pub replaces_digest: Sha256,
    /// What it weakens, a sentence each.
    pub weakens: Vec<String>,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// The digest of files: over names and texts, each with its length, so that no two sets look alike.
#[must_use]
pub fn digest(files: &[File]) -> Sha256 {
    let mut bytes = Vec::new();
    for part in files.iter().flat_map(|file| [&file.name, &file.text]) {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    Sha256::of(&bytes)
}

/// The bucket of policies. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PolicySets {
    store: Store,
    bus: Bus,
}

impl PolicySets {
    /// Opens the bucket.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn open(bus: &Bus) -> Result<Self, Error> {
        let store = bus.jetstream().get_key_value(bucket::POLICIES).await.map_err(Error::unavailable)?;
        Ok(Self { store, bus: bus.clone() })
    }

    /// The sequence of the latest change, as the broker's leader has it: whoever has seen it knows everything.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the bucket is gone, [`Error::Unavailable`] while the broker is not ready.
    pub async fn last_seq(&self) -> Result<u64, Error> {
        Ok(self.bus.stream_state(STREAM).await?.last_seq)
    }

    /// The set that was written last, by the word of the leader: a replica that lags would serve an older one. `None` if none
    /// ever was.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if it is no set or was removed, [`Error::Unavailable`] while the broker is not ready.
    pub async fn served(&self) -> Result<Option<Set>, Error> {
        match self.last(&format!("$KV.{}.set.*", bucket::POLICIES)).await? {
            Some(Last::There(set)) => Ok(Some(set)),
            Some(Last::Removed) => Err(Error::Unreadable("the set that was written last was removed".into())),
            None => Ok(None),
        }
    }

    /// One set; `None` if there is none of that number.
    ///
    /// # Errors
    /// As [`PolicySets::served`].
    pub async fn get(&self, version: u64) -> Result<Option<Set>, Error> {
        self.there(&format!("$KV.{}.set.{version}", bucket::POLICIES)).await
    }

    /// Writes a set under its version; false if somebody else was first.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready: it may or may not be there.
    pub async fn add(&self, set: &Set) -> Result<bool, Error> {
        self.create(&format!("set.{}", set.version), set).await
    }

    /// What is proposed, the oldest first. What cannot be read is left out: it can be proposed again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub async fn proposals(&self) -> Result<Vec<Proposal>, Error> {
        let request = json!({ "multi_last": [format!("$KV.{}.proposal.*", bucket::POLICIES)] });
        let answer = self.bus.direct_get(STREAM, &request).await?;
        // The marks of proposals that are gone have no content.
        let mut all: Vec<Proposal> =
            answer.messages.iter().filter_map(|m| serde_json::from_slice(&m.payload).ok()).collect();
        all.sort_by(|a, b| (a.set.applied_at, &a.id).cmp(&(b.set.applied_at, &b.id)));
        Ok(all)
    }

    /// One proposal, by the word of the leader.
    ///
    /// # Errors
    /// As [`PolicySets::served`].
    pub async fn proposal(&self, id: &str) -> Result<Option<Proposal>, Error> {
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(None);
        }
        self.there(&format!("$KV.{}.proposal.{id}", bucket::POLICIES)).await
    }

    /// Keeps a proposal; false if it is there already.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn propose(&self, proposal: &Proposal) -> Result<bool, Error> {
        self.create(&format!("proposal.{}", proposal.id), proposal).await
    }

    /// Removes a proposal. Harmless if there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn remove_proposal(&self, id: &str) -> Result<(), Error> {
        self.store.purge(format!("proposal.{id}")).await.map_err(Error::unavailable)
    }

    async fn create(&self, key: &str, value: &(impl Serialize + Sync)) -> Result<bool, Error> {
        let bytes = serde_json::to_vec(value).map_err(|e| Error::Unreadable(e.to_string()))?;
        match self.store.create(key, bytes.into()).await {
            Ok(_) => Ok(true),
            Err(e) if matches!(e.kind(), CreateErrorKind::AlreadyExists) => Ok(false),
            Err(e) => Err(Error::unavailable(e)),
        }
    }

    /// What a subject holds; what was removed is not there.
    async fn there<T: DeserializeOwned>(&self, subject: &str) -> Result<Option<T>, Error> {
        Ok(match self.last(subject).await? {
            Some(Last::There(value)) => Some(value),
            Some(Last::Removed) | None => None,
        })
    }

    /// The last message of a subject, or of all that match.
    async fn last<T: DeserializeOwned>(&self, subject: &str) -> Result<Option<Last<T>>, Error> {
        let stream = self.bus.jetstream().get_stream_no_info(STREAM).await.map_err(Error::unavailable)?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) if message.payload.is_empty() => Ok(Some(Last::Removed)),
            Ok(message) => {
                let read = serde_json::from_slice(&message.payload);
                read.map(|value| Some(Last::There(value)))
                    .map_err(|e| Error::Unreadable(format!("{}: {e}", message.subject)))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(Error::unavailable(error)),
        }
    }
}

/// The last message of a subject.
enum Last<T> {
    There(T),
    /// The mark of something that was removed.
    Removed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_tells_names_texts_and_their_borders_apart() {
        let file = |name: &str, text: &str| File { name: name.into(), text: text.into() };
        let all = [
            digest(&[]),
            digest(&[file("a", "b")]),
            digest(&[file("ab", "")]),
            digest(&[file("a", "b"), file("", "")]),
            digest(&[file("b", "a")]),
        ];
        let mut told: Vec<_> = all.iter().map(ToString::to_string).collect();
        told.sort();
        told.dedup();
        assert_eq!(told.len(), all.len());
    }
}
