//! API tokens: one record a token in the bucket `tokens`, with the SHA-256 of what its holder has and never that itself.
//!
//! ```text
//!   create ──▶ kpl_<id>_<secret>, shown once        bucket: <id> ──▶ hash, name, roles, until when, revoked when
//!   revoke ──▶ the record says so                   watch ──▶ every coordinator, at once
//! ```
//!
//! Whoever holds the broker's credentials may write here: they are the root of all trust. What a token allows is decided
//! elsewhere; this module stores it, hands it out and says what changed.

mod record;
mod secret;

use std::time::Duration;

use async_nats::jetstream::kv::{Operation, Store};
use futures::StreamExt;
use kapelle_proto::bucket;
use kapelle_types::{Timestamp, limits};
use tokio::sync::mpsc;

pub use record::{Record, State, TokenId, Wanted};
pub use secret::Secret;

use crate::leader::{self, Last};
use crate::{Bus, Error, Refusal};

/// Changes that may wait for whoever follows the tokens.
const WATCH_WAITING_MAX: usize = 1_024;
/// How long the record of a token that has ended is kept, for those who ask who could do what: a quarter.
const ENDED_KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

/// Something that happened to the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its sequence in the bucket.
    pub seq: u64,
    /// Which token.
    pub id: TokenId,
    /// The record as it is now; `None` if it is gone or cannot be read, and then no such token is accepted.
    pub record: Option<Record>,
}

/// The bucket of tokens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tokens {
    store: Store,
    bus: Bus,
}

impl Tokens {
    /// Opens the bucket.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn open(bus: &Bus) -> Result<Self, Error> {
        let store = bus.jetstream().get_key_value(bucket::TOKENS).await.map_err(Error::unavailable)?;
        Ok(Self { store, bus: bus.clone() })
    }

    /// Makes a token: what its holder has, and its record. Records of tokens that ended long ago are removed meanwhile.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready, [`Error::Refused`] if there are as many as there may be.
    pub async fn create(&self, wanted: Wanted, now: Timestamp) -> Result<(Secret, Record), Error> {
        let mut there = self.all().await?;
        for old in there.extract_if(.., |r| r.ended_at(now).is_some_and(|at| now.since(at) > ENDED_KEPT)) {
            self.store.purge(old.id.as_str()).await.map_err(Error::unavailable)?;
        }
        if there.len() >= limits::TOKENS_MAX {
            let message = format!("there are {} tokens, as many as there may be", there.len());
            return Err(Error::Refused { refusal: Refusal::Full, message });
        }
        let secret = Secret::generate()?;
        let record = Record::new(&secret, wanted, now);
        if !self.bus.write_once(bucket::TOKENS, record.id.as_str(), bytes(&record)?).await? {
            return Err(Error::Unavailable("another token has this id; make one again".into()));
        }
        Ok((secret, record))
    }

    /// Every record, in the order of its creation.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the broker stopped answering.
    pub async fn all(&self) -> Result<Vec<Record>, Error> {
        let (stream, filter) = (format!("KV_{}", bucket::TOKENS), format!("$KV.{}.>", bucket::TOKENS));
        // The markers of removed records have no content.
        let record = |m: async_nats::jetstream::Message| serde_json::from_slice::<Record>(&m.payload).ok();
        let mut records = self.bus.latest(&stream, filter, false, record).await?;
        records.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        Ok(records)
    }

    /// Ends a token from `now` on. Doing it twice leaves the first time standing.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such token, [`Error::Unavailable`] while the broker is not ready or if somebody
    /// changed the record meanwhile.
    pub async fn revoke(&self, id: &TokenId, now: Timestamp) -> Result<Record, Error> {
        let unknown = || Error::NotFound(format!("token {id}"));
        // Asked of the leader: to a replica that lags a token that was just made is none.
        let (stream, subject) = (format!("KV_{}", bucket::TOKENS), format!("$KV.{}.{}", bucket::TOKENS, id.as_str()));
        let last = leader::last(self.bus.jetstream(), &stream, &subject).await?;
        let there = last.and_then(Last::there).ok_or_else(unknown)?;
        let mut record: Record =
            serde_json::from_slice(&there.payload).map_err(|e| Error::Unreadable(format!("token {id}: {e}")))?;
        if record.revoked_at.is_none() {
            record.revoked_at = Some(now);
            self.store.update(id.as_str(), bytes(&record)?, there.sequence).await.map_err(Error::unavailable)?;
        }
        Ok(record)
    }

    /// The sequence of the latest change, as the broker has it: whoever has seen it knows everything.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn last_seq(&self) -> Result<u64, Error> {
        // Not the store's own status: that is what the broker said when the bucket was opened.
        Ok(self.bus.stream_state(&format!("KV_{}", bucket::TOKENS)).await?.last_seq)
    }

    /// Every record, then every change.
    ///
    /// The channel closes when the watch breaks off (a lost connection): watch again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn watch(&self) -> Result<mpsc::Receiver<Change>, Error> {
        let mut watch = self.store.watch_with_history(">").await.map_err(Error::unavailable)?;
        let (sender, receiver) = mpsc::channel(WATCH_WAITING_MAX);
        tokio::spawn(async move {
            loop {
                let entry = tokio::select! {
                    () = sender.closed() => return,
                    entry = watch.next() => entry,
                };
                let Some(Ok(entry)) = entry else { return };
                let Ok(id) = entry.key.parse::<TokenId>() else {
                    tracing::warn!("a key of the bucket of tokens is no token's");
                    continue;
                };
                let put = entry.operation == Operation::Put;
                let record = if put { serde_json::from_slice::<Record>(&entry.value).ok() } else { None };
                if put && record.is_none() {
                    tracing::warn!(%id, "the record of a token cannot be read; it is not accepted");
                }
                if sender.send(Change { seq: entry.revision, id, record }).await.is_err() {
                    return;
                }
            }
        });
        Ok(receiver)
    }
}

fn bytes(record: &Record) -> Result<bytes::Bytes, Error> {
    serde_json::to_vec(record).map(Into::into).map_err(|e| Error::Unreadable(e.to_string()))
}
