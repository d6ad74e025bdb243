//! The registry of manifests: immutable versions under `agent.<name>.<version>` and `workflow.<name>.<version>`, and beside
//! them how far a version is on its way out, until when it is to be used, and which version the runs to come get.
//!
//! Values are kept as they were applied; what they mean is the manifest crate's business. Whoever follows the registry is
//! told the sequence of each change, so that it can say how far it has come.

mod deprecation;
mod release;
mod rollout;
mod standing;

use async_nats::jetstream::kv::{Entry, Operation, PurgeErrorKind, Store, UpdateErrorKind};
use bytes::Bytes;
use futures::StreamExt;
use kapelle_proto::bucket;
use kapelle_types::{AgentVersion, Sha256, Timestamp, Version};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

pub use deprecation::{Deprecation, SeenDeprecation};
pub use release::{Ramp, Release, SeenRelease, Share, Subject};
pub use rollout::{Baseline, Limits, Ratio, Rollout, Stage};
pub use standing::{Seen, Standing, Status};

use crate::leader::{self, Last};
use crate::{Bus, Error, Refusal};

/// Records that may wait for a reader of the registry.
const WATCH_WAITING_MAX: usize = 1_024;

/// What kinds of manifests there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// An agent.
    Agent,
    /// A workflow.
    Workflow,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Workflow => "workflow",
        }
    }
}

/// One registered version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registered {
    /// Agent or workflow.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Digest of the canonical manifest.
    pub digest: Sha256,
    /// The manifest as JSON.
    pub manifest: Value,
    /// The folder it was applied from; empty if unknown. `kapelle dev` runs process agents there.
    pub origin: String,
    /// Who applied it.
    pub applied_by: String,
    /// When.
    pub applied_at: Timestamp,
    /// Why it was registered although it broke registered workflows; empty if it broke none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub force_reason: String,
}

impl Registered {
    fn key(&self) -> String {
        key(self.kind, &self.name, &self.version)
    }
}

fn key(kind: Kind, name: &str, version: &Version) -> String {
    format!("{}.{name}.{}", kind.prefix(), version.token())
}

/// What became of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is new.
    Created,
    /// The same content was there.
    Unchanged,
    /// Another content is there; versions are immutable.
    Conflict,
}

/// Something that is to be known of the registry, with its sequence there.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Everything up to here has been told.
    pub seq: u64,
    /// What it is.
    pub news: News,
}

/// What followers of the registry are told.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// A version is registered.
    Registered(Box<Registered>),
    /// How an agent version stands; `None` is in use.
    Standing(AgentVersion, Option<Standing>),
    /// Until when an agent version is to be used; `None` is as long as it is there.
    Deprecation(AgentVersion, Option<Deprecation>),
    /// Which versions runs get; `None` is the highest.
    Release(Subject, Option<Release>),
    /// Something that is no manifest's business, or cannot be read.
    Other,
    /// Everything that was there has been told.
    CaughtUp,
}

/// The bucket of manifests. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    store: Store,
    bus: Bus,
}

