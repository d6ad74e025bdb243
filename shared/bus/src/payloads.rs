//! Payloads above the inline limit: stored by the SHA-256 of their bytes, fetched by claim check.
//!
//! Fetched with batched direct gets and not through a consumer, as the client library would: whoever may make a consumer
//! names the subject that it delivers to, and so may write there.

use std::sync::Arc;

use async_nats::Client;
use async_nats::jetstream::Context;
use async_nats::jetstream::object_store::{InfoErrorKind, ObjectInfo, ObjectStore};
use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use kapelle_proto::bucket;
use kapelle_types::{Payload, PayloadRef, Sha256, limits};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::direct;
use crate::leader::{self, Last};

/// The stream behind the object store.
const STREAM: &str = "OBJ_payloads";
/// Bytes of one message of a stored payload, as the client library has it.
const CHUNK_BYTES: usize = 128 * 1024;
/// Chunks that one read asks for: 8 MiB, which fit any connection's buffer.
const CHUNKS_A_READ: u32 = 64;

/// Why a payload could not be stored or fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has more bytes than a payload may have.
    #[error("the payload has {0} bytes, more than {max}", max = limits::PAYLOAD_BYTES_MAX)]
    TooLarge(u64),
    /// The object store has no such object.
    #[error("no payload {0} is stored")]
    Missing(Sha256),
    /// What is stored is not what was put there.
    #[error("the payload {0} is damaged: its content has another hash or is not JSON")]
    Damaged(Sha256),
    /// The broker did not answer: the same call may be repeated.
    #[error("the broker is not available: {0}")]
    Unavailable(String),
}

/// The object store of payloads. Cheap to clone.
#[derive(Clone)]
pub struct Payloads {
    client: Client,
    jetstream: Context,
    store: Arc<OnceCell<ObjectStore>>,
}

impl std::fmt::Debug for Payloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Payloads").finish_non_exhaustive()
    }
}

impl Payloads {
    pub(crate) fn new(client: Client, jetstream: Context) -> Self {
        Self { client, jetstream, store: Arc::new(OnceCell::new()) }
    }

    async fn store(&self) -> Result<&ObjectStore, Error> {
        self.store
            .get_or_try_init(|| async {
                let name = bucket::PAYLOADS;
                self.jetstream.get_object_store(name).await.map_err(|e| Error::Unavailable(e.to_string()))
            })
            .await
    }

    /// Makes a payload of a value: inline if it is small enough, stored otherwise.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Unavailable`].
    pub async fn keep(&self, value: Arc<Value>) -> Result<Payload, Error> {
        let bytes = serde_json::to_vec(&value).map_err(|e| Error::Unavailable(e.to_string()))?;
        let stored = if bytes.len() <= limits::PAYLOAD_INLINE_BYTES_MAX { None } else { Some(self.put(&bytes).await?) };
        Ok(Payload { value: Some(value), stored })
    }

    /// Stores JSON text under its hash. Storing the same bytes twice is one object.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Unavailable`].
    pub async fn put(&self, json: &[u8]) -> Result<PayloadRef, Error> {
        if json.len() > limits::PAYLOAD_BYTES_MAX {
            return Err(Error::TooLarge(json.len() as u64));
        }
        Box::pin(self.upload(json)).await
    }

    /// Boxed where it is called, as [`Payloads::download`]: kilobytes of a transfer that is rare would otherwise be part of,
    /// and moved about with, every future that may need it.
    async fn upload(&self, json: &[u8]) -> Result<PayloadRef, Error> {
        let reference = PayloadRef { sha256: Sha256::of(json), size_bytes: json.len() as u64 };
        let store = self.store().await?;
        let name = reference.sha256.to_string();
        if store.info(&name).await.is_ok_and(|i| i.size as u64 == reference.size_bytes && !i.deleted) {
            return Ok(reference);
        }
        self.write(json, name).await.map_err(Error::Unavailable)?;
        Ok(reference)
    }

