//! The served policies: set after set in the bucket `policies`, and what is proposed.
//!
//! ```text
//!   set.1   set.2   set.3      each written once; the last that was written is served, the others are the history
//!   proposal.<id>              waits for a second person; gone when it is applied, void or expired
//! ```
//!
//! A set is one message, so it is served whole or not at all. Of two that are written at once under one number the broker
//! takes one, and no proposal comes beside those that its writer has counted. What policies mean is decided elsewhere.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::kv::Store;
use bytes::Bytes;
use kapelle_proto::bucket;
use kapelle_types::{Principal, Sha256, Timestamp, limits};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::direct::header;
use crate::leader::{self, Last};
use crate::{Bus, Error};

/// The stream behind the bucket.
const STREAM: &str = "KV_policies";
/// Every proposal.
const PROPOSALS: &str = "$KV.policies.proposal.*";
/// What sequence is expected of another subject than the one that is written; subjects that match it count as one.
const EXPECTED_OF: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
/// How long the mark of a proposal that is gone stays: longer than anybody holds what it read. One answer of the broker names a
/// thousand keys at most, and marks are among them.
const MARK_KEPT: Duration = Duration::from_secs(60);
/// Times that somebody else may be quicker with a proposal before it counts as a failure.
const TRIES_MAX: usize = 20;

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

/// What became of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proposed {
    /// It waits.
    New,
    /// The same waits already: as it was proposed first.
    There(Box<Proposal>),
    /// As many wait as may.
    Full,
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
        match leader::last(self.bus.jetstream(), STREAM, &format!("$KV.{}.set.*", bucket::POLICIES)).await? {
            Some(Last::There(message)) => read(&message.subject, &message.payload).map(Some),
            Some(Last::Removed(_)) => Err(Error::Unreadable("the set that was written last was removed".into())),
            None => Ok(None),
        }
    }

    /// One set; `None` if there is none of that number.
    ///
    /// # Errors
    /// As [`PolicySets::served`].
    pub async fn get(&self, version: u64) -> Result<Option<Set>, Error> {
        self.there(&format!("set.{version}")).await
    }

    /// Writes a set under its version; false if somebody else was first.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready: it may or may not be there.
    pub async fn add(&self, set: &Set) -> Result<bool, Error> {
        self.bus.write_once(bucket::POLICIES, &format!("set.{}", set.version), written(set)?).await
    }

    /// What is proposed, the oldest first. What cannot be read is left out: it can be proposed again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker did not answer.
    pub async fn proposals(&self) -> Result<Vec<Proposal>, Error> {
        // The marks of proposals that are gone have no content.
        let kept = self.kept().await?;
        let mut all: Vec<Proposal> = kept.iter().filter_map(|m| serde_json::from_slice(&m.payload).ok()).collect();
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
        self.there(&format!("proposal.{id}")).await
    }

    /// Keeps a proposal, unless it is there or [`limits::PROPOSALS_MAX`] are. It is written only if no other came or went since
    /// they were counted, so that there are never more, however many propose at once.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready, or if others were always quicker.
    pub async fn propose(&self, proposal: &Proposal) -> Result<Proposed, Error> {
        let subject = format!("$KV.{}.proposal.{}", bucket::POLICIES, proposal.id);
        let value = written(proposal)?;
        for _ in 0..TRIES_MAX {
            if let Some(there) = self.proposal(&proposal.id).await? {
                return Ok(Proposed::There(Box::new(there)));
            }
            let kept = self.kept().await?;
            let last = kept.iter().filter_map(|m| header(m, "Nats-Sequence")?.parse::<u64>().ok()).max().unwrap_or(0);
            if kept.iter().filter(|m| !m.payload.is_empty()).count() >= limits::PROPOSALS_MAX {
                return Ok(Proposed::Full);
            }
            let mut condition = HeaderMap::new();
            condition.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, last.to_string());
            condition.insert(EXPECTED_OF, PROPOSALS);
            if self.bus.write_if(subject.clone(), condition, value.clone()).await? {
                return Ok(Proposed::New);
            }
        }
        Err(Error::Unavailable("others were always quicker with a proposal".into()))
    }

    /// Removes a proposal. Harmless if there is none. Its mark goes by itself.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn remove_proposal(&self, id: &str) -> Result<(), Error> {
        self.store.purge_with_ttl(format!("proposal.{id}"), MARK_KEPT).await.map_err(Error::unavailable)
    }

    /// The last message of every proposal, marks of those that are gone among them, as some replica has them.
    async fn kept(&self) -> Result<Vec<async_nats::Message>, Error> {
        Ok(self.bus.direct_get(STREAM, &json!({ "multi_last": [PROPOSALS] })).await?.messages)
    }

    /// What a key holds; what was removed is not there.
    async fn there<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let value = self.bus.value(bucket::POLICIES, key).await?;
        value.map(|value| read(key, &value)).transpose()
    }
}

fn written(value: &impl Serialize) -> Result<Bytes, Error> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|e| Error::Unreadable(e.to_string()))
}

fn read<T: DeserializeOwned>(place: &str, value: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(value).map_err(|e| Error::Unreadable(format!("{place}: {e}")))
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