impl Registry {
    /// Opens the bucket.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn open(bus: &Bus) -> Result<Self, Error> {
        let store = bus.jetstream().get_key_value(bucket::REGISTRY).await.map_err(Error::unavailable)?;
        Ok(Self { store, bus: bus.clone() })
    }

    /// Registers a version unless it is there.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn put(&self, record: &Registered) -> Result<Outcome, Error> {
        let bytes = serde_json::to_vec(record).map_err(|e| Error::Unreadable(e.to_string()))?;
        if self.bus.write_once(bucket::REGISTRY, &record.key(), bytes.into()).await? {
            return Ok(Outcome::Created);
        }
        let there = self.get(record.kind, &record.name, &record.version).await?;
        let same = there.is_some_and(|t| t.digest == record.digest);
        Ok(if same { Outcome::Unchanged } else { Outcome::Conflict })
    }

    /// Looks one version up, by the word of the leader: a version that a replica does not have yet is no unknown one.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready, [`Error::Unreadable`] if what is stored is no record.
    pub async fn get(&self, kind: Kind, name: &str, version: &Version) -> Result<Option<Registered>, Error> {
        let bytes = self.bus.value(bucket::REGISTRY, &key(kind, name, version)).await?;
        bytes.map(|b| serde_json::from_slice(&b).map_err(|e| Error::Unreadable(e.to_string()))).transpose()
    }

    /// The sequence of the latest change, as the broker has it: whoever has been told it knows everything.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn last_seq(&self) -> Result<u64, Error> {
        // Not the store's own status: that is what the broker said when the bucket was opened.
        Ok(self.bus.stream_state(&format!("KV_{}", bucket::REGISTRY)).await?.last_seq)
    }

    /// Everything that is registered, then everything that comes.
    ///
    /// The channel closes when the watch breaks off (a lost connection): watch again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn watch(&self) -> Result<mpsc::Receiver<Change>, Error> {
        // Asked for first: what has this sequence or a lower one is told before the watch has caught up.
        let there = self.bus.stream_state(&format!("KV_{}", bucket::REGISTRY)).await?;
        let mut watch = self.store.watch_with_history(">").await.map_err(Error::unavailable)?;
        let (sender, receiver) = mpsc::channel(WATCH_WAITING_MAX);
        tokio::spawn(async move {
            let all = Change { seq: there.last_seq, news: News::CaughtUp };
            let mut caught_up = there.messages == 0;
            if caught_up && sender.send(all.clone()).await.is_err() {
                return;
            }
            loop {
                let entry = tokio::select! {
                    () = sender.closed() => return,
                    entry = watch.next() => entry,
                };
                let Some(Ok(entry)) = entry else { return };
                if sender.send(Change { seq: entry.revision, news: news(&entry) }).await.is_err() {
                    return;
                }
                if entry.delta == 0 && !caught_up {
                    caught_up = true;
                    if sender.send(all.clone()).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(receiver)
    }

    /// What is written beside the manifests under a key, by the word of the leader, and the revision that the next one has to
    /// follow.
    async fn beside(&self, key: &str) -> Result<(Option<Bytes>, u64), Error> {
        let subject = format!("$KV.{}.{key}", bucket::REGISTRY);
        Ok(match leader::last(self.bus.jetstream(), &format!("KV_{}", bucket::REGISTRY), &subject).await? {
            Some(Last::There(message)) => (Some(message.payload.clone()), message.sequence),
            Some(Last::Removed(message)) => (None, message.sequence),
            None => (None, 0),
        })
    }

    /// Writes over what was seen, or takes it away, and gives the revision. A marker stays of what is taken away.
    async fn write_beside(&self, key: &str, bytes: Option<Vec<u8>>, seen: u64) -> Result<u64, Error> {
        let overtaken = || {
            let message = format!("what is written under {key} has changed meanwhile");
            Error::Refused { refusal: Refusal::NotFirst, message }
        };
        let Some(bytes) = bytes else {
            let purged = self.store.purge_expect_revision(key, Some(seen)).await;
            return purged.map(|()| seen).map_err(|e| match e.kind() {
                PurgeErrorKind::WrongLastRevision => overtaken(),
                _ => Error::unavailable(e),
            });
        };
        self.store.update(key, bytes.into(), seen).await.map_err(|e| match e.kind() {
            UpdateErrorKind::WrongLastRevision => overtaken(),
            _ => Error::unavailable(e),
        })
    }
}

fn news(entry: &Entry) -> News {
    let put = entry.operation == Operation::Put;
    let read = || -> Result<News, ()> {
        if let Some(agent) = standing::subject(&entry.key) {
            let standing = put.then(|| standing::read(&entry.value)).transpose();
            return standing.map(|it| News::Standing(agent, it)).map_err(drop);
        }
        if let Some(agent) = deprecation::subject(&entry.key) {
            let deprecation = put.then(|| deprecation::read(&entry.value)).transpose();
            return deprecation.map(|it| News::Deprecation(agent, it)).map_err(drop);
        }
        if let Some(subject) = release::subject(&entry.key) {
            let release = put.then(|| release::read(&entry.value)).transpose();
            return release.map(|it| News::Release(subject, it)).map_err(drop);
        }
        // The layout's record, which is no manifest, has no dot in its key; manifests are never taken away.
        if !put || !entry.key.contains('.') {
            return Ok(News::Other);
        }
        serde_json::from_slice(&entry.value).map(|record| News::Registered(Box::new(record))).map_err(drop)
    };
    read().unwrap_or_else(|()| {
        tracing::warn!(key = %entry.key, "a registry entry cannot be read and is left out");
        News::Other
    })
}
