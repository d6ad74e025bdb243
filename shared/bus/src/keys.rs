//! The signing keys of the control plane, from which the tokens of tasks derive. Only coordinators may read them.
//!
//! Keys are numbered and never change; a run names the one that it was submitted under. The first coordinator of a broker
//! makes key 1.

use async_nats::jetstream::kv::{CreateErrorKind, Store};
use bytes::Bytes;
use kapelle_engine::{KeyId, SigningKey};
use kapelle_proto::bucket;

use crate::{Bus, Error};

/// The key that new runs are submitted under.
pub const CURRENT: KeyId = 1;

/// The bucket of signing keys.
#[derive(Debug, Clone)]
pub struct Keys {
    store: Store,
}

impl Keys {
    /// Opens the bucket.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn open(bus: &Bus) -> Result<Self, Error> {
        let store = bus.jetstream().get_key_value(bucket::KEYS).await.map_err(Error::unavailable)?;
        Ok(Self { store })
    }

    /// Makes the current key unless it is there. Of several coordinators that start at once one makes it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready or the machine has no random numbers.
    pub async fn ensure(&self) -> Result<(), Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| Error::Unavailable(error.to_string()))?;
        match self.store.create(CURRENT.to_string(), Bytes::copy_from_slice(&key)).await {
            Ok(_) => Ok(()),
            Err(e) if matches!(e.kind(), CreateErrorKind::AlreadyExists) => Ok(()),
            Err(e) => Err(Error::unavailable(e)),
        }
    }

    /// Reads a key; `None` if there is none of that number.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready, [`Error::Unreadable`] if what is stored is no key.
    pub async fn get(&self, id: KeyId) -> Result<Option<SigningKey>, Error> {
        let Some(bytes) = self.store.get(id.to_string()).await.map_err(Error::unavailable)? else { return Ok(None) };
        let key = <[u8; 32]>::try_from(&*bytes).map_err(|_| Error::Unreadable(format!("signing key {id}")))?;
        Ok(Some(SigningKey::new(key)))
    }
}
