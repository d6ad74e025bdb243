//! How far each partition is done: one key a partition, written by its owner; and how far its lineage is published, another.

use async_nats::jetstream::kv::Store;
use kapelle_proto::bucket;
use kapelle_types::Partition;
use serde::{Deserialize, Serialize};

use crate::{Bus, Error};

/// A partition's cursor. Everything up to `seq` is performed; a cursor of another stream (another `stream_created`) is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The last sequence whose commands are all acknowledged; 0 is none.
    pub seq: u64,
    /// When the stream was created, in nanoseconds since the Unix epoch.
    pub stream_created: i64,
}

/// The bucket of cursors.
#[derive(Debug, Clone)]
pub struct Cursors {
    store: Store,
}

impl Cursors {
    /// Opens the bucket.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn open(bus: &Bus) -> Result<Self, Error> {
        let store = bus.jetstream().get_key_value(bucket::CURSORS).await.map_err(Error::unavailable)?;
        Ok(Self { store })
    }

    /// The partition's cursor; `None` if none was ever written or it cannot be read (then all is read again).
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn load(&self, partition: Partition) -> Result<Option<Cursor>, Error> {
        self.get(partition.to_string()).await
    }

    /// Writes the cursor. A cursor that goes back is harmless: entries are applied again and their commands absorbed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn save(&self, partition: Partition, cursor: Cursor) -> Result<(), Error> {
        self.put(partition.to_string(), cursor).await
    }

    /// Up to where the partition's events of lineage are published; `None` if none ever was.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn load_lineage(&self, partition: Partition) -> Result<Option<Cursor>, Error> {
        self.get(lineage(partition)).await
    }

    /// Writes up to where the partition's events of lineage are published.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn save_lineage(&self, partition: Partition, cursor: Cursor) -> Result<(), Error> {
        self.put(lineage(partition), cursor).await
    }

    async fn get(&self, key: String) -> Result<Option<Cursor>, Error> {
        let bytes = self.store.get(key).await.map_err(Error::unavailable)?;
        Ok(bytes.and_then(|b| serde_json::from_slice(&b).ok()))
    }

    async fn put(&self, key: String, cursor: Cursor) -> Result<(), Error> {
        let bytes = serde_json::to_vec(&cursor).map_err(|e| Error::Unreadable(e.to_string()))?;
        self.store.put(key, bytes.into()).await.map(drop).map_err(Error::unavailable)
    }
}

fn lineage(partition: Partition) -> String {
    format!("lineage-{partition}")
}
