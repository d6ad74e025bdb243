//! The registry of manifests: immutable versions under `agent.<name>.<version>` and `workflow.<name>.<version>`.
//!
//! Values are kept as they were applied; what they mean is the manifest crate's business.

use async_nats::jetstream::kv::{CreateErrorKind, Operation, Store};
use futures::StreamExt;
use kapelle_proto::bucket;
use kapelle_types::{Sha256, Timestamp, Version};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{Bus, Error};

/// Records that may wait for a reader of the registry.
const WATCH_WAITING_MAX: usize = 1_024;

/// What kinds of manifests there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// The bucket of manifests. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    store: Store,
}

impl Registry {
    /// Opens the bucket.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn open(bus: &Bus) -> Result<Self, Error> {
        let store = bus.jetstream().get_key_value(bucket::REGISTRY).await.map_err(Error::unavailable)?;
        Ok(Self { store })
    }

    /// Registers a version unless it is there.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn put(&self, record: &Registered) -> Result<Outcome, Error> {
        let bytes = serde_json::to_vec(record).map_err(|e| Error::Unreadable(e.to_string()))?;
        match self.store.create(record.key(), bytes.into()).await {
            Ok(_) => Ok(Outcome::Created),
            Err(e) if matches!(e.kind(), CreateErrorKind::AlreadyExists) => {
                let there = self.get(record.kind, &record.name, &record.version).await?;
                let same = there.is_some_and(|t| t.digest == record.digest);
                Ok(if same { Outcome::Unchanged } else { Outcome::Conflict })
            }
            Err(e) => Err(Error::unavailable(e)),
        }
    }

    /// Looks one version up.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready, [`Error::Unreadable`] if what is stored is no record.
    pub async fn get(&self, kind: Kind, name: &str, version: &Version) -> Result<Option<Registered>, Error> {
        let bytes = self.store.get(key(kind, name, version)).await.map_err(Error::unavailable)?;
        bytes.map(|b| serde_json::from_slice(&b).map_err(|e| Error::Unreadable(e.to_string()))).transpose()
    }

    /// Everything that is registered, then everything that comes; `None` in the channel marks the end of what was there.
    ///
    /// The channel closes when the watch breaks off (a lost connection): watch again.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn watch(&self) -> Result<mpsc::Receiver<Option<Registered>>, Error> {
        let mut watch = self.store.watch_with_history(">").await.map_err(Error::unavailable)?;
        let empty = self.store.status().await.map_err(Error::unavailable)?.info.state.messages == 0;
        let (sender, receiver) = mpsc::channel(WATCH_WAITING_MAX);
        tokio::spawn(async move {
            if empty && sender.send(None).await.is_err() {
                return;
            }
            let mut caught_up = empty;
            while let Some(Ok(entry)) = watch.next().await {
                let relevant = entry.operation == Operation::Put && entry.key.contains('.');
                let record = if relevant { serde_json::from_slice(&entry.value).ok() } else { None };
                if relevant && record.is_none() {
                    tracing::warn!(key = %entry.key, "a registry entry cannot be read and is left out");
                }
                if let Some(record) = record
                    && sender.send(Some(record)).await.is_err()
                {
                    return;
                }
                if entry.delta == 0 && !caught_up {
                    caught_up = true;
                    if sender.send(None).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(receiver)
    }
}