    /// As the client library writes an object, but without a rollup of what describes it: the store takes none.
    async fn write(&self, json: &[u8], name: String) -> Result<(), String> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|e| e.to_string())?;
        let nuid = URL_SAFE_NO_PAD.encode(id);
        for chunk in json.chunks(CHUNK_BYTES) {
            self.append(format!("$O.{}.C.{nuid}", bucket::PAYLOADS), Bytes::copy_from_slice(chunk)).await?;
        }
        let subject = describes(&name);
        let about = ObjectInfo {
            name,
            bucket: bucket::PAYLOADS.to_owned(),
            nuid,
            size: json.len(),
            chunks: json.chunks(CHUNK_BYTES).len(),
            digest: None, // the name is the digest
            description: None,
            metadata: std::collections::HashMap::new(),
            headers: None,
            options: None,
            modified: None,
            deleted: false,
        };
        self.append(subject, serde_json::to_vec(&about).map_err(|e| e.to_string())?.into()).await
    }

    /// Publishes and waits until it is stored.
    async fn append(&self, subject: String, payload: Bytes) -> Result<(), String> {
        let receipt = self.jetstream.publish(subject, payload).await.map_err(|e| e.to_string())?;
        receipt.await.map(drop).map_err(|e| e.to_string())
    }

    /// Fetches and checks a stored payload.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Damaged`], [`Error::TooLarge`], [`Error::Unavailable`].
    pub async fn get(&self, reference: &PayloadRef) -> Result<Arc<Value>, Error> {
        if reference.size_bytes > limits::PAYLOAD_BYTES_MAX as u64 {
            return Err(Error::TooLarge(reference.size_bytes));
        }
        Box::pin(self.download(reference)).await
    }

    async fn download(&self, reference: &PayloadRef) -> Result<Arc<Value>, Error> {
        match self.fetch(reference).await {
            // What describes it and its parts may come from replicas that lag: whether it is there the leader knows.
            Err(Error::Missing(_) | Error::Damaged(_)) => self.fetch_from_leader(reference).await,
            fetched => fetched,
        }
    }

    async fn fetch(&self, reference: &PayloadRef) -> Result<Arc<Value>, Error> {
        let name = reference.sha256.to_string();
        let about = self.store().await?.info(&name).await.map_err(|e| match e.kind() {
            InfoErrorKind::NotFound => Error::Missing(reference.sha256),
            _ => Error::Unavailable(e.to_string()),
        })?;
        if about.deleted {
            return Err(Error::Missing(reference.sha256));
        }
        let chunks = chunks(&about);
        let (mut bytes, mut next) = (Vec::new(), Some(1));
        while let Some(first) = next {
            let request = json!({ "seq": first, "next_by_subj": chunks, "batch": CHUNKS_A_READ });
            let answer = direct::get(&self.client, STREAM, &request).await;
            let answer = answer.map_err(|e| Error::Unavailable(e.to_string()))?;
            for chunk in &answer.messages {
                bytes.extend_from_slice(&chunk.payload);
            }
            if bytes.len() as u64 > reference.size_bytes {
                return Err(Error::Damaged(reference.sha256));
            }
            next = answer.next();
        }
        checked(reference, &bytes)
    }

    /// The same, one message after the other.
    async fn fetch_from_leader(&self, reference: &PayloadRef) -> Result<Arc<Value>, Error> {
        let unavailable = |e: crate::Error| Error::Unavailable(e.to_string());
        let subject = describes(&reference.sha256.to_string());
        let about = leader::last(&self.jetstream, STREAM, &subject).await.map_err(unavailable)?.and_then(Last::there);
        let about: Option<ObjectInfo> = about.and_then(|message| serde_json::from_slice(&message.payload).ok());
        let about = about.filter(|about| !about.deleted).ok_or(Error::Missing(reference.sha256))?;
        let (chunks, mut bytes, mut first) = (chunks(&about), Vec::new(), 1);
        while bytes.len() as u64 <= reference.size_bytes {
            let next = leader::next(&self.jetstream, STREAM, &chunks, first).await.map_err(unavailable)?;
            let Some(chunk) = next else { break };
            bytes.extend_from_slice(&chunk.payload);
            first = chunk.sequence + 1;
        }
        checked(reference, &bytes)
    }

    /// The payload with its value, fetched if it is stored elsewhere.
    ///
    /// # Errors
    /// As [`Payloads::get`].
    pub async fn resolve(&self, payload: &Payload) -> Result<Arc<Value>, Error> {
        match (&payload.value, &payload.stored) {
            (Some(value), _) => Ok(Arc::clone(value)),
            (None, Some(stored)) => self.get(stored).await,
            (None, None) => Ok(Arc::new(Value::Null)),
        }
    }
}

/// The subject of what describes an object.
fn describes(name: &str) -> String {
    format!("$O.{}.M.{}", bucket::PAYLOADS, URL_SAFE.encode(name))
}

/// The subject of an object's parts.
fn chunks(about: &ObjectInfo) -> String {
    format!("$O.{}.C.{}", bucket::PAYLOADS, about.nuid)
}

/// The value, if these are the bytes that the reference names.
fn checked(reference: &PayloadRef, bytes: &[u8]) -> Result<Arc<Value>, Error> {
    if bytes.len() as u64 != reference.size_bytes || Sha256::of(bytes) != reference.sha256 {
        return Err(Error::Damaged(reference.sha256));
    }
    serde_json::from_slice(bytes).map(Arc::new).map_err(|_| Error::Damaged(reference.sha256))
}
