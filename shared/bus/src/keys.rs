//! The signing keys of the control plane: those from which the tokens of tasks derive, and the one that certificates are signed
//! with. Only coordinators may read them.
//!
//! Keys are numbered from 1 and never change; a run names the one that it was submitted under, new runs take the highest. The
//! first coordinator of a broker makes key 1, [`Keys::rotate`] the next ones. A key's fingerprint stands in the registry: a key
//! that was lost, or is another one than before, is noticed. It is never made anew, because the reports of open runs would
//! no longer count.

use std::fmt::Display;

use bytes::Bytes;
use kapelle_engine::{KeyId, SigningKey};
use kapelle_proto::bucket;
use kapelle_types::Sha256;

use crate::{Bus, Error, Refusal};

/// The key that the first coordinator makes.
pub const FIRST: KeyId = 1;

/// The name of the key that certificates are signed with, beside the numbers of the others.
const CERTIFICATES: &str = "certificates";

/// The bucket of signing keys.
#[derive(Debug, Clone)]
pub struct Keys {
    bus: Bus,
}

impl Keys {
    /// Opens the bucket.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready.
    pub async fn open(bus: &Bus) -> Result<Self, Error> {
        bus.jetstream().get_key_value(bucket::KEYS).await.map_err(Error::unavailable)?;
        Ok(Self { bus: bus.clone() })
    }

    /// Makes the first key at the first start of all, and makes sure at each later one that all keys are still the same.
    /// Of several coordinators that start at once one makes it.
    ///
    /// # Errors
    /// [`Error::Refused`] if a key is gone or another one than it was, [`Error::Unavailable`] while the broker is not
    /// ready or the machine has no random numbers.
    pub async fn ensure(&self) -> Result<(), Error> {
        if self.fingerprint(FIRST).await?.is_none() {
            self.make(FIRST).await?;
        }
        self.newest(FIRST).await.map(drop)
    }

    /// Makes the next key. Coordinators take it for new runs within seconds; runs that are there keep theirs.
    ///
    /// # Errors
    /// As of [`Self::ensure`]; [`Error::NotFound`] if there is no first key yet.
    pub async fn rotate(&self) -> Result<KeyId, Error> {
        if self.fingerprint(FIRST).await?.is_none() {
            return Err(Error::NotFound("there is no signing key yet; start a coordinator first".into()));
        }
        let next = self.newest(FIRST).await? + 1;
        self.make(next).await?;
        self.newest(next).await
    }

    /// The highest key, looked for from one on. Without that one's fingerprint nothing is known of any, and it is this one.
    ///
    /// # Errors
    /// [`Error::Refused`] if one on the way is gone or another one than it was, [`Error::Unavailable`] while the broker
    /// is not ready.
    pub async fn newest(&self, from: KeyId) -> Result<KeyId, Error> {
        let mut id = from;
        loop {
            let Some(known) = self.fingerprint(id).await? else { return Ok(id) };
            let there = self.bytes(id).await?.ok_or_else(|| lost(id))?;
            if *known != *fingerprint(&there).as_bytes() {
                return Err(lost(id));
            }
            if self.fingerprint(id + 1).await?.is_none() {
                return Ok(id);
            }
            id += 1;
        }
    }

    /// The key that certificates are signed with: the seed of an Ed25519 key. Whoever needs it first makes it, and from then
    /// on it is the same: what was signed with it verifies with one public key for ever.
    ///
    /// # Errors
    /// [`Error::Refused`] if it is gone or another one than it was, [`Error::Unavailable`] while the broker is not ready or
    /// the machine has no random numbers.
    pub async fn certificates(&self) -> Result<[u8; 32], Error> {
        if self.fingerprint(CERTIFICATES).await?.is_none() {
            self.make(CERTIFICATES).await?;
        }
        let there = self.bytes(CERTIFICATES).await?.ok_or_else(|| lost(CERTIFICATES))?;
        match self.fingerprint(CERTIFICATES).await? {
            Some(known) if *known == *fingerprint(&there).as_bytes() => Ok(there),
            _ => Err(lost(CERTIFICATES)),
        }
    }

    /// Makes a key unless it is there, then its fingerprint: a key without one does not count yet.
    async fn make(&self, id: impl Display) -> Result<(), Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| Error::Unavailable(error.to_string()))?;
        self.bus.write_once(bucket::KEYS, &id.to_string(), Bytes::copy_from_slice(&key)).await?;
        let made = self.bytes(&id).await?.ok_or_else(|| lost(&id))?;
        self.bus.write_once(bucket::REGISTRY, &fingerprint_name(&id), fingerprint(&made).into()).await.map(drop)
    }

    async fn fingerprint(&self, id: impl Display) -> Result<Option<Bytes>, Error> {
        self.bus.value(bucket::REGISTRY, &fingerprint_name(id)).await
    }

    /// Reads a key; `None` if there is none of that number.
    ///
    /// # Errors
    /// [`Error::Unavailable`] while the broker is not ready, [`Error::Unreadable`] if what is stored is no key.
    pub async fn get(&self, id: KeyId) -> Result<Option<SigningKey>, Error> {
        Ok(self.bytes(id).await?.map(SigningKey::new))
    }

    async fn bytes(&self, id: impl Display) -> Result<Option<[u8; 32]>, Error> {
        let Some(bytes) = self.bus.value(bucket::KEYS, &id.to_string()).await? else { return Ok(None) };
        <[u8; 32]>::try_from(&*bytes).map(Some).map_err(|_| Error::Unreadable(format!("signing key {id}")))
    }
}

/// The registry key of a key's fingerprint.
fn fingerprint_name(id: impl Display) -> String {
    format!("signing-key-{id}")
}

/// Says nothing about the key, and is another one for every other key.
fn fingerprint(key: &[u8; 32]) -> String {
    Sha256::of(&[b"kapelle signing key".as_slice(), key].concat()).to_string()
}

fn lost(id: impl Display) -> Error {
    Error::Refused {
        refusal: Refusal::Other,
        message: format!(
            "signing key {id} is gone or another one than it was, and what it vouched for would not count; \
             restore bucket {} from a backup",
            bucket::KEYS
        ),
    }
}
